#include "isth_k_depthwise.h"

#include "isth_k_dsp.h"

/* One input channel at a time is copied to a plane that has the padding around it. After that the
 * channel's place in x is free, nothing is at a border, and neighbours are neighbours in memory. */
#if defined(ISTH_K_DSP)
typedef int16_t number;
#else
typedef int8_t number;
#endif

typedef struct plane {
    number *x;
    int32_t h;
    int32_t w;         /* numbers from one row to the next */
    int32_t first_row; /* the picture's part: rows and columns of the plane */
    int32_t end_row;
    int32_t first;
    int32_t end;
    ptrdiff_t corner; /* of the picture's part, in x */
} plane;

static plane place(const isth_k_depthwise_layer *layer, int8_t *scratch, int32_t first_row,
                   int32_t rows) {
    const int32_t top = layer->pad_top - first_row * layer->stride_h;
    plane made;
    int32_t i;

    made.x = (number *)(void *)scratch;
    made.h = (rows - 1) * layer->stride_h + (layer->kernel_h - 1) * layer->dilation_h + 1;
    made.w = layer->plane_w;
    made.first_row = top > 0 ? top : 0;
    made.end_row = top + layer->in_h < made.h ? top + layer->in_h : made.h;
    made.first = layer->pad_left;
    made.end = layer->pad_left + layer->in_w < made.w ? layer->pad_left + layer->in_w : made.w;
    made.corner = (ptrdiff_t)(made.first_row - top) * layer->in_w * layer->in_c;
    for (i = 0; i < made.h * made.w; i++) {
        made.x[i] = (number)layer->input_zero;
    }
    return made;
}

static void fill(const isth_k_depthwise_layer *layer, const plane *to, const int8_t *x) {
    const ptrdiff_t step = layer->in_c;
    const int32_t count = to->end - to->first;
    const int8_t *row = x + to->corner;
    int32_t r;

    for (r = to->first_row; r < to->end_row; r++) {
        number *out = to->x + (ptrdiff_t)r * to->w + to->first;
        const int8_t *from = row;
        int32_t left;

        for (left = count; left >= 4; left -= 4) {
            out[0] = from[0];
            out[1] = from[step];
            out[2] = from[2 * step];
            out[3] = from[3 * step];
            out += 4;
            from += 4 * step;
        }
        for (; left > 0; left--) {
            *out++ = *from;
            from += step;
        }
        row += (ptrdiff_t)layer->in_w * step;
    }
}

ISTH_K_INLINE int8_t finish(const isth_k_depthwise_layer *layer, uint32_t acc,
                            const isth_k_filter *filter) {
    if (layer->mode <= ISTH_K_FAST) {
        return isth_k_finish_fast(acc, filter, 0);
    }
    return isth_k_finish_any(acc, filter, &layer->output, ISTH_K_GENERAL);
}

/* Any kernel. */
static void channel_any(const isth_k_depthwise_layer *layer, const plane *from, const int8_t *w,
                        const isth_k_filter *filter, int8_t *y, int32_t rows) {
    const int32_t kernel_w = layer->kernel_w == 3 ? 4 : layer->kernel_w;
    int32_t row;

    for (row = 0; row < rows; row++) {
        const number *const line = from->x + (ptrdiff_t)row * layer->stride_h * from->w;
        int32_t column;

        for (column = 0; column < layer->out_w; column++) {
            const number *const corner = line + (ptrdiff_t)column * layer->stride_w;
            uint32_t acc = (uint32_t)filter->folded;
            int32_t tap_row;

            for (tap_row = 0; tap_row < layer->kernel_h; tap_row++) {
                const number *p = corner + (ptrdiff_t)tap_row * layer->dilation_h * from->w;
                const int8_t *q = w + (ptrdiff_t)tap_row * kernel_w;
                int32_t tap;

                for (tap = 0; tap < kernel_w; tap++) {
                    /* The second of a row of three is written twice. */
                    if (layer->kernel_w != 3 || tap != 2) {
                        acc = isth_k_mac(acc, *p, q[tap]);
                        p += layer->dilation_w;
                    }
                }
            }
            *y = finish(layer, acc, filter);
            y += layer->out_c;
        }
    }
}

