#include "isth_k_reduce_max.h"

ISTH_K_INLINE int32_t larger(int32_t a, int32_t b) {
    return a > b ? a : b;
}

/* Four neighbours at once, each down its column. */
static void four_largest(const int8_t *x, ptrdiff_t step, int32_t rows, int8_t *y) {
    int32_t a = x[0];
    int32_t b = x[1];
    int32_t c = x[2];
    int32_t d = x[3];
    int32_t row;

    for (row = 1; row < rows; row++) {
        const int8_t *p = x + row * step;

        a = larger(a, p[0]);
        b = larger(b, p[1]);
        c = larger(c, p[2]);
        d = larger(d, p[3]);
    }
    y[0] = (int8_t)a;
    y[1] = (int8_t)b;
    y[2] = (int8_t)c;
    y[3] = (int8_t)d;
}

static int8_t largest(const isth_k_reduce_max_layer *layer, const int8_t *x) {
    const ptrdiff_t step = (ptrdiff_t)layer->inner * layer->tail;
    int32_t found = *x;
    int32_t row;

    for (row = 0; row < layer->reduced; row++) {
        const int8_t *p = x + row * step;
        int32_t i;

        for (i = 0; i < layer->tail; i++) {
            found = larger(found, p[i]);
        }
    }
    return (int8_t)found;
}

void isth_k_reduce_max(const isth_k_reduce_max_layer *layer, const int8_t *x, int8_t *y) {
    const ptrdiff_t step = (ptrdiff_t)layer->inner * layer->tail;
    int32_t outer;

    for (outer = 0; outer < layer->outer; outer++) {
        int32_t i = 0;

        for (; layer->tail == 1 && i + 4 <= layer->inner; i += 4) {
            four_largest(x + i, step, layer->reduced, y + i);
        }
        for (; i < layer->inner; i++) {
            y[i] = largest(layer, x + (ptrdiff_t)i * layer->tail);
        }
        x += layer->reduced * step;
        y += layer->inner;
    }
}
