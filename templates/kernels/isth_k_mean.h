/* Isthmus kernels: MEAN, int8, over one or two groups of neighbouring axes. */
#ifndef ISTH_K_MEAN_H
#define ISTH_K_MEAN_H

#include "isth_k_common.h"

typedef struct isth_k_mean_layer {
    isth_k_output output;
    int32_t outer;
    int32_t reduced;
    int32_t inner;
    int32_t tail;
    int32_t zero_sum;   /* input zero point times reduced times tail */
    int32_t multiplier; /* scale ratio over reduced times tail */
    int32_t shift;
} isth_k_mean_layer;

/* x: [outer][reduced][inner][tail], y: [outer][inner]; they do not overlap. */
void isth_k_mean(const isth_k_mean_layer *layer, const int8_t *x, int8_t *y);

#endif
