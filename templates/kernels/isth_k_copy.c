#include "isth_k_copy.h"

#include "isth_k_run.h"

static void copy_axis(const isth_k_copy_layer *layer, const int8_t *x, int8_t *y) {
    const ptrdiff_t x_step = layer->x_step[3];
    const ptrdiff_t y_step = layer->y_step[3];
    int32_t i;

    if (x_step == 1 && y_step == 1) {
        isth_k_run(x, y, layer->size[3]);
        return;
    }
    for (i = 0; i < layer->size[3]; i++) {
        y[i * y_step] = x[i * x_step];
    }
}

void isth_k_copy(const isth_k_copy_layer *layer, const int8_t *x, int8_t *y) {
    ptrdiff_t from_i = layer->from;
    ptrdiff_t to_i = layer->to;
    int32_t i;

    for (i = 0; i < layer->size[0]; i++) {
        ptrdiff_t from_j = from_i;
        ptrdiff_t to_j = to_i;
        int32_t j;

        for (j = 0; j < layer->size[1]; j++) {
            ptrdiff_t from_k = from_j;
            ptrdiff_t to_k = to_j;
            int32_t k;

            for (k = 0; k < layer->size[2]; k++) {
                copy_axis(layer, x + from_k, y + to_k);
                from_k += layer->x_step[2];
                to_k += layer->y_step[2];
            }
            from_j += layer->x_step[1];
            to_j += layer->y_step[1];
        }
        from_i += layer->x_step[0];
        to_i += layer->y_step[0];
    }
}
