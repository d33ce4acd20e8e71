/* Isthmus kernels: CONV_2D with a 1x1 kernel and no padding, int8, any stride. */
#ifndef ISTH_K_CONV_1X1_H
#define ISTH_K_CONV_1X1_H

#include "isth_k_common.h"

typedef struct isth_k_conv_1x1_layer {
    const int8_t *weights;          /* [out_c][in_c] */
    const isth_k_channel *channels; /* [out_c] */
    isth_k_output output;
    int32_t rows;     /* output rows; stride 1 makes the whole picture one row */
    int32_t columns;  /* positions in a row */
    int32_t x_row;    /* bytes from one row's first position to the next row's */
    int32_t x_column; /* bytes from one position to the next */
    int32_t in_c;
    int32_t out_c;
} isth_k_conv_1x1_layer;

/* x and y do not overlap. */
void isth_k_conv_1x1(const isth_k_conv_1x1_layer *layer, const int8_t *x, int8_t *y);

#endif
