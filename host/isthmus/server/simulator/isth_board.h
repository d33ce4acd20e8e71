/* What the fleet simulator calls of a board's program. */
#ifndef ISTH_BOARD_H
#define ISTH_BOARD_H

#include <stddef.h>
#include <stdint.h>

#define ISTH_BOARD_LAYOUT 6

/* Bytes of input, tensor, arena, encoder and longest frame; whether there is a front half. */
extern const uint32_t isth_board_layout[ISTH_BOARD_LAYOUT];

/* The feature tensor of one input; arena and memory lie on 16-byte boundaries. */
void isth_board_front(void *arena, const void *input, uint8_t *tensor);

/* The frame of one tensor: an isth_status; `out` holds the longest frame. */
int isth_board_encode(void *memory, unsigned rung, uint16_t sequence, const void *tensor,
                      uint8_t *out, size_t *length);

#endif /* ISTH_BOARD_H */
