/* Isthmus kernels: RESIZE_BILINEAR, int8. */
#ifndef ISTH_K_RESIZE_BILINEAR_H
#define ISTH_K_RESIZE_BILINEAR_H

#include "isth_k_common.h"

/* rows and columns hold three numbers for each row or column of the output: the two of the input
 * that it lies between, and the weight of the second in 1/1024; the first has the rest. */
typedef struct isth_k_resize_bilinear_layer {
    const int16_t *rows;    /* [out_h][3] */
    const int16_t *columns; /* [out_w][3] */
    int32_t in_w;
    int32_t out_h;
    int32_t out_w;
    int32_t channels;
} isth_k_resize_bilinear_layer;

/* x: [in_h][in_w][channels], y: [out_h][out_w][channels]; they do not overlap. */
void isth_k_resize_bilinear(const isth_k_resize_bilinear_layer *layer, const int8_t *x, int8_t *y);

#endif
