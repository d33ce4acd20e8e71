/* Isthmus kernels: TRANSPOSE_CONV, int8, per-channel weights. */
#ifndef ISTH_K_TRANSPOSE_CONV_H
#define ISTH_K_TRANSPOSE_CONV_H

#include "isth_k_matmul.h"

/* Outputs stride_h rows and stride_w columns apart are reached by the same taps: they are a phase,
 * and each phase is a convolution of stride 1 with filters of its own. */
typedef struct isth_k_transpose_conv_layer {
    isth_k_filters
        filters; /* of the first phase; the others lie behind it. inputs, groups: unused */
    int32_t input_zero;
    int32_t in_c;
    int32_t out_c;
    int32_t in_h;
    int32_t in_w;
    int32_t out_h;
    int32_t out_w;
    int32_t kernel_h;
    int32_t kernel_w;
    int32_t stride_h;
    int32_t stride_w;
    int32_t pad_top; /* rows cut off the top of the whole result */
    int32_t pad_left;
} isth_k_transpose_conv_layer;

/* x: [in_h][in_w][in_c], y: [out_h][out_w][out_c]; they do not overlap. Each output gathers the
 * inputs that reach it, so that no accumulators of the whole output are needed. scratch: see
 * isth_k_gather.h, for the phase with the most inputs, always with room for their bytes. */
void isth_k_transpose_conv(const isth_k_transpose_conv_layer *layer, const int8_t *x, int8_t *y,
                           int8_t *scratch);

#endif
