#include "isth_k_transpose_conv.h"

/* The taps of one axis that reach an output: tap, tap + stride, ..., each from the input before. */
typedef struct reach {
    int32_t tap;   /* the first */
    int32_t from;  /* index of its input */
    int32_t count; /* how many */
} reach;

/* position: index in the result before its edges were cut off. */
static reach reach_of(int32_t position, int32_t stride, int32_t kernel, int32_t size) {
    reach found;

    found.tap = position % stride;
    found.from = position / stride;
    found.count = 0;
    if (found.from >= size) {
        found.tap += (found.from - size + 1) * stride;
        found.from = size - 1;
    }
    if (found.tap < kernel) {
        found.count = (kernel - 1 - found.tap) / stride + 1;
        if (found.count > found.from + 1) {
            found.count = found.from + 1;
        }
    }
    return found;
}

/* Four output channels of one position share each input. */
static void four(const isth_k_transpose_conv_layer *layer, const int8_t *x, const int8_t *w,
                 const reach *rows, const reach *columns, uint32_t *acc) {
    const int32_t in_c = layer->in_c;
    const ptrdiff_t filter = (ptrdiff_t)layer->kernel_h * layer->kernel_w * in_c;
    uint32_t a = acc[0];
    uint32_t b = acc[1];
    uint32_t c = acc[2];
    uint32_t d = acc[3];
    int32_t row;

    for (row = 0; row < rows->count; row++) {
        const ptrdiff_t line = (ptrdiff_t)(rows->from - row) * layer->in_w;
        const ptrdiff_t taps = (ptrdiff_t)(rows->tap + row * layer->stride_h) * layer->kernel_w;
        int32_t column;

        for (column = 0; column < columns->count; column++) {
            const int8_t *p = x + (line + columns->from - column) * in_c;
            const int8_t *q = w + (taps + columns->tap + column * layer->stride_w) * in_c;
            int32_t i;

            for (i = 0; i < in_c; i++) {
                const int32_t value = p[i] - layer->input_zero;

                a = isth_k_mac(a, value, q[i]);
                b = isth_k_mac(b, value, q[filter + i]);
                c = isth_k_mac(c, value, q[2 * filter + i]);
                d = isth_k_mac(d, value, q[3 * filter + i]);
            }
        }
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

static uint32_t one(const isth_k_transpose_conv_layer *layer, const int8_t *x, const int8_t *w,
                    const reach *rows, const reach *columns, uint32_t acc) {
    const int32_t in_c = layer->in_c;
    int32_t row;

    for (row = 0; row < rows->count; row++) {
        const ptrdiff_t line = (ptrdiff_t)(rows->from - row) * layer->in_w;
        const ptrdiff_t taps = (ptrdiff_t)(rows->tap + row * layer->stride_h) * layer->kernel_w;
        int32_t column;

        for (column = 0; column < columns->count; column++) {
            const int8_t *p = x + (line + columns->from - column) * in_c;
            const int8_t *q = w + (taps + columns->tap + column * layer->stride_w) * in_c;
            int32_t i;

            for (i = 0; i < in_c; i++) {
                acc = isth_k_mac(acc, p[i] - layer->input_zero, q[i]);
            }
        }
    }
    return acc;
}

static void position(const isth_k_transpose_conv_layer *layer, const int8_t *x, const reach *rows,
                     const reach *columns, int8_t *y) {
    const ptrdiff_t filter = (ptrdiff_t)layer->kernel_h * layer->kernel_w * layer->in_c;
    const isth_k_channel *channel = layer->channels;
    const int8_t *w = layer->weights;
    int32_t left = layer->out_c;

    for (; left >= 4; left -= 4) {
        uint32_t acc[4];
        int i;

        for (i = 0; i < 4; i++) {
            acc[i] = (uint32_t)channel[i].bias;
        }
        four(layer, x, w, rows, columns, acc);
        for (i = 0; i < 4; i++) {
            *y++ = isth_k_finish(acc[i], channel++, &layer->output);
        }
        w += 4 * filter;
    }
    for (; left > 0; left--) {
        const uint32_t acc = one(layer, x, w, rows, columns, (uint32_t)channel->bias);

        *y++ = isth_k_finish(acc, channel++, &layer->output);
        w += filter;
    }
}

void isth_k_transpose_conv(const isth_k_transpose_conv_layer *layer, const int8_t *x, int8_t *y) {
    int32_t row;

    for (row = 0; row < layer->out_h; row++) {
        const reach rows =
            reach_of(row + layer->pad_top, layer->stride_h, layer->kernel_h, layer->in_h);
        int32_t column;

        for (column = 0; column < layer->out_w; column++) {
            const reach columns =
                reach_of(column + layer->pad_left, layer->stride_w, layer->kernel_w, layer->in_w);

            position(layer, x, &rows, &columns, y);
            y += layer->out_c;
        }
    }
}
