/* Isthmus kernels: MAXIMUM and MINIMUM, int8, of operands of any shapes. */
#ifndef ISTH_K_EXTREMUM_H
#define ISTH_K_EXTREMUM_H

#include "isth_k_broadcast.h"

typedef struct isth_k_extremum_layer {
    isth_k_broadcast shape;
    isth_k_steps a_steps;
    isth_k_steps b_steps;
    int32_t flip; /* 0 for MAXIMUM; -1 for MINIMUM: complements have the opposite order */
} isth_k_extremum_layer;

/* y may be an operand that has its shape. */
void isth_k_extremum(const isth_k_extremum_layer *layer, const int8_t *a, const int8_t *b,
                     int8_t *y);

#endif
