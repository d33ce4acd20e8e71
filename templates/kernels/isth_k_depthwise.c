#include "isth_k_depthwise.h"

/* The taps of one position that fall into the picture. */
typedef struct window {
    const int8_t *x; /* input under the first tap */
    const int8_t *w; /* weights of the first tap */
    int32_t rows;
    int32_t columns;
} window;

/* Four channels at once where one output channel belongs to one input channel; returns the number
 * of channels done. zero and folded as in isth_k_block.h. */
ISTH_K_INLINE int32_t fours(const isth_k_depthwise_layer *layer, const window *taps, int8_t *y,
                            int folded, int32_t zero) {
    const ptrdiff_t x_row = (ptrdiff_t)layer->dilation_h * layer->in_w * layer->in_c;
    const ptrdiff_t x_column = (ptrdiff_t)layer->dilation_w * layer->in_c;
    const ptrdiff_t w_row = (ptrdiff_t)layer->kernel_w * layer->out_c;
    int32_t c;

    for (c = 0; c + 4 <= layer->out_c; c += 4) {
        const isth_k_channel *const channel = layer->channels + c;
        uint32_t a0 = (uint32_t)(folded ? channel[0].folded : channel[0].bias);
        uint32_t a1 = (uint32_t)(folded ? channel[1].folded : channel[1].bias);
        uint32_t a2 = (uint32_t)(folded ? channel[2].folded : channel[2].bias);
        uint32_t a3 = (uint32_t)(folded ? channel[3].folded : channel[3].bias);
        int32_t row;

        for (row = 0; row < taps->rows; row++) {
            ptrdiff_t p = row * x_row + c;
            ptrdiff_t q = row * w_row + c;
            int32_t left;

            for (left = taps->columns; left > 0; left--) {
                const int8_t *const u = taps->x + p;
                const int8_t *const v = taps->w + q;

                a0 = isth_k_mac(a0, u[0] - zero, v[0]);
                a1 = isth_k_mac(a1, u[1] - zero, v[1]);
                a2 = isth_k_mac(a2, u[2] - zero, v[2]);
                a3 = isth_k_mac(a3, u[3] - zero, v[3]);
                p += x_column;
                q += layer->out_c;
            }
        }
        y[c] = isth_k_finish(a0, &channel[0], &layer->output);
        y[c + 1] = isth_k_finish(a1, &channel[1], &layer->output);
        y[c + 2] = isth_k_finish(a2, &channel[2], &layer->output);
        y[c + 3] = isth_k_finish(a3, &channel[3], &layer->output);
    }
    return c;
}

/* The output channels from c on, one by one, any multiplier. */
static void ones(const isth_k_depthwise_layer *layer, const window *taps, int8_t *y, int32_t c) {
    const ptrdiff_t x_row = (ptrdiff_t)layer->dilation_h * layer->in_w * layer->in_c;
    const ptrdiff_t x_column = (ptrdiff_t)layer->dilation_w * layer->in_c;
    int32_t in = c / layer->multiplier;
    int32_t copy = c % layer->multiplier;

    for (; c < layer->out_c; c++) {
        uint32_t acc = (uint32_t)layer->channels[c].bias;
        int32_t row;

        for (row = 0; row < taps->rows; row++) {
            int32_t column;

            for (column = 0; column < taps->columns; column++) {
                const int32_t u = taps->x[row * x_row + column * x_column + in] - layer->input_zero;
                const ptrdiff_t tap = (ptrdiff_t)row * layer->kernel_w + column;

                acc = isth_k_mac(acc, u, taps->w[tap * layer->out_c + c]);
            }
        }
        y[c] = isth_k_finish(acc, &layer->channels[c], &layer->output);
        if (++copy == layer->multiplier) {
            copy = 0;
            in++;
        }
    }
}

void isth_k_depthwise(const isth_k_depthwise_layer *layer, const int8_t *x, int8_t *y) {
    int32_t out_y;

    for (out_y = 0; out_y < layer->out_h; out_y++) {
        const int32_t top = out_y * layer->stride_h - layer->pad_top;
        int32_t first_row;
        int32_t end_row;
        int32_t out_x;

        isth_k_clip(top, layer->in_h, layer->kernel_h, layer->dilation_h, &first_row, &end_row);
        for (out_x = 0; out_x < layer->out_w; out_x++) {
            const int32_t start = out_x * layer->stride_w - layer->pad_left;
            window taps = {x, layer->weights, 0, 0};
            int32_t first;
            int32_t end;
            int32_t done = 0;

            isth_k_clip(start, layer->in_w, layer->kernel_w, layer->dilation_w, &first, &end);
            if (end_row > first_row && end > first) {
                const int32_t in_y = top + first_row * layer->dilation_h;
                const int32_t in_x = start + first * layer->dilation_w;

                taps.rows = end_row - first_row;
                taps.columns = end - first;
                taps.x += ((ptrdiff_t)in_y * layer->in_w + in_x) * layer->in_c;
                taps.w += ((ptrdiff_t)first_row * layer->kernel_w + first) * layer->out_c;
            }
            if (layer->multiplier == 1) {
                if (taps.rows == layer->kernel_h && taps.columns == layer->kernel_w) {
                    done = fours(layer, &taps, y, 1, 0);
                } else {
                    done = fours(layer, &taps, y, 0, layer->input_zero);
                }
            }
            ones(layer, &taps, y, done);
            y += layer->out_c;
        }
    }
}
