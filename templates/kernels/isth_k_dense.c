#include "isth_k_dense.h"

void isth_k_dense(const isth_k_dense_layer *layer, const int8_t *x, int8_t *y) {
    int32_t row;

    for (row = 0; row < layer->rows; row++) {
        isth_k_matmul_1(&layer->filters, x, y);
        x += layer->filters.inputs;
        y += layer->filters.count;
    }
}
