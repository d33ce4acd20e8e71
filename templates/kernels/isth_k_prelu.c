#include "isth_k_prelu.h"

void isth_k_prelu(const isth_k_prelu_layer *layer, const int8_t *x, const int8_t *slope,
                  int8_t *y) {
    /* Copies: the compiler must assume that a store to y changes the layer itself. */
    const isth_k_output output = layer->output;
    const int32_t x_zero = layer->x_zero;
    const int32_t slope_zero = layer->slope_zero;
    const int32_t multiplier = layer->multiplier;
    const int32_t shift = layer->shift;
    const int32_t slope_multiplier = layer->slope_multiplier;
    const int32_t slope_shift = layer->slope_shift;
    const int32_t length = layer->shape.length;
    const int32_t step = layer->shape.single ? 0 : 1;
    isth_k_walk walk = isth_k_first_run(&layer->shape, x, slope, y);

    do {
        const int8_t *one = walk.b;
        int32_t i;

        for (i = 0; i < length; i++) {
            const int32_t value = walk.a[i] - x_zero;

            if (value >= 0) {
                walk.y[i] = isth_k_clamp(isth_k_scale(value, multiplier, shift), &output);
            } else {
                walk.y[i] = isth_k_clamp(
                    isth_k_scale(value * (*one - slope_zero), slope_multiplier, slope_shift),
                    &output);
            }
            one += step;
        }
    } while (isth_k_next_run(&walk, &layer->shape, &layer->x_steps, &layer->slope_steps));
}
