/* Isthmus kernels: DEPTHWISE_CONV_2D, int8, any multiplier. */
#ifndef ISTH_K_DEPTHWISE_H
#define ISTH_K_DEPTHWISE_H

#include "isth_k_common.h"

typedef struct isth_k_depthwise_layer {
    /* [out_c][kernel_h][kernel_w]; where kernel_w is 3, each row a, b, c is written a, b, b, c */
    const int8_t *weights;
    const isth_k_filter *filters; /* [out_c] */
    isth_k_output output;
    int32_t mode; /* ISTH_K_RELU ... */
    int32_t input_zero;
    int32_t in_h;
    int32_t in_w;
    int32_t in_c;
    int32_t out_h;
    int32_t out_w;
    int32_t out_c; /* in_c * multiplier */
    int32_t multiplier;
    int32_t kernel_h;
    int32_t kernel_w;
    int32_t stride_h;
    int32_t stride_w;
    int32_t dilation_h;
    int32_t dilation_w;
    int32_t pad_top;
    int32_t pad_left;
    int32_t x_row; /* bytes from one row of x to the next, from one column to the next */
    int32_t x_column;
    int32_t y_row;
    int32_t y_column;
    int32_t turned;  /* 1: height and width are those of the picture the other way round */
    int32_t plane_w; /* columns of the plane: those the kernel touches or more, an even number */
    int32_t sums;    /* int32 behind the plane in scratch: 3x3, and plane_w is 16, 32 or 64 */
} isth_k_depthwise_layer;

/* x: [in_h][in_w][in_c], y: [out_h][out_w][out_c]. With a multiplier of 1 and no more output than
 * input y may be x itself; else they do not overlap. scratch, on a 4-byte boundary: one
 * channel with its padding, two bytes an element, plane_w columns; and the sums. */
void isth_k_depthwise(const isth_k_depthwise_layer *layer, const int8_t *x, int8_t *y,
                      int8_t *scratch);

/* The picture's output rows [first_row, first_row + rows) alone; y is where the first of them goes.
 */
void isth_k_depthwise_rows(const isth_k_depthwise_layer *layer, const int8_t *x, int8_t *y,
                           int8_t *scratch, int32_t first_row, int32_t rows);

#endif
