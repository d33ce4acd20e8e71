/* Isthmus kernels: ADD and SUB, int8, of operands whose shapes differ. */
#ifndef ISTH_K_SUM_H
#define ISTH_K_SUM_H

#include "isth_k_broadcast.h"

/* One operand: its zero point, a multiplier below one, and 1 or, for what SUB takes off, -1. */
typedef struct isth_k_sum_scale {
    int32_t zero;
    int32_t multiplier;
    uint32_t right;
    int32_t sign;
} isth_k_sum_scale;

typedef struct isth_k_sum_layer {
    isth_k_output output;
    isth_k_broadcast shape;
    isth_k_steps a_steps;
    isth_k_steps b_steps;
    isth_k_sum_scale a;
    isth_k_sum_scale b;
    int32_t multiplier; /* of the sum */
    uint32_t right;
} isth_k_sum_layer;

/* y may be an operand that has its shape. */
void isth_k_sum(const isth_k_sum_layer *layer, const int8_t *a, const int8_t *b, int8_t *y);

#endif
