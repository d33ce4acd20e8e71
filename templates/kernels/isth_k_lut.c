#include "isth_k_lut.h"

void isth_k_lut(const isth_k_lut_layer *layer, const int8_t *x, int8_t *y) {
    int32_t i;

    for (i = 0; i < layer->length; i++) {
        y[i] = layer->table[x[i] + 128];
    }
}
