/* Codes tensors of an emitted tree from standard input, alternately whole and row by row. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isth.h"

/* All slices, their rows pushed one at a time. */
static isth_status by_rows(isth_encoder_memory *memory, unsigned rung, uint16_t sequence,
                           const isth_element *tensor, uint8_t *out, size_t *length) {
    const isth_element *row = tensor;
    unsigned slice;

    *length = 0u;
    for (slice = 0; slice < ISTH_SLICES; slice++) {
        uint32_t left = isth_slice_elements(&isth_tables, slice);
        size_t size = 0u;
        isth_status status = isth_slice_begin(memory, rung, sequence, slice, out + *length,
                                              ISTH_FRAME_BYTES_MAX - *length);

        for (; status == ISTH_OK && left != 0u; left -= ISTH_ROW_ELEMENTS) {
            status = isth_slice_push(memory, row, ISTH_ROW_ELEMENTS);
            row += ISTH_ROW_ELEMENTS;
        }
        if (status == ISTH_OK) {
            status = isth_slice_finish(memory, &size);
        }
        if (status != ISTH_OK) {
            return status;
        }
        *length += size;
    }
    return ISTH_OK;
}

int main(void) {
    size_t bytes = ISTH_ELEMENTS * sizeof(isth_element);
    isth_element *tensor = malloc(bytes);
    uint8_t *out = malloc(ISTH_FRAME_BYTES_MAX);
    isth_encoder_memory *memory = malloc(sizeof *memory);
    uint16_t sequence = 0;

    while (fread(tensor, 1, bytes, stdin) == bytes) {
        unsigned rung;

        for (rung = 0; rung < ISTH_RUNGS; rung++) {
            size_t length = 0u;
            isth_status status;

            memset(memory, 0xA5, sizeof *memory);
            status = (rung & 1u) == 0u ? isth_encode_tensor(memory, rung, sequence, tensor, out,
                                                            ISTH_FRAME_BYTES_MAX, &length)
                                       : by_rows(memory, rung, sequence, tensor, out, &length);
            if (status != ISTH_OK) {
                return (int)status;
            }
            fwrite(out, 1, length, stdout);
        }
        sequence++;
    }
    free(memory);
    free(out);
    free(tensor);
    return 0;
}
