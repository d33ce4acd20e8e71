/*
 * Isthmus example: read an input, run the front half, send the frame as datagrams, read the host's
 * answer (`isthmus serve` with [udp]).
 *
 * A datagram is one packet of a frame, or one slice: generate the tree with --mtu (1400 is safe on
 * most networks), so that each fits and a lost one is concealed. All memory is static. Bring the
 * functions of isth_port.h for your board; port_posix.c is the one for boards with POSIX sockets.
 */
#include "isth.h"
#include "isth_link.h"
#include "isth_port.h"

#define ANSWER_VALUES 8u /* more than the host's `top` */

#if ISTH_PACKET_BYTES
#define UNIT_BYTES ISTH_FRAME_BYTES_MAX /* all packets of a frame, end to end */
#else
#define UNIT_BYTES ISTH_SLICE_BYTES_MAX
#endif

#if ISTH_HAS_FRONT
static uint8_t arena[ISTH_FRONT_ARENA_BYTES] __attribute__((aligned(16)));
#else
static isth_element tensor[ISTH_ELEMENTS];
#endif

static isth_encoder_memory memory;
static uint8_t unit[UNIT_BYTES];

/* The next feature tensor, or NULL when the inputs have ended. Where the front half gives its
 * output row by row (ISTH_FRONT_ROWS) there is none: push_elements asks for each row. */
static const isth_element *next_tensor(void) {
#if ISTH_HAS_FRONT
    int8_t *input = isth_front_input(arena);

    if (isth_port_receive(input, ISTH_FRONT_INPUT_BYTES) != ISTH_FRONT_INPUT_BYTES) {
        return NULL;
    }
#ifdef ISTH_FRONT_ROWS
    isth_front_begin(arena);
    return input;
#else
    return isth_front_run(arena);
#endif
#else
    return isth_port_receive(tensor, sizeof tensor) == sizeof tensor ? tensor : NULL;
#endif
}

/* Codes `count` elements from element `first` on, whole rows. */
static isth_status push_elements(const isth_element *values, size_t first, size_t count) {
#ifdef ISTH_FRONT_ROWS
    isth_status status = ISTH_OK;
    size_t end = first + count;

    (void)values;
    for (; status == ISTH_OK && first < end; first += ISTH_ROW_ELEMENTS) {
        uint32_t row = (uint32_t)(first / ISTH_ROW_ELEMENTS);

        status = isth_slice_push(&memory, isth_front_row(arena, row), ISTH_ROW_ELEMENTS);
    }
    return status;
#else
    return isth_slice_push(&memory, values + first, count);
#endif
}

/* Sends a slice, or the packets of a frame, each as a datagram. */
static int send_unit(size_t length) {
#if ISTH_PACKET_BYTES
    size_t at;
    int status = 0;

    for (at = 0u; at < length && status == 0; at += isth_packet_length(unit + at)) {
        status = isth_port_send(unit + at, isth_packet_length(unit + at));
    }
    return status;
#else
    return isth_port_send(unit, length);
#endif
}

static int send_frame(const isth_element *values, uint16_t sequence) {
    size_t first = 0u;
    unsigned slice;

    for (slice = 0u; slice < ISTH_SLICES; slice++) {
        size_t count = isth_slice_elements(&isth_tables, slice);
        size_t length = 0u;

        if (isth_slice_begin(&memory, 0u, sequence, slice, unit, sizeof unit) != ISTH_OK ||
            push_elements(values, first, count) != ISTH_OK ||
            isth_slice_finish(&memory, &length) != ISTH_OK || send_unit(length) != 0) {
            return -1;
        }
        first += count;
    }
    return 0;
}

/* Whether the answer is to frame `sequence`: a refusal of a sealed one does not say which. */
static int is_for(const isth_answer *answer, uint16_t sequence) {
    return answer->sequence == sequence || (answer->status != 0u && answer->sequence == 0u);
}

/* Waits for the answer to frame `sequence`; those to older frames are passed over. */
static void take_answer(uint16_t sequence) {
    uint8_t datagram[ISTH_ANSWER_BYTES(ANSWER_VALUES)];
    isth_answer answer;
    size_t size;

    while ((size = isth_port_wait(datagram, sizeof datagram)) != 0u) {
        if (isth_answer_parse(datagram, size, &answer) == ISTH_OK && is_for(&answer, sequence)) {
            isth_port_answer(&answer);
            return;
        }
    }
    isth_port_answer(NULL);
}

int main(void) {
    uint16_t sequence = 0u;
    const isth_element *values;

    if (isth_port_init() != 0) {
        return 1;
    }
    while ((values = next_tensor()) != NULL) {
        if (send_frame(values, sequence) != 0) {
            return 2;
        }
        take_answer(sequence);
        sequence++;
    }
    return 0;
}
