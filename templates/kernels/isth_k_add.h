/* Isthmus kernels: ADD, int8, both operands requantised. */
#ifndef ISTH_K_ADD_H
#define ISTH_K_ADD_H

#include "isth_k_common.h"

/* One operand: its zero point and a multiplier below one. */
typedef struct isth_k_add_scale {
    int32_t zero;
    int32_t multiplier;
    uint32_t right;
} isth_k_add_scale;

typedef struct isth_k_add_layer {
    isth_k_output output;
    isth_k_add_scale a;
    isth_k_add_scale b;
    int32_t multiplier; /* of the sum */
    uint32_t right;
    int32_t repeats; /* how often b is used from its start; 1 where the shapes are equal */
    int32_t length;  /* elements of b */
} isth_k_add_layer;

/* a and y: [repeats][length], b: [length]. y may be a itself, or b where repeats is 1. */
void isth_k_add(const isth_k_add_layer *layer, const int8_t *a, const int8_t *b, int8_t *y);

#endif
