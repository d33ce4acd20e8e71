/* Isthmus kernels: ADD and SUB, int8, of operands of any shapes. */
#ifndef ISTH_K_SUM_H
#define ISTH_K_SUM_H

#include "isth_k_broadcast.h"

/* One operand: its zero point and its scale over twice the larger one, at most one half. */
typedef struct isth_k_sum_scale {
    int32_t zero;
    int32_t multiplier;
    uint32_t right;
    int32_t half;       /* of 1 << right; 0 where right is 0 */
    int32_t below_zero; /* -1; 0 where right is 0 */
    int32_t sign;       /* 1, or -1 for what SUB takes off */
} isth_k_sum_scale;

typedef struct isth_k_sum_layer {
    isth_k_filter scale; /* of the sum; folded is unused */
    int32_t mode;        /* ISTH_K_FAST or ISTH_K_GENERAL */
    isth_k_output output;
    isth_k_broadcast shape;
    isth_k_steps a_steps;
    isth_k_steps b_steps;
    isth_k_sum_scale a; /* where b is not single: one half, exactly */
    isth_k_sum_scale b;
} isth_k_sum_layer;

/* y may be an operand that has its shape. */
void isth_k_sum(const isth_k_sum_layer *layer, const int8_t *a, const int8_t *b, int8_t *y);

#endif
