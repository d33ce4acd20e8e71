/* Isthmus kernels: REDUCE_MAX, int8, over one or two groups of neighbouring axes. */
#ifndef ISTH_K_REDUCE_MAX_H
#define ISTH_K_REDUCE_MAX_H

#include "isth_k_common.h"

typedef struct isth_k_reduce_max_layer {
    int32_t outer;
    int32_t reduced;
    int32_t inner;
    int32_t tail;
} isth_k_reduce_max_layer;

/* x: [outer][reduced][inner][tail], y: [outer][inner]; they do not overlap. */
void isth_k_reduce_max(const isth_k_reduce_max_layer *layer, const int8_t *x, int8_t *y);

#endif
