/* Isthmus kernels: PRELU, int8, a slope of its own for each channel or element. */
#ifndef ISTH_K_PRELU_H
#define ISTH_K_PRELU_H

#include "isth_k_broadcast.h"

typedef struct isth_k_prelu_layer {
    isth_k_output output;
    isth_k_broadcast shape;
    isth_k_steps x_steps;
    isth_k_steps slope_steps;
    int32_t x_zero;
    int32_t slope_zero;
    int32_t multiplier; /* of values from the zero point on */
    int32_t shift;
    int32_t slope_multiplier; /* of a value below it, times its slope */
    int32_t slope_shift;
} isth_k_prelu_layer;

/* y may be x. */
void isth_k_prelu(const isth_k_prelu_layer *layer, const int8_t *x, const int8_t *slope, int8_t *y);

#endif
