#include "isth_k_mul.h"

void isth_k_mul(const isth_k_mul_layer *layer, const int8_t *a, const int8_t *b, int8_t *y) {
    /* Copies: the compiler must assume that a store to y changes the layer itself. */
    const isth_k_output output = layer->output;
    const int32_t a_zero = layer->a_zero;
    const int32_t b_zero = layer->b_zero;
    const int32_t multiplier = layer->multiplier;
    const int32_t shift = layer->shift;
    const int32_t length = layer->shape.length;
    isth_k_walk walk = isth_k_first_run(&layer->shape, a, b, y);

    do {
        int32_t i;

        if (layer->shape.single) {
            const int32_t factor = *walk.b - b_zero;

            for (i = 0; i < length; i++) {
                const int32_t product = (walk.a[i] - a_zero) * factor;

                walk.y[i] = isth_k_clamp(isth_k_scale(product, multiplier, shift), &output);
            }
        } else {
            for (i = 0; i < length; i++) {
                const int32_t product = (walk.a[i] - a_zero) * (walk.b[i] - b_zero);

                walk.y[i] = isth_k_clamp(isth_k_scale(product, multiplier, shift), &output);
            }
        }
    } while (isth_k_next_run(&walk, &layer->shape, &layer->a_steps, &layer->b_steps));
}
