/* Isthmus kernels: MUL, int8. */
#ifndef ISTH_K_MUL_H
#define ISTH_K_MUL_H

#include "isth_k_broadcast.h"

typedef struct isth_k_mul_layer {
    isth_k_filter scale; /* of the product; folded is unused */
    int32_t mode;        /* ISTH_K_FAST or ISTH_K_GENERAL */
    isth_k_output output;
    isth_k_broadcast shape;
    isth_k_steps a_steps;
    isth_k_steps b_steps;
    int32_t a_zero;
    int32_t b_zero;
} isth_k_mul_layer;

/* y may be an operand that has its shape. */
void isth_k_mul(const isth_k_mul_layer *layer, const int8_t *a, const int8_t *b, int8_t *y);

#endif
