/*
 * Isthmus example: read an input, run the front half, send the frame over a serial line, read the
 * host's answer (`isthmus serve` with [[serial]]).
 *
 * A frame is one unit on the line: COBS, CRC-16, a 0 (isth_link.h). All memory is static. Bring the
 * functions of isth_port.h for your board; port_posix.c is the one for a program on Linux.
 */
#include "isth.h"
#include "isth_link.h"
#include "isth_port.h"

#define ANSWER_VALUES 8u /* more than the host's `top` */

#if ISTH_HAS_FRONT
static uint8_t arena[ISTH_FRONT_ARENA_BYTES] __attribute__((aligned(16)));
#else
static isth_element tensor[ISTH_ELEMENTS];
#endif

static isth_encoder_memory memory;
static uint8_t frame[ISTH_FRAME_BYTES_MAX];
static uint8_t answer_buffer[ISTH_LINK_BUFFER_BYTES(ISTH_ANSWER_BYTES(ANSWER_VALUES))];
static isth_link_reader reader;

/* Takes the next input; 0 when the inputs have ended. */
static int next_input(void) {
#if ISTH_HAS_FRONT
    return isth_port_receive(isth_front_input(arena), ISTH_FRONT_INPUT_BYTES) ==
           ISTH_FRONT_INPUT_BYTES;
#else
    return isth_port_receive(tensor, sizeof tensor) == sizeof tensor;
#endif
}

/* Runs the front half and codes its feature tensor. */
static isth_status make_frame(uint16_t sequence, size_t *length) {
#ifdef ISTH_FRONT_ROWS
    isth_front_begin(arena);
    return isth_encode_rows(&memory, arena, 0u, sequence, frame, sizeof frame, length);
#elif ISTH_HAS_FRONT
    const isth_element *features = isth_front_run(arena);

    return isth_encode_tensor(&memory, 0u, sequence, features, frame, sizeof frame, length);
#else
    return isth_encode_tensor(&memory, 0u, sequence, tensor, frame, sizeof frame, length);
#endif
}

/* Whether the answer is to frame `sequence`: a refusal of a sealed one does not say which. */
static int is_for(const isth_answer *answer, uint16_t sequence) {
    return answer->sequence == sequence || (answer->status != 0u && answer->sequence == 0u);
}

/* Waits for the answer to frame `sequence`; those to older frames are passed over. */
static void take_answer(uint16_t sequence) {
    isth_answer answer;
    uint8_t byte;

    while (isth_port_read(&byte)) {
        if (isth_link_read(&reader, byte) && reader.kind == ISTH_LINK_ANSWER &&
            isth_answer_parse(reader.payload, reader.length, &answer) == ISTH_OK &&
            is_for(&answer, sequence)) {
            isth_port_answer(&answer);
            return;
        }
    }
    isth_port_answer(NULL);
}

int main(void) {
    static const uint8_t end = 0u;
    uint16_t sequence = 0u;

    /* A 0 first ends what the line may have carried before, such as a bootloader's text. */
    if (isth_port_init() != 0 || isth_port_write(NULL, &end, 1u) != 0) {
        return 1;
    }
    isth_link_reader_begin(&reader, answer_buffer, sizeof answer_buffer);
    while (next_input()) {
        size_t length = 0u;

        if (make_frame(sequence, &length) != ISTH_OK ||
            isth_link_write(isth_port_write, NULL, ISTH_LINK_UNIT, frame, length) != 0) {
            return 2;
        }
        take_answer(sequence);
        sequence++;
    }
    return 0;
}
