#include "isth_k_conv_2d.h"

#include "isth_k_block.h"

/* Two neighbouring positions, all kernel columns inside the picture. */
static void pair(const isth_k_conv_2d_layer *layer, const isth_k_taps *taps, const int8_t *x,
                 int8_t *y) {
    const int32_t group_in = layer->in_c / layer->groups;
    const int32_t group_out = layer->out_c / layer->groups;
    const ptrdiff_t step = (ptrdiff_t)layer->stride_w * layer->in_c;
    isth_k_filters filters;
    int32_t group;

    filters.weights = layer->weights;
    filters.channels = layer->channels;
    filters.count = group_out;
    filters.size = layer->kernel_h * layer->kernel_w * group_in;
    for (group = 0; group < layer->groups; group++) {
        if (taps->rows == layer->kernel_h) {
            isth_k_block_pair(&filters, taps, &layer->output, x, x + step, y, y + layer->out_c, 1,
                              0);
        } else {
            isth_k_block_pair(&filters, taps, &layer->output, x, x + step, y, y + layer->out_c, 0,
                              layer->input_zero);
        }
        x += group_in;
        y += group_out;
        filters.weights += (ptrdiff_t)group_out * filters.size;
        filters.channels += group_out;
    }
}

/* One position; inside tells that every tap falls into the picture. */
static void single(const isth_k_conv_2d_layer *layer, const isth_k_taps *taps, const int8_t *x,
                   int8_t *y, int inside) {
    const int32_t group_in = layer->in_c / layer->groups;
    const int32_t group_out = layer->out_c / layer->groups;
    isth_k_filters filters;
    int32_t group;

    filters.weights = layer->weights;
    filters.channels = layer->channels;
    filters.count = group_out;
    filters.size = layer->kernel_h * layer->kernel_w * group_in;
    for (group = 0; group < layer->groups; group++) {
        isth_k_block_single(&filters, taps, &layer->output, x, y, inside,
                            inside ? 0 : layer->input_zero);
        x += group_in;
        y += group_out;
        filters.weights += (ptrdiff_t)group_out * filters.size;
        filters.channels += group_out;
    }
}

void isth_k_conv_2d(const isth_k_conv_2d_layer *layer, const int8_t *x, int8_t *y) {
    const int32_t group_in = layer->in_c / layer->groups;
    /* Kernel columns lie side by side in memory unless dilation or grouping parts them. */
    const int merged = layer->dilation_w == 1 && layer->groups == 1;
    const int32_t reach = (layer->kernel_w - 1) * layer->dilation_w;
    isth_k_taps taps;
    int32_t out_y;

    taps.x_row = layer->dilation_h * layer->in_w * layer->in_c;
    taps.x_run = layer->dilation_w * layer->in_c;
    taps.w_row = layer->kernel_w * group_in;
    taps.w_run = group_in;
    for (out_y = 0; out_y < layer->out_h; out_y++) {
        const int32_t top = out_y * layer->stride_h - layer->pad_top;
        int32_t first_row;
        int32_t end_row;
        int32_t out_x = 0;

        isth_k_clip(top, layer->in_h, layer->kernel_h, layer->dilation_h, &first_row, &end_row);
        taps.rows = end_row - first_row;
        while (out_x < layer->out_w) {
            const int32_t start = out_x * layer->stride_w - layer->pad_left;
            const int paired = out_x + 1 < layer->out_w && start >= 0 &&
                               start + layer->stride_w + reach < layer->in_w;
            const int8_t *corner = x;
            int32_t first = 0;
            int32_t end = layer->kernel_w;

            if (!paired) {
                isth_k_clip(start, layer->in_w, layer->kernel_w, layer->dilation_w, &first, &end);
            }
            taps.runs = merged ? 1 : end - first;
            taps.length = merged ? (end - first) * group_in : group_in;
            taps.w_first = first_row * taps.w_row + first * taps.w_run;
            if (taps.rows > 0 && end > first) {
                const int32_t in_y = top + first_row * layer->dilation_h;
                const int32_t in_x = start + first * layer->dilation_w;

                corner += ((ptrdiff_t)in_y * layer->in_w + in_x) * layer->in_c;
            } else {
                /* Padding alone: the bias decides. */
                taps.runs = 0;
                taps.w_first = 0;
            }
            if (paired) {
                pair(layer, &taps, corner, y);
                y += 2 * (ptrdiff_t)layer->out_c;
                out_x += 2;
            } else {
                single(layer, &taps, corner, y,
                       taps.rows == layer->kernel_h && end - first == layer->kernel_w);
                y += layer->out_c;
                out_x += 1;
            }
        }
    }
}
