#include "isth_k_depthwise.h"

#if defined(ISTH_K_MVE)
#include "isth_k_depthwise_mve.h"
#elif defined(ISTH_K_DSP)
#include "isth_k_depthwise_dsp.h"
#endif

/* One input channel at a time is copied to a plane that has the padding around it. After that the
 * channel's place in x is free, nothing is at a border, and neighbours are neighbours in memory. */
#if defined(ISTH_K_DSP) && !defined(ISTH_K_MVE)
typedef int16_t number;
#else
typedef int8_t number;
#endif

typedef struct plane {
    number *x;
    int32_t h;
    int32_t w;    /* numbers from one row to the next */
    int32_t rows; /* output */
    int32_t columns;
    int32_t chunk;     /* rows whose sums have room */
    int32_t first_row; /* the picture's part: rows and columns of the plane */
    int32_t end_row;
    int32_t first;
    int32_t end;
    ptrdiff_t corner; /* of the picture's part, in x */
} plane;

static int32_t smaller(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* The plane for output rows and columns from the given ones on. */
static plane place(const isth_k_depthwise_layer *layer, int8_t *scratch, int32_t row,
                   int32_t column, int32_t rows, int32_t columns) {
    const int32_t top = layer->pad_top - row * layer->stride_h;
    const int32_t left = layer->pad_left - column * layer->stride_w;
    plane made;
    int32_t i;

    made.x = (number *)(void *)scratch;
    made.h = (rows - 1) * layer->stride_h + (layer->kernel_h - 1) * layer->dilation_h + 1;
    made.w = layer->plane_w;
    made.rows = rows;
    made.columns = columns;
    made.chunk = (layer->sums - 1) / columns;
    made.first_row = top > 0 ? top : 0;
    made.end_row = smaller(top + layer->in_h, made.h);
    made.first = left > 0 ? left : 0;
    made.end = smaller(left + layer->in_w, made.w);
    made.corner = (ptrdiff_t)(made.first_row - top) * layer->x_row +
                  (ptrdiff_t)(made.first - left) * layer->x_column;
    for (i = 0; i < made.h * made.w; i++) {
        made.x[i] = (number)layer->input_zero;
    }
    return made;
}

static void fill(const isth_k_depthwise_layer *layer, const plane *to, const int8_t *x) {
    const ptrdiff_t step = layer->x_column;
    const int32_t count = to->end - to->first;
    number *out = to->x + (ptrdiff_t)to->first_row * to->w + to->first;
    ptrdiff_t row = to->corner;
    int32_t r;

    for (r = to->first_row; r < to->end_row; r++) {
        ptrdiff_t from = row;
        int32_t i = 0;

#if defined(ISTH_K_MVE)
        if (step <= ISTH_K_GATHERED) {
            isth_k_line_mve(out, x + row, count, step);
            i = count;
        }
#endif
        for (; i + 4 <= count; i += 4) {
            const int8_t *const four = x + from;

            out[i] = four[0];
            out[i + 1] = four[step];
            out[i + 2] = four[2 * step];
            out[i + 3] = four[3 * step];
            from += 4 * step;
        }
        for (; i < count; i++) {
            out[i] = x[from];
            from += step;
        }
        out += to->w;
        row += layer->x_row;
    }
}

#if defined(ISTH_K_MVE)
ISTH_K_INLINE void channel_by_2(const isth_k_depthwise_layer *layer, const plane *from,
                                const int8_t *w, const isth_k_filter *filter, int8_t *y,
                                int32_t mode) {
    const isth_k_filter scale = *filter;
    const int8_t *line = from->x;
    int32_t row;

    for (row = 0; row < from->rows; row++) {
        isth_k_row_3x3_by_2_mve(layer, line, from->w, w, &scale, y + (ptrdiff_t)row * layer->y_row,
                                from->columns, mode);
        line += 2 * (ptrdiff_t)from->w;
    }
}

static void channel(const isth_k_depthwise_layer *layer, const plane *from, const int8_t *w,
                    const isth_k_filter *filter, int8_t *y) {
    const int relu = layer->mode == ISTH_K_RELU;
    const int8_t *line = from->x;
    int32_t row;

    if (layer->sums > 0 && layer->stride_w == 1) {
        const isth_k_lanes lanes = isth_k_lanes_of(layer, filter);

        for (row = 0; row < from->rows; row++) {
            isth_k_line_3x3_mve(&lanes, line, from->w, w, y, from->columns, relu);
            line += from->w;
            y += layer->y_row;
        }
    } else if (layer->sums > 0 && relu) {
        channel_by_2(layer, from, w, filter, y, ISTH_K_RELU);
    } else if (layer->sums > 0) {
        channel_by_2(layer, from, w, filter, y, ISTH_K_FAST);
    } else {
        for (row = 0; row < from->rows; row++) {
            isth_k_row_any_mve(layer, from->x + (ptrdiff_t)row * layer->stride_h * from->w, from->w,
                               w, filter, y + (ptrdiff_t)row * layer->y_row, from->columns);
        }
    }
}
#else
ISTH_K_INLINE int8_t finish(const isth_k_depthwise_layer *layer, uint32_t acc,
                            const isth_k_filter *filter) {
    if (layer->mode <= ISTH_K_FAST) {
        return isth_k_finish_fast(acc, filter, 0);
    }
    return isth_k_finish_any(acc, filter, &layer->output, ISTH_K_GENERAL);
}

/* A row of taps at two positions. */
ISTH_K_INLINE void taps_any(const number *x0, const number *x1, const int8_t *w, int32_t count,
                            int32_t dilation, uint32_t *a0, uint32_t *a1) {
    int32_t i;

    for (i = 0; i < count; i++) {
        *a0 = isth_k_mac(*a0, x0[i * dilation], w[i]);
        *a1 = isth_k_mac(*a1, x1[i * dilation], w[i]);
        ISTH_K_KEEP(*a0);
        ISTH_K_KEEP(*a1);
    }
}

ISTH_K_INLINE void row_any(const isth_k_depthwise_layer *layer, const number *x0, const number *x1,
                           const int8_t *w, uint32_t *a0, uint32_t *a1) {
    if (layer->kernel_w == 3) {
        /* The second of a row of three is written twice. */
        taps_any(x0, x1, w, 2, layer->dilation_w, a0, a1);
        taps_any(x0 + 2 * (ptrdiff_t)layer->dilation_w, x1 + 2 * (ptrdiff_t)layer->dilation_w,
                 w + 3, 1, 1, a0, a1);
    } else if (layer->kernel_w == 5 && layer->dilation_w == 1) {
        taps_any(x0, x1, w, 5, 1, a0, a1);
    } else {
        taps_any(x0, x1, w, layer->kernel_w, layer->dilation_w, a0, a1);
    }
}

/* Any kernel, two positions at once; the last of an odd row twice. */
static void channel_any(const isth_k_depthwise_layer *layer, const plane *from, const int8_t *w,
                        const isth_k_filter *filter, int8_t *y) {
    const isth_k_filter scale = *filter;
    const ptrdiff_t w_row = layer->kernel_w == 3 ? 4 : layer->kernel_w;
    const ptrdiff_t x_row = (ptrdiff_t)layer->dilation_h * from->w;
    int32_t row;

    for (row = 0; row < from->rows; row++) {
        int8_t *const out = y + (ptrdiff_t)row * layer->y_row;
        const number *const line = from->x + (ptrdiff_t)row * layer->stride_h * from->w;
        int32_t column;

        for (column = 0; column < from->columns; column += 2) {
            const int32_t next = column + 1 < from->columns ? column + 1 : column;
            const number *const x0 = line + (ptrdiff_t)column * layer->stride_w;
            const number *const x1 = line + (ptrdiff_t)next * layer->stride_w;
            uint32_t a0 = (uint32_t)scale.folded;
            uint32_t a1 = a0;
            int32_t i;

            for (i = 0; i < layer->kernel_h; i++) {
                row_any(layer, x0 + i * x_row, x1 + i * x_row, w + i * w_row, &a0, &a1);
            }
            out[(ptrdiff_t)column * layer->y_column] = finish(layer, a0, &scale);
            out[(ptrdiff_t)next * layer->y_column] = finish(layer, a1, &scale);
        }
    }
}

#if defined(ISTH_K_DSP)
/* Sums without their bias become rows times columns outputs. */
ISTH_K_INLINE void finish_sums(const isth_k_depthwise_layer *layer, const uint32_t *sums,
                               int32_t rows, int32_t columns, const isth_k_filter *filter,
                               int8_t *y, int relu) {
    const isth_k_filter scale = *filter;
    const uint32_t twice_folded = (uint32_t)scale.folded << 1;
    const ptrdiff_t step = layer->y_column;

    if (layer->y_row == columns * layer->y_column) {
        columns *= rows;
        rows = 1;
    }
    for (; rows > 0; rows--) {
        ptrdiff_t at = 0;
        int32_t i;

        for (i = 0; i + 2 <= columns; i += 2) {
            int8_t *const out = y + at;

            out[0] = isth_k_finish_doubled((sums[i] << 1) + twice_folded, &scale, relu);
            out[step] = isth_k_finish_doubled((sums[i + 1] << 1) + twice_folded, &scale, relu);
            at += 2 * step;
        }
        if (i < columns) {
            y[at] = isth_k_finish_doubled((sums[i] << 1) + twice_folded, &scale, relu);
        }
        sums += columns;
        y += rows > 1 ? layer->y_row : 0;
    }
}

/* Kernels of up to ISTH_K_WIDEST columns, not dilated, with a stride of 1 or 2 along the row. */
static void channel_pairs(const isth_k_depthwise_layer *layer, const plane *from, const int8_t *w,
                          const isth_k_filter *filter, int8_t *y) {
    const isth_k_filter scale = *filter;
    const int32_t words = (layer->kernel_w + 1 + (layer->stride_w == 1 ? 1 : 0)) / 2;
    const ptrdiff_t x_row = (ptrdiff_t)layer->dilation_h * from->w;
    isth_k_pair_taps taps;
    int32_t row;

    isth_k_pair_weights(&taps, w, layer->kernel_h, layer->kernel_w, words, layer->stride_w);
    for (row = 0; row < from->rows; row++) {
        int8_t *const out = y + (ptrdiff_t)row * layer->y_row;
        const number *x = from->x + (ptrdiff_t)row * layer->stride_h * from->w;
        int32_t column;

        for (column = 0; column < from->columns; column += 2) {
            uint32_t acc[2];

            acc[0] = acc[1] = (uint32_t)scale.folded;
            isth_k_pair_sums(&taps, x, x_row, layer->kernel_h, words, layer->stride_w, acc);
            out[(ptrdiff_t)column * layer->y_column] = finish(layer, acc[0], &scale);
            if (column + 1 < from->columns) {
                out[(ptrdiff_t)(column + 1) * layer->y_column] = finish(layer, acc[1], &scale);
            }
            x += 2 * (ptrdiff_t)layer->stride_w;
        }
    }
}

/* 3x3 with the same stride of 1 or 2 both ways, FAST or RELU: the sums of some rows at a time. */
static void channel_fast(const isth_k_depthwise_layer *layer, const plane *from, const int8_t *w,
                         const isth_k_filter *filter, int8_t *y) {
    const isth_k_taps_3x3 taps = isth_k_read_taps(w);
    /* Behind the plane: an odd last output with a stride of 2 is read as one of a pair. */
    uint32_t *const sums = (uint32_t *)(void *)(from->x + (ptrdiff_t)from->h * from->w);
    const int32_t columns = from->columns;
    const number *x = from->x;
    int32_t row;

    for (row = 0; row < from->rows; row += from->chunk) {
        const int32_t rows = smaller(from->chunk, from->rows - row);

        isth_k_sums_3x3(&taps, x, from->w, layer->stride_w, columns, rows, sums);
        if (layer->mode == ISTH_K_RELU) {
            finish_sums(layer, sums, rows, columns, filter, y, 1);
        } else {
            finish_sums(layer, sums, rows, columns, filter, y, 0);
        }
        x += (ptrdiff_t)rows * layer->stride_w * from->w;
        y += (ptrdiff_t)rows * layer->y_row;
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
                               const int8_t *w, const isth_k_filter *filter, int8_t *y, int stride,
                               int relu) {
    const isth_k_filter scale = *filter;
    const ptrdiff_t step = layer->y_column;
    int32_t row;

    for (row = 0; row < from->rows; row++) {
        int8_t *out = y + (ptrdiff_t)row * layer->y_row;
        const number *x0 = from->x + (ptrdiff_t)row * stride * from->w;
        const number *x1 = x0 + from->w;
        const number *x2 = x1 + from->w;
        int32_t left;

        for (left = from->columns; left >= 2; left -= 2) {
            uint32_t a0 = (uint32_t)scale.folded;
            uint32_t a1 = a0;

            taps_3(x0, w, &a0, &a1, stride);
            taps_3(x1, w + 4, &a0, &a1, stride);
            taps_3(x2, w + 8, &a0, &a1, stride);
            out[0] = isth_k_finish_fast(a0, &scale, relu);
            out[step] = isth_k_finish_fast(a1, &scale, relu);
            out += left > 2 ? 2 * step : 0;
            x0 += 2 * stride;
            x1 += 2 * stride;
            x2 += 2 * stride;
        }
        if (left > 0) {
            const uint32_t acc = tap_3(x1, w + 4, tap_3(x0, w, (uint32_t)scale.folded));

            *out = isth_k_finish_fast(tap_3(x2, w + 8, acc), &scale, relu);
        }
    }
}
static void channel_fast(const isth_k_depthwise_layer *layer, const plane *from, const int8_t *w,
                         const isth_k_filter *filter, int8_t *y) {
    const int relu = layer->mode == ISTH_K_RELU;

    if (layer->stride_w == 1) {
        if (relu) {
            channel_3x3(layer, from, w, filter, y, 1, 1);
        } else {
            channel_3x3(layer, from, w, filter, y, 1, 0);
        }
    } else if (relu) {
        channel_3x3(layer, from, w, filter, y, 2, 1);
    } else {
        channel_3x3(layer, from, w, filter, y, 2, 0);
    }
}
#endif

static void channel(const isth_k_depthwise_layer *layer, const plane *from, const int8_t *w,
                    const isth_k_filter *filter, int8_t *y) {
    if (layer->sums > 0) {
        channel_fast(layer, from, w, filter, y);
#if defined(ISTH_K_DSP)
    } else if (layer->kernel_w <= ISTH_K_WIDEST && layer->kernel_h <= ISTH_K_WIDEST &&
               layer->dilation_w == 1 && layer->stride_w <= 2) {
        channel_pairs(layer, from, w, filter, y);
#endif
    } else {
        channel_any(layer, from, w, filter, y);
    }
}
#endif

static void planes(const isth_k_depthwise_layer *layer, const plane *to, const int8_t *x,
                   int8_t *y) {
    const ptrdiff_t taps =
        (ptrdiff_t)layer->kernel_h * (layer->kernel_w == 3 ? 4 : layer->kernel_w);
    int32_t in;

    for (in = 0; in < layer->in_c; in++) {
        int32_t out = in * layer->multiplier;
        const int32_t end = out + layer->multiplier;

        fill(layer, to, x + in);
        for (; out < end; out++) {
            channel(layer, to, layer->weights + out * taps, layer->filters + out, y + out);
        }
    }
}

void isth_k_depthwise_rows(const isth_k_depthwise_layer *layer, const int8_t *x, int8_t *y,
                           int8_t *scratch, int32_t first_row, int32_t rows) {
    const plane made = layer->turned ? place(layer, scratch, 0, first_row, layer->out_h, rows)
                                     : place(layer, scratch, first_row, 0, rows, layer->out_w);

    planes(layer, &made, x, y);
}

void isth_k_depthwise(const isth_k_depthwise_layer *layer, const int8_t *x, int8_t *y,
                      int8_t *scratch) {
    isth_k_depthwise_rows(layer, x, y, scratch, 0, layer->turned ? layer->out_w : layer->out_h);
}
