/* Isthmus kernels: any operator that maps each int8 value by itself, as a table. */
#ifndef ISTH_K_LUT_H
#define ISTH_K_LUT_H

#include "isth_k_common.h"

typedef struct isth_k_lut_layer {
    const int8_t *table; /* [256], indexed by the value's byte: 0 to 127, then -128 to -1 */
    int32_t length;
} isth_k_lut_layer;

/* x and y: [length]; y may be x. */
void isth_k_lut(const isth_k_lut_layer *layer, const int8_t *x, int8_t *y);

#endif
