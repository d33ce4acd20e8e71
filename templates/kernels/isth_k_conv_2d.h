/* Isthmus kernels: CONV_2D, int8, any kernel, stride, dilation, padding and grouping. */
#ifndef ISTH_K_CONV_2D_H
#define ISTH_K_CONV_2D_H

#include "isth_k_matmul.h"

typedef struct isth_k_conv_2d_layer {
    isth_k_filters filters; /* of the first group; the others lie behind it */
    int32_t input_zero;
    int32_t in_h;
    int32_t in_w;
    int32_t in_c;
    int32_t out_h;
    int32_t out_w;
    int32_t out_c;
    int32_t kernel_h;
    int32_t kernel_w;
    int32_t stride_h;
    int32_t stride_w;
    int32_t dilation_h;
    int32_t dilation_w;
    int32_t pad_top;
    int32_t pad_left;
    int32_t groups;
} isth_k_conv_2d_layer;

/* x: [in_h][in_w][in_c], y: [out_h][out_w][out_c]; with one group y may overlap the
 * part of x that no later position needs. scratch: see isth_k_gather.h. */
void isth_k_conv_2d(const isth_k_conv_2d_layer *layer, const int8_t *x, int8_t *y, int8_t *scratch);

/* The output rows [first_row, first_row + rows) alone; y is where the first of them goes. */
void isth_k_conv_2d_rows(const isth_k_conv_2d_layer *layer, const int8_t *x, int8_t *y,
                         int8_t *scratch, int32_t first_row, int32_t rows);

#endif
