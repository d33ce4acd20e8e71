#include "isth_k_add.h"

/* Room for the fraction: 8 bits of operand, 20 below them, 1 of carry. */
#define ISTH_K_ADD_FRACTION (INT32_C(1) << 20)

ISTH_K_INLINE int32_t operand(int8_t value, int32_t zero, int32_t multiplier, uint32_t right) {
    return isth_k_scale_down((value - zero) * ISTH_K_ADD_FRACTION, multiplier, right);
}

void isth_k_add(const isth_k_add_layer *layer, const int8_t *a, const int8_t *b, int8_t *y) {
    /* Copies: the compiler must assume that a store to y changes the layer itself. */
    const isth_k_add_scale scale_a = layer->a;
    const isth_k_add_scale scale_b = layer->b;
    const isth_k_output output = layer->output;
    const int32_t multiplier = layer->multiplier;
    const uint32_t right = layer->right;
    const int32_t length = layer->length;
    int32_t repeat;

    for (repeat = 0; repeat < layer->repeats; repeat++) {
        int32_t i;

        for (i = 0; i < length; i++) {
            const int32_t sum = operand(a[i], scale_a.zero, scale_a.multiplier, scale_a.right) +
                                operand(b[i], scale_b.zero, scale_b.multiplier, scale_b.right);

            y[i] = isth_k_clamp(isth_k_scale_down(sum, multiplier, right), &output);
        }
        a += length;
        y += length;
    }
}
