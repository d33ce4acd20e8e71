/* Isthmus kernels: DEPTHWISE_CONV_2D, int8, any multiplier. */
#ifndef ISTH_K_DEPTHWISE_H
#define ISTH_K_DEPTHWISE_H

#include "isth_k_common.h"

typedef struct isth_k_depthwise_layer {
    const int8_t *weights;          /* [kernel_h][kernel_w][out_c] */
    const isth_k_channel *channels; /* [out_c] */
    isth_k_output output;
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
} isth_k_depthwise_layer;

/* x: [in_h][in_w][in_c], y: [out_h][out_w][out_c]; they do not overlap. */
void isth_k_depthwise(const isth_k_depthwise_layer *layer, const int8_t *x, int8_t *y);

#endif
