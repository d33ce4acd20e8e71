#include "isth_k_conv_1x1.h"

#include "isth_k_gather.h"

/* The inputs of one position as column slot; where columns are read in place, nothing is moved. */
static const isth_k_number *gather(const isth_k_filters *filters, const int8_t *x, int8_t *scratch,
                                   int32_t slot) {
#if defined(ISTH_K_DIRECT)
    (void)filters;
    (void)scratch;
    (void)slot;
    return x;
#else
    isth_k_number *const column = isth_k_column(scratch, filters->groups, slot);

    if (filters->inputs % 4 == 0) {
        (void)isth_k_put(column, x, filters->groups);
    } else {
        int8_t *const bytes = scratch + (ptrdiff_t)16 * filters->groups;
        int8_t *const end = isth_k_append(bytes, x, filters->inputs);

        (void)isth_k_copy_same(end, 0, 4 - filters->inputs % 4);
        (void)isth_k_put(column, bytes, filters->groups);
    }
    return column;
#endif
}

void isth_k_conv_1x1_rows(const isth_k_conv_1x1_layer *layer, const int8_t *x, int8_t *y,
                          int8_t *scratch, int32_t first_row, int32_t rows) {
    const isth_k_filters *const filters = &layer->filters;
    const int32_t columns = layer->columns;
    const int32_t positions = rows * columns;
    const int8_t *row = x + (ptrdiff_t)first_row * layer->x_row;
    int32_t column = 0;
    int32_t position;

    for (position = 0; position < positions; position += 2) {
        const int8_t *const first = row + (ptrdiff_t)column * layer->x_column;
        const int8_t *second;

        if (position + 1 == positions) {
            isth_k_matmul_1(filters, first, y);
            break;
        }
        if (++column == columns) {
            column = 0;
            row += layer->x_row;
        }
        second = row + (ptrdiff_t)column * layer->x_column;
        if (++column == columns && position + 2 < positions) {
            column = 0;
            row += layer->x_row;
        }
        isth_k_matmul_2(filters, gather(filters, first, scratch, 0),
                        gather(filters, second, scratch, 1), y, y + filters->count);
        y += 2 * (ptrdiff_t)filters->count;
    }
}

void isth_k_conv_1x1(const isth_k_conv_1x1_layer *layer, const int8_t *x, int8_t *y,
                     int8_t *scratch) {
    isth_k_conv_1x1_rows(layer, x, y, scratch, 0, layer->rows);
}
