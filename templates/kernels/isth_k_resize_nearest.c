#include "isth_k_resize_nearest.h"

#include "isth_k_run.h"

void isth_k_resize_nearest(const isth_k_resize_nearest_layer *layer, const int8_t *x, int8_t *y) {
    const int32_t channels = layer->channels;
    int32_t row;

    for (row = 0; row < layer->out_h; row++) {
        const int8_t *line = x + (ptrdiff_t)layer->rows[row] * layer->in_w * channels;
        int32_t column;

        for (column = 0; column < layer->out_w; column++) {
            isth_k_run(line + (ptrdiff_t)layer->columns[column] * channels, y, channels);
            y += channels;
        }
    }
}
