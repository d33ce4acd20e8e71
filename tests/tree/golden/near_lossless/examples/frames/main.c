/*
 * Isthmus example: read an input, run the front half, send the frame slice by slice, or packet by
 * packet.
 *
 * All memory is static and sized by isth.h. Bring the four functions of isth_port.h for your
 * board; port_stdio.c is the one for a program on Linux.
 */
#include "isth.h"
#include "isth_port.h"

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

/* What the last frame took, link and sensor not counted, in ticks of the port: read them with a
 * debugger, or print them. */
#if ISTH_HAS_FRONT
static volatile uint32_t front_ticks;
#endif
static volatile uint32_t encode_ticks;

/* The next feature tensor, or NULL when the inputs have ended. Where the front half gives its
 * output row by row (ISTH_FRONT_ROWS) there is none: push_elements asks for each row. */
static const isth_element *next_tensor(void) {
#if ISTH_HAS_FRONT
    int8_t *input = isth_front_input(arena);
    const isth_element *features;
    uint32_t start;

    if (isth_port_receive(input, ISTH_FRONT_INPUT_BYTES) != ISTH_FRONT_INPUT_BYTES) {
        return NULL;
    }
    start = isth_port_ticks();
#ifdef ISTH_FRONT_ROWS
    isth_front_begin(arena);
    features = input;
#else
    features = isth_front_run(arena);
#endif
    front_ticks = isth_port_ticks() - start;
    return features;
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

/* Sends a slice, or the packets of a frame. */
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
    uint32_t ticks = 0u;
    unsigned slice;

    for (slice = 0; slice < ISTH_SLICES; slice++) {
        size_t count = isth_slice_elements(&isth_tables, slice);
        size_t length = 0u;
        uint32_t start = isth_port_ticks();

        if (isth_slice_begin(&memory, 0u, sequence, slice, unit, sizeof unit) != ISTH_OK ||
            push_elements(values, first, count) != ISTH_OK ||
            isth_slice_finish(&memory, &length) != ISTH_OK) {
            return -1;
        }
        ticks += isth_port_ticks() - start;
        if (send_unit(length) != 0) {
            return -1;
        }
        first += count;
    }
    encode_ticks = ticks;
    return 0;
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
        sequence++;
    }
    return 0;
}
