#include "isth_k_conv_2d.h"

#include "isth_k_gather.h"

/* What of a column lies in the picture; the rest is padding. */
typedef struct window {
    const int8_t *x; /* under the first tap inside */
    int32_t first_row;
    int32_t end_row;
    int32_t first;
    int32_t end;
} window;

static window place(const isth_k_conv_2d_layer *layer, const int8_t *x, int32_t out_y,
                    int32_t out_x) {
    const int32_t top = out_y * layer->stride_h - layer->pad_top;
    const int32_t start = out_x * layer->stride_w - layer->pad_left;
    window taps;

    isth_k_clip(top, layer->in_h, layer->kernel_h, layer->dilation_h, &taps.first_row,
                &taps.end_row);
    isth_k_clip(start, layer->in_w, layer->kernel_w, layer->dilation_w, &taps.first, &taps.end);
    taps.x = x;
    if (taps.end_row > taps.first_row && taps.end > taps.first) {
        const int32_t in_y = top + taps.first_row * layer->dilation_h;
        const int32_t in_x = start + taps.first * layer->dilation_w;

        taps.x += ((ptrdiff_t)in_y * layer->in_w + in_x) * layer->in_c;
    } else {
        taps.end_row = taps.first_row;
    }
    return taps;
}

/* The column as bytes, one input after the other. */
static void gather_bytes(const isth_k_conv_2d_layer *layer, const window *taps, int8_t *to) {
    const int32_t depth = layer->in_c / layer->groups;
    const int32_t row_bytes = layer->kernel_w * depth;
    const int merged = layer->dilation_w == 1 && layer->groups == 1;
    const int32_t runs = merged ? 1 : taps->end - taps->first;
    const int32_t length = merged ? (taps->end - taps->first) * depth : depth;
    const int32_t zero = layer->input_zero;
    const ptrdiff_t step = (ptrdiff_t)layer->dilation_w * layer->in_c;
    int32_t row;

    to = isth_k_copy_same(to, zero, taps->first_row * row_bytes);
    for (row = taps->first_row; row < taps->end_row; row++) {
        const int8_t *const from = taps->x + (ptrdiff_t)(row - taps->first_row) *
                                                 layer->dilation_h * layer->in_w * layer->in_c;
        int32_t run;

        to = isth_k_copy_same(to, zero, taps->first * depth);
        for (run = 0; run < runs; run++) {
            to = isth_k_copy(to, from + run * step, length);
        }
        to = isth_k_copy_same(to, zero, (layer->kernel_w - taps->end) * depth);
    }
    (void)isth_k_copy_same(to, zero, (layer->kernel_h - taps->end_row) * row_bytes);
}

#if !defined(ISTH_K_DIRECT)
/* The column in fours, where every run of inputs is a multiple of four bytes. */
static void gather_fours(const isth_k_conv_2d_layer *layer, const window *taps, isth_k_number *to) {
    const int32_t depth = layer->in_c / layer->groups / 4;
    const int32_t row_groups = layer->kernel_w * depth;
    const int merged = layer->dilation_w == 1 && layer->groups == 1;
    const int32_t runs = merged ? 1 : taps->end - taps->first;
    const int32_t length = merged ? (taps->end - taps->first) * depth : depth;
    const int32_t zero = layer->input_zero;
    const ptrdiff_t step = (ptrdiff_t)layer->dilation_w * layer->in_c;
    int32_t row;

    to = isth_k_put_same(to, zero, taps->first_row * row_groups);
    for (row = taps->first_row; row < taps->end_row; row++) {
        const int8_t *const from = taps->x + (ptrdiff_t)(row - taps->first_row) *
                                                 layer->dilation_h * layer->in_w * layer->in_c;
        int32_t run;

        to = isth_k_put_same(to, zero, taps->first * depth);
        for (run = 0; run < runs; run++) {
            to = isth_k_put(to, from + run * step, length);
        }
        to = isth_k_put_same(to, zero, (layer->kernel_w - taps->end) * depth);
    }
    (void)isth_k_put_same(to, zero, (layer->kernel_h - taps->end_row) * row_groups);
}
#endif

/* The inputs of one output position become column slot of the scratch. */
static void gather(const isth_k_conv_2d_layer *layer, const window *taps, int8_t *scratch,
                   int32_t slot) {
    isth_k_number *const column = isth_k_column(scratch, layer->filters.groups, slot);

#if defined(ISTH_K_DIRECT)
    gather_bytes(layer, taps, column);
#else
    if (layer->in_c / layer->groups % 4 == 0) {
        gather_fours(layer, taps, column);
    } else {
        int8_t *const bytes = scratch + (ptrdiff_t)16 * layer->filters.groups;

        gather_bytes(layer, taps, bytes);
        (void)isth_k_put(column, bytes, layer->filters.groups);
    }
#endif
}

/* One position or, with more, this one and the next. */
static void positions(const isth_k_conv_2d_layer *layer, const int8_t *x, int8_t *y,
                      int8_t *scratch, int32_t position, int more) {
    const int32_t group_in = layer->in_c / layer->groups;
    const int32_t out_w = layer->out_w;
    isth_k_filters filters = layer->filters;
    window taps[2];
    int32_t group;

    taps[0] = place(layer, x, position / out_w, position % out_w);
    if (more) {
        taps[1] = place(layer, x, (position + 1) / out_w, (position + 1) % out_w);
    }
    for (group = 0; group < layer->groups; group++) {
        const isth_k_number *const columns = isth_k_column(scratch, filters.groups, 0);

        if (more) {
            gather(layer, &taps[0], scratch, 0);
            gather(layer, &taps[1], scratch, 1);
            isth_k_matmul_2(&filters, columns, isth_k_column(scratch, filters.groups, 1), y,
                            y + layer->out_c);
            taps[1].x += group_in;
        } else {
            gather_bytes(layer, &taps[0], scratch);
            isth_k_matmul_1(&filters, scratch, y);
        }
        taps[0].x += group_in;
        y += filters.count;
        filters.weights += (ptrdiff_t)4 * filters.groups * (filters.count + filters.count % 2);
        filters.filters += filters.count + filters.count % 2;
    }
}

void isth_k_conv_2d_rows(const isth_k_conv_2d_layer *layer, const int8_t *x, int8_t *y,
                         int8_t *scratch, int32_t first_row, int32_t rows) {
    const int32_t end = (first_row + rows) * layer->out_w;
    int32_t position;

#if !defined(ISTH_K_DIRECT)
    if (layer->filters.inputs % 4 != 0) {
        /* Behind the last input of a column; its weights are zero. */
        int8_t *const bytes = scratch + (ptrdiff_t)16 * layer->filters.groups;

        (void)isth_k_copy_same(bytes + layer->filters.inputs, 0, 4 - layer->filters.inputs % 4);
    }
#endif
    for (position = first_row * layer->out_w; position < end; position += 2) {
        const int more = position + 1 < end;

        positions(layer, x, y, scratch, position, more);
        y += (1 + (ptrdiff_t)more) * layer->out_c;
    }
}

void isth_k_conv_2d(const isth_k_conv_2d_layer *layer, const int8_t *x, int8_t *y,
                    int8_t *scratch) {
    isth_k_conv_2d_rows(layer, x, y, scratch, 0, layer->out_h);
}
