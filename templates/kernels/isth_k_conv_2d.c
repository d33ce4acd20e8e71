#include "isth_k_conv_2d.h"

#include "isth_k_gather.h"

/* The taps of one position that lie in the picture; the rest is padding. */
typedef struct window {
    const int8_t *x; /* under the first tap inside */
    int32_t first_row;
    int32_t end_row;
    int32_t first;
    int32_t end;
} window;

/* What every column of a layer has in common. */
typedef struct shape {
    int32_t depth; /* inputs under one tap */
    int32_t x_run; /* bytes from one run to the next */
    int32_t x_row; /* bytes from one row of taps to the next */
    int merged; /* the taps of a row lie side by side in memory: one run */
} shape;

static shape column_shape(const isth_k_conv_2d_layer *layer) {
    shape made;

    made.depth = layer->in_c / layer->groups;
    made.merged = layer->dilation_w == 1 && layer->groups == 1;
    made.x_run = layer->dilation_w * layer->in_c;
    made.x_row = layer->dilation_h * layer->in_w * layer->in_c;
    return made;
}

/* The column as bytes, one input after the other. */
static void gather_bytes(const isth_k_conv_2d_layer *layer, const shape *of, const window *taps,
                         int8_t *to) {
    const int32_t count = taps->end - taps->first;
    const int32_t runs = of->merged ? 1 : count;
    const int32_t length = of->merged ? count * of->depth : of->depth;
    const int32_t before = taps->first * of->depth;
    const int32_t behind = (layer->kernel_w - taps->end) * of->depth;
    const int32_t zero = layer->input_zero;
    const int8_t *row = taps->x;
    int32_t r;

    to = isth_k_copy_same(to, zero, taps->first_row * layer->kernel_w * of->depth);
    for (r = taps->first_row; r < taps->end_row; r++) {
        int32_t run;

        if (before > 0) {
            to = isth_k_copy_same(to, zero, before);
        }
        for (run = 0; run < runs; run++) {
            to = isth_k_append(to, row + (ptrdiff_t)run * of->x_run, length);
        }
        if (behind > 0) {
            to = isth_k_copy_same(to, zero, behind);
        }
        row += r + 1 < taps->end_row ? of->x_row : 0;
    }
    (void)isth_k_copy_same(to, zero,
                           (layer->kernel_h - taps->end_row) * layer->kernel_w * of->depth);
}

#if !defined(ISTH_K_DIRECT)
/* The column in fours, where every run of inputs is a multiple of four bytes. */
static void gather_fours(const isth_k_conv_2d_layer *layer, const shape *of, const window *taps,
                         isth_k_number *to) {
    const int32_t depth = of->depth / 4;
    const int32_t count = taps->end - taps->first;
    const int32_t runs = of->merged ? 1 : count;
    const int32_t length = of->merged ? count * depth : depth;
    const int32_t before = taps->first * depth;
    const int32_t behind = (layer->kernel_w - taps->end) * depth;
    const int32_t zero = layer->input_zero;
    const int8_t *row = taps->x;
    int32_t r;

    to = isth_k_put_same(to, zero, taps->first_row * layer->kernel_w * depth);
    for (r = taps->first_row; r < taps->end_row; r++) {
        int32_t run;

        if (before > 0) {
            to = isth_k_put_same(to, zero, before);
        }
        for (run = 0; run < runs; run++) {
            to = isth_k_put(to, row + (ptrdiff_t)run * of->x_run, length);
        }
        if (behind > 0) {
            to = isth_k_put_same(to, zero, behind);
        }
        row += r + 1 < taps->end_row ? of->x_row : 0;
    }
    (void)isth_k_put_same(to, zero, (layer->kernel_h - taps->end_row) * layer->kernel_w * depth);
}
#endif

/* The inputs of one output position become column slot of the scratch. */
ISTH_K_INLINE void gather(const isth_k_conv_2d_layer *layer, const shape *of, const window *taps,
                          int8_t *scratch, int32_t slot) {
    isth_k_number *const column = isth_k_column(scratch, layer->filters.groups, slot);

#if defined(ISTH_K_DIRECT)
    gather_bytes(layer, of, taps, column);
#else
    if (of->depth % 4 == 0) {
        gather_fours(layer, of, taps, column);
    } else {
        int8_t *const bytes = scratch + (ptrdiff_t)16 * layer->filters.groups;

        gather_bytes(layer, of, taps, bytes);
        (void)isth_k_put(column, bytes, layer->filters.groups);
    }
#endif
}

