/* Isthmus kernels: PAD and PADV2, int8, up to four axes. */
#ifndef ISTH_K_PAD_H
#define ISTH_K_PAD_H

#include "isth_k_common.h"

typedef struct isth_k_pad_layer {
    int32_t value;     /* what is put around the input */
    int32_t in[4];     /* shape of the input */
    int32_t out[4];    /* shape of the output */
    int32_t before[4]; /* elements put before the input on each axis */
} isth_k_pad_layer;

/* An axis without padding is part of the one before it, so that runs are long. y may overlap the
 * part of x that is already read. */
void isth_k_pad(const isth_k_pad_layer *layer, const int8_t *x, int8_t *y);

#endif
