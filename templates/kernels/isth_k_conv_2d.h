/* Isthmus kernels: CONV_2D, int8, any kernel, stride, dilation, padding and grouping. */
#ifndef ISTH_K_CONV_2D_H
#define ISTH_K_CONV_2D_H

#include "isth_k_common.h"

typedef struct isth_k_conv_2d_layer {
    const int8_t *weights;          /* [out_c][kernel_h][kernel_w][in_c / groups] */
    const isth_k_channel *channels; /* [out_c] */
    isth_k_output output;
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

/* x: [in_h][in_w][in_c], y: [out_h][out_w][out_c]; they do not overlap. */
void isth_k_conv_2d(const isth_k_conv_2d_layer *layer, const int8_t *x, int8_t *y);

#endif
