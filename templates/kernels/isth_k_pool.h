/* Isthmus kernels: AVERAGE_POOL_2D and MAX_POOL_2D, int8, equal scales on both sides. */
#ifndef ISTH_K_POOL_H
#define ISTH_K_POOL_H

#include "isth_k_common.h"

typedef struct isth_k_pool_layer {
    int32_t minimum; /* fused activation */
    int32_t maximum;
    int32_t in_h;
    int32_t in_w;
    int32_t channels;
    int32_t out_h;
    int32_t out_w;
    int32_t kernel_h;
    int32_t kernel_w;
    int32_t stride_h;
    int32_t stride_w;
    int32_t pad_top;
    int32_t pad_left;
} isth_k_pool_layer;

/* x: [in_h][in_w][channels], y: [out_h][out_w][channels]; y may overlap the part of x that no
 * later position needs. Padding counts neither for the mean nor for the maximum. */
void isth_k_average_pool(const isth_k_pool_layer *layer, const int8_t *x, int8_t *y);
void isth_k_max_pool(const isth_k_pool_layer *layer, const int8_t *x, int8_t *y);

/* The output rows [first_row, first_row + rows) alone; y is where the first of them goes. */
void isth_k_average_pool_rows(const isth_k_pool_layer *layer, const int8_t *x, int8_t *y,
                              int32_t first_row, int32_t rows);
void isth_k_max_pool_rows(const isth_k_pool_layer *layer, const int8_t *x, int8_t *y,
                          int32_t first_row, int32_t rows);

#endif
