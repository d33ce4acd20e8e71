/* A board's two steps for a program on this machine, over memory that the caller owns. */
#include <string.h>

#include "isth.h"
#include "isth_board.h"

#define TENSOR_BYTES (ISTH_ELEMENTS * sizeof(isth_element))
#if ISTH_HAS_FRONT
#define INPUT_BYTES ISTH_FRONT_INPUT_BYTES
#define ARENA_BYTES ISTH_FRONT_ARENA_BYTES
#else
#define INPUT_BYTES TENSOR_BYTES
#define ARENA_BYTES 1u
#endif

const uint32_t isth_board_layout[ISTH_BOARD_LAYOUT] = {
    INPUT_BYTES,          TENSOR_BYTES,  ARENA_BYTES, sizeof(isth_encoder_memory),
    ISTH_FRAME_BYTES_MAX, ISTH_HAS_FRONT};

void isth_board_front(void *arena, const void *input, uint8_t *tensor) {
#if !ISTH_HAS_FRONT
    (void)arena;
    memcpy(tensor, input, INPUT_BYTES);
#elif defined(ISTH_FRONT_ROWS)
    uint32_t row;

    memcpy(isth_front_input(arena), input, INPUT_BYTES);
    isth_front_begin(arena);
    for (row = 0; row < ISTH_FRONT_ROWS; row++) {
        memcpy(tensor + (size_t)row * ISTH_FRONT_ROW_BYTES, isth_front_row(arena, row),
               ISTH_FRONT_ROW_BYTES);
    }
#else
    memcpy(isth_front_input(arena), input, INPUT_BYTES);
    memcpy(tensor, isth_front_run(arena), TENSOR_BYTES);
#endif
}

int isth_board_encode(void *memory, unsigned rung, uint16_t sequence, const void *tensor,
                      uint8_t *out, size_t *length) {
    return (int)isth_encode_tensor((isth_encoder_memory *)memory, rung, sequence,
                                   (const isth_element *)tensor, out, ISTH_FRAME_BYTES_MAX, length);
}
