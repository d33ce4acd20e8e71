#include "isth_k_reduce_max.h"

static int8_t largest(const isth_k_reduce_max_layer *layer, const int8_t *x) {
    const ptrdiff_t step = (ptrdiff_t)layer->inner * layer->tail;
    ptrdiff_t at = 0;
    int8_t found = *x;
    int32_t row;

    for (row = 0; row < layer->reduced; row++) {
        int32_t i;

        for (i = 0; i < layer->tail; i++) {
            found = x[at + i] > found ? x[at + i] : found;
        }
        at += step;
    }
    return found;
}

void isth_k_reduce_max(const isth_k_reduce_max_layer *layer, const int8_t *x, int8_t *y) {
    const ptrdiff_t block = (ptrdiff_t)layer->reduced * layer->inner * layer->tail;
    int32_t outer;

    for (outer = 0; outer < layer->outer; outer++) {
        int32_t i;

        for (i = 0; i < layer->inner; i++) {
            y[i] = largest(layer, x + (ptrdiff_t)i * layer->tail);
        }
        x += block;
        y += layer->inner;
    }
}