#if defined(ISTH_K_DSP)
ISTH_K_INLINE uint32_t pair_at(const number *from) {
    uint32_t pair;

    __builtin_memcpy(&pair, __builtin_assume_aligned(from, 4), sizeof pair);
    return pair;
}

/* One row of three taps at two positions, a stride apart. */
ISTH_K_INLINE void taps_3(const number *x, uint32_t first_two, uint32_t last_two, uint32_t *a0,
                          uint32_t *a1, int stride) {
    const uint32_t p = pair_at(x);
    const uint32_t q = pair_at(x + 2);

    *a0 = isth_k_dual(*a0, p, first_two);
    *a0 = isth_k_low_high(*a0, q, last_two);
    if (stride == 1) {
        *a1 = isth_k_dual(*a1, q, last_two);
        *a1 = isth_k_high_low(*a1, p, first_two);
    } else {
        *a1 = isth_k_dual(*a1, q, first_two);
        *a1 = isth_k_low_high(*a1, pair_at(x + 4), last_two);
    }
}

/* The last position of an odd row. */
ISTH_K_INLINE uint32_t tap_3(const number *x, uint32_t first_two, uint32_t last_two, uint32_t acc) {
    return isth_k_low_high(isth_k_dual(acc, pair_at(x), first_two), pair_at(x + 2), last_two);
}

ISTH_K_INLINE void channel_3x3(const isth_k_depthwise_layer *layer, const plane *from,
                               const int8_t *w, const isth_k_filter *filter, int8_t *y,
                               int32_t rows, int stride, int relu) {
    const uint32_t w00 = isth_k_even(isth_k_word(w));
    const uint32_t w01 = isth_k_odd(isth_k_word(w));
    const uint32_t w10 = isth_k_even(isth_k_word(w + 4));
    const uint32_t w11 = isth_k_odd(isth_k_word(w + 4));
    const uint32_t w20 = isth_k_even(isth_k_word(w + 8));
    const uint32_t w21 = isth_k_odd(isth_k_word(w + 8));
    const isth_k_filter scale = *filter;
    const ptrdiff_t step = layer->out_c;
    int32_t row;

    for (row = 0; row < rows; row++) {
        const number *x0 = from->x + (ptrdiff_t)row * stride * from->w;
        const number *x1 = x0 + from->w;
        const number *x2 = x1 + from->w;
        int32_t left;

        for (left = layer->out_w; left >= 2; left -= 2) {
            uint32_t a0 = (uint32_t)scale.folded;
            uint32_t a1 = a0;

            taps_3(x0, w00, w01, &a0, &a1, stride);
            taps_3(x1, w10, w11, &a0, &a1, stride);
            taps_3(x2, w20, w21, &a0, &a1, stride);
            y[0] = isth_k_finish_fast(a0, &scale, relu);
            y[step] = isth_k_finish_fast(a1, &scale, relu);
            y += 2 * step;
            x0 += 2 * stride;
            x1 += 2 * stride;
            x2 += 2 * stride;
        }
        if (left > 0) {
            uint32_t acc = tap_3(x0, w00, w01, (uint32_t)scale.folded);

            acc = tap_3(x1, w10, w11, acc);
            acc = tap_3(x2, w20, w21, acc);
            *y = isth_k_finish_fast(acc, &scale, relu);
            y += step;
        }
    }
}
#else
/* One row of three taps at two positions, a stride apart. */
ISTH_K_INLINE void taps_3(const number *x, const int8_t *w, uint32_t *a0, uint32_t *a1,
                          int stride) {
    const int32_t p = w[0];
    const int32_t q = w[1];
    const int32_t r = w[3];

    *a0 = isth_k_mac(*a0, x[0], p);
    *a0 = isth_k_mac(*a0, x[1], q);
    *a0 = isth_k_mac(*a0, x[2], r);
    *a1 = isth_k_mac(*a1, x[stride], p);
    *a1 = isth_k_mac(*a1, x[stride + 1], q);
    *a1 = isth_k_mac(*a1, x[stride + 2], r);
}

