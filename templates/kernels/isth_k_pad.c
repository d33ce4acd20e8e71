#include "isth_k_pad.h"

#include "isth_k_run.h"

static int inside(const isth_k_pad_layer *layer, int axis, int32_t index) {
    return index >= layer->before[axis] && index < layer->before[axis] + layer->in[axis];
}

static int8_t *fill(int8_t *y, int32_t size, int8_t value) {
    int32_t i;

    for (i = 0; i < size; i++) {
        y[i] = value;
    }
    return y + size;
}

void isth_k_pad(const isth_k_pad_layer *layer, const int8_t *x, int8_t *y) {
    const int8_t value = (int8_t)layer->value;
    const int32_t run = layer->in[3];
    const int32_t after = layer->out[3] - layer->before[3] - run;
    int32_t i;
    int32_t j;
    int32_t k;

    /* The input is read in order, so one pointer walks through it. */
    for (i = 0; i < layer->out[0]; i++) {
        const int in_i = inside(layer, 0, i);

        for (j = 0; j < layer->out[1]; j++) {
            const int in_j = in_i && inside(layer, 1, j);

            for (k = 0; k < layer->out[2]; k++) {
                if (in_j && inside(layer, 2, k)) {
                    y = fill(y, layer->before[3], value);
                    isth_k_run(x, y, run);
                    x += run;
                    y = fill(y + run, after, value);
                } else {
                    y = fill(y, layer->out[3], value);
                }
            }
        }
    }
}
