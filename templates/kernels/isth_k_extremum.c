#include "isth_k_extremum.h"

void isth_k_extremum(const isth_k_extremum_layer *layer, const int8_t *a, const int8_t *b,
                     int8_t *y) {
    /* Copies: the compiler must assume that a store to y changes the layer itself. */
    const int32_t flip = layer->flip;
    const int32_t step = layer->shape.single ? 0 : 1;
    isth_k_walk walk = isth_k_first_run(&layer->shape, a, b, y);

    do {
        const int8_t *one = walk.a;
        const int8_t *other = walk.b;
        const int8_t *const end = one + layer->shape.length;
        int8_t *result = walk.y;

#if defined(ISTH_K_MVE)
        for (; end - one >= 16; one += 16, other += 16 * step, result += 16) {
            const int8x16_t flips = vdupq_n_s8((int8_t)flip);
            const int8x16_t first = veorq_s8(vldrbq_s8(one), flips);
            const int8x16_t second = step != 0 ? vldrbq_s8(other) : vdupq_n_s8(*other);

            vstrbq_s8(result, veorq_s8(vmaxq_s8(first, veorq_s8(second, flips)), flips));
        }
#endif
        while (one != end) {
            const int32_t first = *one++ ^ flip;
            const int32_t second = *other ^ flip;

            *result++ = (int8_t)((first > second ? first : second) ^ flip);
            other += step;
        }
    } while (isth_k_next_run(&walk, &layer->shape, &layer->a_steps, &layer->b_steps));
}
