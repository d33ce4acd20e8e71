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
            const int32_t a = (ONE - down) * (ONE - beyond);
            const int32_t b = (ONE - down) * beyond;
            const int32_t c = down * (ONE - beyond);
            const int32_t d = down * beyond;
            int32_t i;

            for (i = 0; i < channels; i++) {
                const int32_t sum = top[left + i] * a + top[right + i] * b + bottom[left + i] * c +
                                    bottom[right + i] * d;

                /* Halves away from zero. */
                y[i] = (int8_t)isth_k_shift_down(sum + HALF - (sum < 0), 20);
            }
            y += channels;
            across += 3;
        }
    }
}
