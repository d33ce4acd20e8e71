/* Isthmus kernels: CONV_2D with a 1x1 kernel and no padding, int8, any stride; FULLY_CONNECTED. */
#ifndef ISTH_K_CONV_1X1_H
#define ISTH_K_CONV_1X1_H

#include "isth_k_matmul.h"

typedef struct isth_k_conv_1x1_layer {
    isth_k_filters filters;
    int32_t rows;     /* output rows */
    int32_t columns;  /* positions in a row */
    int32_t x_row;    /* bytes from one row's first position to the next row's */
    int32_t x_column; /* bytes from one position to the next */
} isth_k_conv_1x1_layer;

/* y may overlap the part of x that no later position needs. scratch: see isth_k_gather.h. */
void isth_k_conv_1x1(const isth_k_conv_1x1_layer *layer, const int8_t *x, int8_t *y,
                     int8_t *scratch);

/* The output rows [first_row, first_row + rows) alone; y is where the first of them goes. */
void isth_k_conv_1x1_rows(const isth_k_conv_1x1_layer *layer, const int8_t *x, int8_t *y,
                          int8_t *scratch, int32_t first_row, int32_t rows);

#endif
