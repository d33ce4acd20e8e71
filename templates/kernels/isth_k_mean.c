#include "isth_k_mean.h"

/* Four neighbours at once, each down its column. */
static void four_sums(const int8_t *x, ptrdiff_t step, int32_t rows, int32_t *sums) {
    int32_t a = sums[0];
    int32_t b = sums[1];
    int32_t c = sums[2];
    int32_t d = sums[3];
    int32_t row;

    for (row = 0; row < rows; row++) {
        const int8_t *p = x + row * step;

        a += p[0];
        b += p[1];
        c += p[2];
        d += p[3];
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

static int32_t one_sum(const isth_k_mean_layer *layer, const int8_t *x) {
    const ptrdiff_t step = (ptrdiff_t)layer->inner * layer->tail;
    int32_t sum = -layer->zero_sum;
    int32_t row;

    for (row = 0; row < layer->reduced; row++) {
        const int8_t *p = x + row * step;
        int32_t i;

        for (i = 0; i < layer->tail; i++) {
            sum += p[i];
        }
    }
    return sum;
}

ISTH_K_INLINE int8_t finish(const isth_k_mean_layer *layer, int32_t sum) {
    return isth_k_clamp(isth_k_scale(sum, layer->multiplier, layer->shift), &layer->output);
}

void isth_k_mean(const isth_k_mean_layer *layer, const int8_t *x, int8_t *y) {
    const ptrdiff_t step = (ptrdiff_t)layer->inner * layer->tail;
    int32_t outer;

    for (outer = 0; outer < layer->outer; outer++) {
        int32_t i = 0;

        for (; layer->tail == 1 && i + 4 <= layer->inner; i += 4) {
            int32_t sums[4];
            int j;

            sums[0] = sums[1] = sums[2] = sums[3] = -layer->zero_sum;
            four_sums(x + i, step, layer->reduced, sums);
            for (j = 0; j < 4; j++) {
                y[i + j] = finish(layer, sums[j]);
            }
        }
        for (; i < layer->inner; i++) {
            y[i] = finish(layer, one_sum(layer, x + (ptrdiff_t)i * layer->tail));
        }
        x += layer->reduced * step;
        y += layer->inner;
    }
}
