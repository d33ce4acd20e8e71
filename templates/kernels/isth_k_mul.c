#include "isth_k_mul.h"

void isth_k_mul(const isth_k_mul_layer *layer, const int8_t *a, const int8_t *b, int8_t *y) {
    /* Copies: the compiler must assume that a store to y changes the layer itself. */
    const isth_k_filter scale = layer->scale;
    const isth_k_output output = layer->output;
    const int32_t a_zero = layer->a_zero;
    const int32_t b_zero = layer->b_zero;
    const int32_t step = layer->shape.single ? 0 : 1;
    isth_k_walk walk = isth_k_first_run(&layer->shape, a, b, y);

    do {
        const int8_t *one = walk.a;
        const int8_t *other = walk.b;
        const int8_t *const end = one + layer->shape.length;
        int8_t *result = walk.y;

        if (layer->mode != ISTH_K_FAST) {
            while (one != end) {
                const int32_t product = (*one++ - a_zero) * (*other - b_zero);

                *result++ = isth_k_finish_any((uint32_t)product, &scale, &output, ISTH_K_GENERAL);
                other += step;
            }
        } else if (step != 0) {
#if defined(ISTH_K_MVE)
            for (; end - one >= 4; one += 4, other += 4, result += 4) {
                const int32x4_t first = vsubq_n_s32(vldrbq_s32(one), a_zero);
                const int32x4_t second = vsubq_n_s32(vldrbq_s32(other), b_zero);

                isth_k_store_fast(vmulq_s32(first, vshlq_n_s32(second, 1)), &scale, result);
            }
#endif
            while (one != end) {
                const int32_t twice = (*one++ - a_zero) * (*other++ * 2 - b_zero * 2);

                *result++ = isth_k_finish_doubled((uint32_t)twice, &scale, 0);
            }
        } else {
            const int32_t factor = (*other - b_zero) * 2;
            const int32_t offset = -a_zero * factor;

#if defined(ISTH_K_MVE)
            for (; end - one >= 4; one += 4, result += 4) {
                isth_k_store_fast(vaddq_n_s32(vmulq_n_s32(vldrbq_s32(one), factor), offset), &scale,
                                  result);
            }
#endif
            while (one != end) {
                const int32_t twice = *one++ * factor + offset;

                *result++ = isth_k_finish_doubled((uint32_t)twice, &scale, 0);
            }
        }
    } while (isth_k_next_run(&walk, &layer->shape, &layer->a_steps, &layer->b_steps));
}
