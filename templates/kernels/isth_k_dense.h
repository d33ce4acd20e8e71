/* Isthmus kernels: FULLY_CONNECTED, int8. */
#ifndef ISTH_K_DENSE_H
#define ISTH_K_DENSE_H

#include "isth_k_common.h"

typedef struct isth_k_dense_layer {
    const int8_t *weights;          /* [out_c][in_c] */
    const isth_k_channel *channels; /* [out_c] */
    isth_k_output output;
    int32_t rows; /* input vectors */
    int32_t in_c;
    int32_t out_c;
    int32_t single_rounding; /* 1: one rounding in the requantisation, as LiteRT does here */
} isth_k_dense_layer;

/* x: [rows][in_c], y: [rows][out_c]; they do not overlap. */
void isth_k_dense(const isth_k_dense_layer *layer, const int8_t *x, int8_t *y);

#endif
