#include "isth_k_transpose_conv.h"

#include "isth_k_gather.h"

/* The outputs of one phase on one axis, and the window of inputs that reach the first of them. */
typedef struct phase {
    int32_t first; /* output */
    int32_t start; /* input under the window's first tap; may lie outside */
    int32_t taps;  /* at least one; where the kernel has none its weights are zeros */
} phase;

static phase phase_of(int32_t number, int32_t pad, int32_t stride, int32_t kernel) {
    phase found;

    found.first = (number + stride - pad % stride) % stride;
    found.taps = number < kernel ? (kernel - 1 - number) / stride + 1 : 1;
    found.start = (found.first + pad) / stride - (found.taps - 1);
    return found;
}

/* The inputs from (top, left) on as bytes, one after the other. */
static void gather_bytes(const isth_k_transpose_conv_layer *layer, const int8_t *x, int32_t top,
                         int32_t rows, int32_t left, int32_t columns, int8_t *to) {
    const int32_t before = left < 0 ? -left : 0;
    const int32_t behind = left + columns > layer->in_w ? left + columns - layer->in_w : 0;
    const int32_t inside = columns - before - behind;
    int32_t row;

    for (row = top; row < top + rows; row++) {
        if (inside <= 0 || row < 0 || row >= layer->in_h) {
            to = isth_k_copy_same(to, layer->input_zero, columns * layer->in_c);
        } else {
            const ptrdiff_t from = (ptrdiff_t)row * layer->in_w + left + before;

            to = isth_k_copy_same(to, layer->input_zero, before * layer->in_c);
            to = isth_k_append(to, x + from * layer->in_c, inside * layer->in_c);
            to = isth_k_copy_same(to, layer->input_zero, behind * layer->in_c);
        }
    }
}

/* Where the bytes of the column in slot are gathered. */
ISTH_K_INLINE int8_t *bytes_of(const isth_k_filters *filters, int8_t *scratch, int32_t slot) {
#if defined(ISTH_K_DIRECT)
    return isth_k_column(scratch, filters->groups, slot);
#else
    (void)slot;
    return scratch + (ptrdiff_t)16 * filters->groups;
#endif
}

static void one_phase(const isth_k_transpose_conv_layer *layer, const isth_k_filters *filters,
                      const phase *vertical, const phase *across, const int8_t *x, int8_t *y,
                      int8_t *scratch) {
    const isth_k_number *const x0 = isth_k_column(scratch, filters->groups, 0);
    const isth_k_number *const x1 = isth_k_column(scratch, filters->groups, 1);
    int8_t *waiting = NULL; /* the output of the column in slot 0 */
    int32_t top = vertical->start;
    int32_t row;

    for (row = vertical->first; row < layer->out_h; row += layer->stride_h) {
        int8_t *const line = y + (ptrdiff_t)row * layer->out_w * layer->out_c;
        int32_t left = across->start;
        int32_t column;

        for (column = across->first; column < layer->out_w; column += layer->stride_w) {
            int8_t *const to = line + (ptrdiff_t)column * layer->out_c;
            const int32_t slot = waiting != NULL;
            int8_t *const bytes = bytes_of(filters, scratch, slot);

            gather_bytes(layer, x, top, vertical->taps, left, across->taps, bytes);
#if !defined(ISTH_K_DIRECT)
            (void)isth_k_put(isth_k_column(scratch, filters->groups, slot), bytes, filters->groups);
#endif
            if (waiting != NULL) {
                isth_k_matmul_2(filters, x0, x1, waiting, to);
            }
            waiting = waiting != NULL ? NULL : to;
            left++;
        }
        top++;
    }
    if (waiting != NULL) {
        isth_k_matmul_1(filters, bytes_of(filters, scratch, 0), waiting);
    }
}

void isth_k_transpose_conv(const isth_k_transpose_conv_layer *layer, const int8_t *x, int8_t *y,
                           int8_t *scratch) {
    isth_k_filters filters = layer->filters;
    const int32_t even = filters.count + filters.count % 2;
    int32_t i;

    for (i = 0; i < layer->stride_h; i++) {
        const phase vertical = phase_of(i, layer->pad_top, layer->stride_h, layer->kernel_h);
        int32_t j;

        for (j = 0; j < layer->stride_w; j++) {
            const phase across = phase_of(j, layer->pad_left, layer->stride_w, layer->kernel_w);

            filters.inputs = vertical.taps * across.taps * layer->in_c;
            filters.groups = (filters.inputs + 3) / 4;
#if !defined(ISTH_K_DIRECT)
            /* Behind the last input of a column; its weights are zero. */
            (void)isth_k_copy_same(bytes_of(&filters, scratch, 0) + filters.inputs, 0,
                                   4 * filters.groups - filters.inputs);
#endif
            one_phase(layer, &filters, &vertical, &across, x, y, scratch);
            filters.weights += (ptrdiff_t)4 * filters.groups * even;
            filters.filters += even;
        }
    }
}
