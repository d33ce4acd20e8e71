#include "isth_k_conv_1x1.h"

#include "isth_k_block.h"

void isth_k_conv_1x1(const isth_k_conv_1x1_layer *layer, const int8_t *x, int8_t *y) {
    const isth_k_taps taps = {1, 1, layer->in_c, 0, 0, 0, 0, 0};
    isth_k_filters filters;
    int32_t row;

    filters.weights = layer->weights;
    filters.channels = layer->channels;
    filters.count = layer->out_c;
    filters.size = layer->in_c;
    for (row = 0; row < layer->rows; row++) {
        const int8_t *position = x + (ptrdiff_t)row * layer->x_row;
        int32_t left = layer->columns;

        while (left >= 2) {
            isth_k_block_pair(&filters, &taps, &layer->output, position, position + layer->x_column,
                              y, y + layer->out_c, 1, 0);
            y += 2 * (ptrdiff_t)layer->out_c;
            left -= 2;
            if (left > 0) {
                position += 2 * (ptrdiff_t)layer->x_column;
            }
        }
        if (left > 0) {
            isth_k_block_single(&filters, &taps, &layer->output, position, y, 1, 0);
            y += layer->out_c;
        }
    }
}
