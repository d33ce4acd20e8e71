#include "isth_k_pool.h"

void isth_k_average_pool_rows(const isth_k_pool_layer *layer, const int8_t *x, int8_t *y,
                              int32_t first_row, int32_t rows) {
    int32_t out_y;

    for (out_y = first_row; out_y < first_row + rows; out_y++) {
        const int32_t top = out_y * layer->stride_h - layer->pad_top;
        int32_t top_row;
        int32_t end_row;
        int32_t out_x;

        isth_k_clip(top, layer->in_h, layer->kernel_h, 1, &top_row, &end_row);
        for (out_x = 0; out_x < layer->out_w; out_x++) {
            const int32_t start = out_x * layer->stride_w - layer->pad_left;
            int32_t first;
            int32_t end;
            int32_t c;

            isth_k_clip(start, layer->in_w, layer->kernel_w, 1, &first, &end);
            for (c = 0; c < layer->channels; c++) {
                const int32_t count = (end_row - top_row) * (end - first);
                int32_t sum = 0;
                int32_t row;

                for (row = top_row; row < end_row; row++) {
                    const ptrdiff_t from = (ptrdiff_t)(top + row) * layer->in_w + start;
                    int32_t column;

                    for (column = first; column < end; column++) {
                        sum += x[(from + column) * layer->channels + c];
                    }
                }
                /* Halves away from zero; C division cuts towards zero. */
                sum = (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
                if (sum < layer->minimum) {
                    sum = layer->minimum;
                }
                y[c] = (int8_t)(sum > layer->maximum ? layer->maximum : sum);
            }
            y += layer->channels;
        }
    }
}

void isth_k_average_pool(const isth_k_pool_layer *layer, const int8_t *x, int8_t *y) {
    isth_k_average_pool_rows(layer, x, y, 0, layer->out_h);
}
