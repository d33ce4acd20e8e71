#include "isth_k_mean.h"

static int32_t sum_of(const isth_k_mean_layer *layer, const int8_t *x) {
    const ptrdiff_t step = (ptrdiff_t)layer->inner * layer->tail;
    ptrdiff_t at = 0;
    int32_t sum = -layer->zero_sum;
    int32_t row;

    for (row = 0; row < layer->reduced; row++) {
        int32_t i;

        for (i = 0; i < layer->tail; i++) {
            sum += x[at + i];
        }
        at += step;
    }
    return sum;
}

void isth_k_mean(const isth_k_mean_layer *layer, const int8_t *x, int8_t *y) {
    const ptrdiff_t block = (ptrdiff_t)layer->reduced * layer->inner * layer->tail;
    int32_t outer;

    for (outer = 0; outer < layer->outer; outer++) {
        int32_t i;

        for (i = 0; i < layer->inner; i++) {
            const int32_t sum = sum_of(layer, x + (ptrdiff_t)i * layer->tail);

            y[i] = isth_k_clamp(isth_k_scale(sum, layer->multiplier, layer->shift), &layer->output);
        }
        x += block;
        y += layer->inner;
    }
}
