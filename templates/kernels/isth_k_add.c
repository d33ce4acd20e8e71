#include "isth_k_add.h"

/* Room for the fraction: 8 bits of operand, 20 below them, 1 of carry. */
#define ISTH_K_ADD_FRACTION (INT32_C(1) << 20)

ISTH_K_INLINE int32_t operand(int8_t value, const isth_k_add_scale *scale) {
    return isth_k_scale((value - scale->zero) * ISTH_K_ADD_FRACTION, scale->multiplier,
                        scale->shift);
}

void isth_k_add(const isth_k_add_layer *layer, const int8_t *a, const int8_t *b, int8_t *y) {
    int32_t repeat;

    for (repeat = 0; repeat < layer->repeats; repeat++) {
        int32_t i;

        for (i = 0; i < layer->length; i++) {
            const int32_t sum = operand(a[i], &layer->a) + operand(b[i], &layer->b);

            y[i] = isth_k_clamp(isth_k_scale(sum, layer->multiplier, layer->shift), &layer->output);
        }
        a += layer->length;
        y += layer->length;
    }
}
