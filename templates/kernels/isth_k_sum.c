#include "isth_k_sum.h"

/* Room for the fraction: 8 bits of operand, 20 below them, 1 of carry. */
#define ISTH_K_SUM_FRACTION (INT32_C(1) << 20)

ISTH_K_INLINE int32_t operand(int8_t value, const isth_k_sum_scale *scale) {
    return isth_k_scale_down((value - scale->zero) * ISTH_K_SUM_FRACTION, scale->multiplier,
                             scale->right) *
           scale->sign;
}

void isth_k_sum(const isth_k_sum_layer *layer, const int8_t *a, const int8_t *b, int8_t *y) {
    /* Copies: the compiler must assume that a store to y changes the layer itself. */
    const isth_k_sum_scale scale_a = layer->a;
    const isth_k_sum_scale scale_b = layer->b;
    const isth_k_output output = layer->output;
    const int32_t multiplier = layer->multiplier;
    const uint32_t right = layer->right;
    const int32_t length = layer->shape.length;
    isth_k_walk walk = isth_k_first_run(&layer->shape, a, b, y);

    do {
        int32_t i;

        if (layer->shape.single) {
            const int32_t scaled = operand(*walk.b, &scale_b);

            for (i = 0; i < length; i++) {
                const int32_t sum = operand(walk.a[i], &scale_a) + scaled;

                walk.y[i] = isth_k_clamp(isth_k_scale_down(sum, multiplier, right), &output);
            }
        } else {
            for (i = 0; i < length; i++) {
                const int32_t sum = operand(walk.a[i], &scale_a) + operand(walk.b[i], &scale_b);

                walk.y[i] = isth_k_clamp(isth_k_scale_down(sum, multiplier, right), &output);
            }
        }
    } while (isth_k_next_run(&walk, &layer->shape, &layer->a_steps, &layer->b_steps));
}
