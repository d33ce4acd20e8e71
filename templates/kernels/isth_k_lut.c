#include "isth_k_lut.h"

#if defined(ISTH_K_MVE)
#include <arm_mve.h>
#endif

void isth_k_lut(const isth_k_lut_layer *layer, const int8_t *x, int8_t *y) {
    /* Copies: the compiler must assume that a store to y changes the layer itself. */
    const int8_t *const table = layer->table;
    const int8_t *const end = x + layer->length;
    const int8_t *const fours = end - (layer->length & 3);

#if defined(ISTH_K_MVE)
    for (; end - x >= 16; x += 16, y += 16) {
        const uint8x16_t bytes = vldrbq_u8((const uint8_t *)(const void *)x);

        vstrbq_s8(y, vldrbq_gather_offset_s8(table, bytes));
    }
#endif
    while (x != fours) {
        y[0] = table[(uint8_t)x[0]];
        y[1] = table[(uint8_t)x[1]];
        y[2] = table[(uint8_t)x[2]];
        y[3] = table[(uint8_t)x[3]];
        x += 4;
        y += 4;
    }
    while (x != end) {
        *y++ = table[(uint8_t)*x++];
    }
}
