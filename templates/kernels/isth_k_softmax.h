/* Isthmus kernels: SOFTMAX over the last axis, int8, output scale 1/256 and zero point -128. */
#ifndef ISTH_K_SOFTMAX_H
#define ISTH_K_SOFTMAX_H

#include "isth_k_common.h"

typedef struct isth_k_softmax_layer {
    const int32_t *exponentials; /* [256], exp of minus the index times the scale, Q0.31 */
    int32_t rows;
    int32_t depth;
} isth_k_softmax_layer;

/* x and y: [rows][depth]; y may be x. */
void isth_k_softmax(const isth_k_softmax_layer *layer, const int8_t *x, int8_t *y);

#endif