ISTH_K_INLINE uint32_t tap_3(const number *x, const int8_t *w, uint32_t acc) {
    acc = isth_k_mac(acc, x[0], w[0]);
    acc = isth_k_mac(acc, x[1], w[1]);
    return isth_k_mac(acc, x[2], w[3]);
}

ISTH_K_INLINE void channel_3x3(const isth_k_depthwise_layer *layer, const plane *from,
                               const int8_t *w, const isth_k_filter *filter, int8_t *y,
                               int32_t rows, int stride, int relu) {
    const isth_k_filter scale = *filter;
    const ptrdiff_t step = layer->out_c;
    int32_t row;

    for (row = 0; row < rows; row++) {
        const number *x0 = from->x + (ptrdiff_t)row * stride * from->w;
        const number *x1 = x0 + from->w;
        const number *x2 = x1 + from->w;
        int32_t left;

        for (left = layer->out_w; left >= 2; left -= 2) {
            uint32_t a0 = (uint32_t)scale.folded;
            uint32_t a1 = a0;

            taps_3(x0, w, &a0, &a1, stride);
            taps_3(x1, w + 4, &a0, &a1, stride);
            taps_3(x2, w + 8, &a0, &a1, stride);
            y[0] = isth_k_finish_fast(a0, &scale, relu);
            y[step] = isth_k_finish_fast(a1, &scale, relu);
            y += 2 * step;
            x0 += 2 * stride;
            x1 += 2 * stride;
            x2 += 2 * stride;
        }
        if (left > 0) {
            const uint32_t acc = tap_3(x1, w + 4, tap_3(x0, w, (uint32_t)scale.folded));

            *y = isth_k_finish_fast(tap_3(x2, w + 8, acc), &scale, relu);
            y += step;
        }
    }
}
#endif

/* 3x3, the same stride of 1 or 2 both ways, not dilated, FAST or RELU. */
static void channel_fast(const isth_k_depthwise_layer *layer, const plane *from, const int8_t *w,
                         const isth_k_filter *filter, int8_t *y, int32_t rows) {
    const int relu = layer->mode == ISTH_K_RELU;

    if (layer->stride_w == 1) {
        if (relu) {
            channel_3x3(layer, from, w, filter, y, rows, 1, 1);
        } else {
            channel_3x3(layer, from, w, filter, y, rows, 1, 0);
        }
    } else if (relu) {
        channel_3x3(layer, from, w, filter, y, rows, 2, 1);
    } else {
        channel_3x3(layer, from, w, filter, y, rows, 2, 0);
    }
}

void isth_k_depthwise_rows(const isth_k_depthwise_layer *layer, const int8_t *x, int8_t *y,
                           int8_t *scratch, int32_t first_row, int32_t rows) {
    const plane made = place(layer, scratch, first_row, rows);
    const ptrdiff_t taps =
        (ptrdiff_t)layer->kernel_h * (layer->kernel_w == 3 ? 4 : layer->kernel_w);
    const int fast = layer->mode <= ISTH_K_FAST && layer->kernel_h == 3 && layer->kernel_w == 3 &&
                     layer->dilation_h == 1 && layer->dilation_w == 1 &&
                     layer->stride_h == layer->stride_w && layer->stride_w <= 2;
    int32_t in;

    for (in = 0; in < layer->in_c; in++) {
        int32_t out = in * layer->multiplier;
        const int32_t end = out + layer->multiplier;

        fill(layer, &made, x + in);
        for (; out < end; out++) {
            if (fast) {
                channel_fast(layer, &made, layer->weights + out * taps, layer->filters + out,
                             y + out, rows);
            } else {
                channel_any(layer, &made, layer->weights + out * taps, layer->filters + out,
                            y + out, rows);
            }
        }
    }
}

void isth_k_depthwise(const isth_k_depthwise_layer *layer, const int8_t *x, int8_t *y,
                      int8_t *scratch) {
    isth_k_depthwise_rows(layer, x, y, scratch, 0, layer->out_h);
}
