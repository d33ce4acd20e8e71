#include "isth_k_pad.h"

static int inside(const isth_k_pad_layer *layer, int axis, int32_t index) {
    return index >= layer->before[axis] && index < layer->before[axis] + layer->in[axis];
}

void isth_k_pad(const isth_k_pad_layer *layer, const int8_t *x, int8_t *y) {
    int32_t i;
    int32_t j;
    int32_t k;
    int32_t l;

    /* The input is read in order, so one pointer walks through it. */
    for (i = 0; i < layer->out[0]; i++) {
        const int in_i = inside(layer, 0, i);

        for (j = 0; j < layer->out[1]; j++) {
            const int in_j = in_i && inside(layer, 1, j);

            for (k = 0; k < layer->out[2]; k++) {
                const int in_k = in_j && inside(layer, 2, k);

                for (l = 0; l < layer->out[3]; l++) {
                    *y++ = in_k && inside(layer, 3, l) ? *x++ : (int8_t)layer->value;
                }
            }
        }
    }
}
