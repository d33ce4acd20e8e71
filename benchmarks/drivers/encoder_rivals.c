/*
 * One general compressor in the place of harness.c: input in, compressed bytes out as the frame.
 *
 *     RIVAL          1 heatshrink (its encoder, static memory), 2 lz4 (LZ4_compress_fast)
 *     INPUT_BYTES    bytes of one input
 *
 * The compressor's own sources lie beside this file when it is built.
 */
#include "harness.h"

#define FRAME_BYTES (2u * INPUT_BYTES + 64u)

uint8_t harness_arena[INPUT_BYTES] __attribute__((aligned(16)));
uint8_t harness_frame[FRAME_BYTES];

const uint32_t harness_layout[5] = {INPUT_BYTES, 4, FRAME_BYTES, 1, 1};
const uint32_t harness_parts = 1;
uint32_t harness_rung;
uint32_t harness_sequence;
uint32_t harness_length;
uint32_t harness_status;
uint32_t harness_part;

void harness_stop(void) {
    for (;;) {
        __asm__ volatile("");
    }
}

void *harness_input(void) {
    return harness_arena;
}

const void *harness_tensor(void) {
    return harness_arena;
}

void harness_front(void) {
}

#if defined(HARNESS_EMPTY)

uint8_t harness_memory[4];

void harness_encode(void) {
    harness_status = 0;
    harness_length = 0;
}

#elif RIVAL == 1

#include "heatshrink_encoder.h"

heatshrink_encoder harness_memory;

/* Pieces of 256 bytes, as a caller with a small buffer would hand them over. */
void harness_encode(void) {
    size_t in = 0;
    size_t out = 0;
    size_t done = 0;

    harness_status = 0;
    heatshrink_encoder_reset(&harness_memory);
    while (in < INPUT_BYTES) {
        size_t piece = INPUT_BYTES - in < 256u ? INPUT_BYTES - in : 256u;

        if (heatshrink_encoder_sink(&harness_memory, harness_arena + in, piece, &done) < 0) {
            harness_status = 1;
            return;
        }
        in += done;
        do {
            if (in == INPUT_BYTES) {
                (void)heatshrink_encoder_finish(&harness_memory);
            }
            done = 0;
            (void)heatshrink_encoder_poll(&harness_memory, harness_frame + out, FRAME_BYTES - out,
                                          &done);
            out += done;
        } while (done > 0);
    }
    harness_length = (uint32_t)out;
}

#else

#include "lz4.h"

LZ4_stream_t harness_memory;

void harness_encode(void) {
    int length = LZ4_compress_fast_extState(&harness_memory, (const char *)harness_arena,
                                            (char *)harness_frame, (int)INPUT_BYTES,
                                            (int)FRAME_BYTES, 1);

    harness_status = length > 0 ? 0 : 1;
    harness_length = (uint32_t)length;
}

#endif
