/* Isthmus kernels: elements copied between two strided views, int8. */
#ifndef ISTH_K_COPY_H
#define ISTH_K_COPY_H

#include "isth_k_common.h"

typedef struct isth_k_copy_layer {
    int32_t from;      /* the first element that is read */
    int32_t to;        /* the first element that is written */
    int32_t size[4];   /* elements on each axis, outermost first */
    int32_t x_step[4]; /* elements from one index to the next; negative and 0 are allowed in x */
    int32_t y_step[4];
} isth_k_copy_layer;

/* Slices, splits, concatenations, transpositions and repetitions are of this form. Where elements
 * are read and written in the order of memory y may begin where x does; else they do not overlap.
 */
void isth_k_copy(const isth_k_copy_layer *layer, const int8_t *x, int8_t *y);

#endif