/* The taps of the position out_x of a row whose first_row and end_row are known; row is where the
 * picture's row under the first tap inside begins. */
ISTH_K_INLINE void place(const isth_k_conv_2d_layer *layer, const int8_t *row, int32_t out_x,
                         window *taps) {
    const int32_t start = out_x * layer->stride_w - layer->pad_left;

    taps->first = 0;
    taps->end = layer->kernel_w;
    if (start < 0 || start + (layer->kernel_w - 1) * layer->dilation_w >= layer->in_w) {
        isth_k_clip(start, layer->in_w, layer->kernel_w, layer->dilation_w, &taps->first,
                    &taps->end);
    }
    taps->x = row;
    if (taps->end > taps->first) {
        taps->x += (ptrdiff_t)(start + taps->first * layer->dilation_w) * layer->in_c;
    }
}

/* One group of filters at the positions of some rows. */
static void group_rows(const isth_k_conv_2d_layer *layer, const isth_k_filters *filters,
                       const int8_t *x, int8_t *y, int8_t *scratch, int32_t first_row,
                       int32_t rows) {
    const shape of = column_shape(layer);
    const isth_k_number *const x0 = isth_k_column(scratch, filters->groups, 0);
    const isth_k_number *const x1 = isth_k_column(scratch, filters->groups, 1);
    int32_t slot = 0;
    int32_t out_y;
    window taps;

    for (out_y = first_row; out_y < first_row + rows; out_y++) {
        const int32_t top = out_y * layer->stride_h - layer->pad_top;
        const int8_t *row = x;
        int32_t out_x;

        isth_k_clip(top, layer->in_h, layer->kernel_h, layer->dilation_h, &taps.first_row,
                    &taps.end_row);
        if (taps.end_row > taps.first_row) {
            row +=
                (ptrdiff_t)(top + taps.first_row * layer->dilation_h) * layer->in_w * layer->in_c;
        }
        for (out_x = 0; out_x < layer->out_w; out_x++) {
            place(layer, row, out_x, &taps);
            gather(layer, &of, &taps, scratch, slot);
            slot ^= 1;
            if (slot == 0) {
                isth_k_matmul_2(filters, x0, x1, y, y + layer->out_c);
                y += 2 * (ptrdiff_t)layer->out_c;
            }
        }
    }
    if (slot == 1) {
        gather_bytes(layer, &of, &taps, scratch);
        isth_k_matmul_1(filters, scratch, y);
    }
}

void isth_k_conv_2d_rows(const isth_k_conv_2d_layer *layer, const int8_t *x, int8_t *y,
                         int8_t *scratch, int32_t first_row, int32_t rows) {
    const int32_t group_in = layer->in_c / layer->groups;
    isth_k_filters filters = layer->filters;
    const int32_t even = filters.count + filters.count % 2;
    int32_t group;

#if !defined(ISTH_K_DIRECT)
    if (filters.inputs % 4 != 0) {
        /* Behind the last input of a column; its weights are zero. */
        int8_t *const bytes = scratch + (ptrdiff_t)16 * filters.groups;

        (void)isth_k_copy_same(bytes + filters.inputs, 0, 4 - filters.inputs % 4);
    }
#endif
    for (group = 0; group < layer->groups; group++) {
        group_rows(layer, &filters, x + (ptrdiff_t)group * group_in,
                   y + (ptrdiff_t)group * filters.count, scratch, first_row, rows);
        filters.weights += (ptrdiff_t)4 * filters.groups * even;
        filters.filters += even;
    }
}

void isth_k_conv_2d(const isth_k_conv_2d_layer *layer, const int8_t *x, int8_t *y,
                    int8_t *scratch) {
    isth_k_conv_2d_rows(layer, x, y, scratch, 0, layer->out_h);
}
