/* Isthmus kernels: FULLY_CONNECTED, int8. */
#ifndef ISTH_K_DENSE_H
#define ISTH_K_DENSE_H

#include "isth_k_matmul.h"

typedef struct isth_k_dense_layer {
    isth_k_filters filters;
    int32_t rows; /* input vectors */
} isth_k_dense_layer;

/* x: [rows][inputs], y: [rows][filters]; they do not overlap. */
void isth_k_dense(const isth_k_dense_layer *layer, const int8_t *x, int8_t *y);

#endif
