#include "isth_k_resize_bilinear.h"

#define ONE 1024
#define HALF (ONE * ONE / 2)

/* Weights are within -1/2 and 3/2, so the sum of products is below 2^30. */
void isth_k_resize_bilinear(const isth_k_resize_bilinear_layer *layer, const int8_t *x, int8_t *y) {
    const int32_t channels = layer->channels;
    const ptrdiff_t stride = (ptrdiff_t)layer->in_w * channels;
    int32_t row;

    for (row = 0; row < layer->out_h; row++) {
        const int16_t *vertical = layer->rows + 3 * (ptrdiff_t)row;
        const int8_t *top = x + vertical[0] * stride;
        const int8_t *bottom = x + vertical[1] * stride;
        const int32_t down = vertical[2];
        const int16_t *across = layer->columns;
        int32_t column;

        for (column = 0; column < layer->out_w; column++) {
            const ptrdiff_t left = (ptrdiff_t)across[0] * channels;
            const ptrdiff_t right = (ptrdiff_t)across[1] * channels;
            const int32_t beyond = across[2];
            int32_t c;

            for (c = 0; c < channels; c++) {
                const int32_t left_sum = top[left + c] * (ONE - down) + bottom[left + c] * down;
                const int32_t right_sum = top[right + c] * (ONE - down) + bottom[right + c] * down;
                const int32_t sum = left_sum * (ONE - beyond) + right_sum * beyond;

                /* Halves away from zero; C division cuts towards zero. */
                y[c] = (int8_t)((sum > 0 ? sum + HALF : sum - HALF) / (ONE * ONE));
            }
            y += channels;
            across += 3;
        }
    }
}
