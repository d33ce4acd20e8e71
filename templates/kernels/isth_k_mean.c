#include "isth_k_mean.h"

void isth_k_mean(const isth_k_mean_layer *layer, const int8_t *x, int8_t *y) {
    int32_t outer;

    for (outer = 0; outer < layer->outer; outer++) {
        int32_t i;

        for (i = 0; i < layer->inner; i++) {
            const int8_t *p = x + i;
            int32_t sum = -layer->zero_sum;
            int32_t left = layer->reduced;

            for (;;) {
                sum += *p;
                if (--left == 0) {
                    break;
                }
                p += layer->inner;
            }
            y[i] = isth_k_clamp(isth_k_scale(sum, layer->multiplier, layer->shift), &layer->output);
        }
        x += (ptrdiff_t)layer->reduced * layer->inner;
        y += layer->inner;
    }
}
