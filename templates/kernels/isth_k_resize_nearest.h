/* Isthmus kernels: RESIZE_NEAREST_NEIGHBOR, int8. */
#ifndef ISTH_K_RESIZE_NEAREST_H
#define ISTH_K_RESIZE_NEAREST_H

#include "isth_k_common.h"

typedef struct isth_k_resize_nearest_layer {
    const uint16_t *rows;    /* [out_h]: the row of the input */
    const uint16_t *columns; /* [out_w]: the column of the input */
    int32_t in_w;
    int32_t out_h;
    int32_t out_w;
    int32_t channels;
} isth_k_resize_nearest_layer;

/* x: [in_h][in_w][channels], y: [out_h][out_w][channels]; they do not overlap. */
void isth_k_resize_nearest(const isth_k_resize_nearest_layer *layer, const int8_t *x, int8_t *y);

#endif
