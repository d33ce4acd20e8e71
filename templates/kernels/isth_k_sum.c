#include "isth_k_sum.h"

/* Operands are scaled with 20 bits of fraction; a scale of one half leaves 19 of them. */
#define ISTH_K_SUM_FRACTION (INT32_C(1) << 20)
#define ISTH_K_SUM_HALF (INT32_C(1) << 19)

/* The bits of a multiplier below the product's binary point: 31 less the 20 of the fraction. */
#define ISTH_K_SUM_BELOW 11

/* (value * 2^20) * multiplier / 2^31 / 2^right with the reference's two roundings; no sign yet. */
ISTH_K_INLINE int32_t scaled(int32_t value, const isth_k_sum_scale *scale) {
#if defined(ISTH_K_DSP)
    value = isth_k_fast_multiply((uint32_t)value << 21, scale->multiplier);
#else
    /* The same in 32 bits: nine bits times the multiplier's upper 20 and lower 11. */
    const int32_t above = isth_k_shift_down(scale->multiplier, ISTH_K_SUM_BELOW);
    const int32_t below = scale->multiplier - above * (INT32_C(1) << ISTH_K_SUM_BELOW);
    const int32_t half = INT32_C(1) << (ISTH_K_SUM_BELOW - 1);

    value = value * above + isth_k_shift_down(value * below + half, ISTH_K_SUM_BELOW);
#endif
    /* Halves go away from zero, as in isth_k_round_shift; without a shift nothing is rounded. */
    value += (isth_k_shift_down(value, 31) & scale->below_zero) + scale->half;
    return isth_k_shift_down(value, scale->right);
}

#if defined(ISTH_K_MVE)
/* The same of four levels. */
ISTH_K_INLINE int32x4_t scaled_4(const int8_t *levels, const isth_k_sum_scale *scale) {
    int32x4_t value = vshlq_n_s32(vsubq_n_s32(vldrbq_s32(levels), scale->zero), 20);
    int32x4_t below;

    value = vqrdmulhq_n_s32(value, scale->multiplier);
    below = vandq_s32(vshrq_n_s32(value, 31), vdupq_n_s32(scale->below_zero));
    value = vaddq_n_s32(vaddq_s32(value, below), scale->half);
    return vshlq_r_s32(value, -(int32_t)scale->right);
}
#endif

void isth_k_sum(const isth_k_sum_layer *layer, const int8_t *a, const int8_t *b, int8_t *y) {
    /* Copies: the compiler must assume that a store to y changes the layer itself. */
    const isth_k_sum_scale scale_a = layer->a;
    const isth_k_sum_scale scale_b = layer->b;
    const isth_k_filter scale = layer->scale;
    const isth_k_output output = layer->output;
    const int32_t step = layer->shape.single ? 0 : 1;
    /* Sums are doubled: so does isth_k_finish_doubled take them. */
    const int32_t twice_a = scale_a.sign * 2;
    const int32_t twice_b = scale_b.sign * 2;
    const int32_t factor = twice_a * ISTH_K_SUM_HALF;
    const int32_t offset = -scale_a.zero * factor;
    isth_k_walk walk = isth_k_first_run(&layer->shape, a, b, y);

    do {
        const int8_t *one = walk.a;
        const int8_t *other = walk.b;
        const int8_t *const end = one + layer->shape.length;
        int8_t *result = walk.y;

        if (layer->mode != ISTH_K_FAST) {
            while (one != end) {
                const int32_t sum = scaled(*one++ - scale_a.zero, &scale_a) * scale_a.sign +
                                    scaled(*other - scale_b.zero, &scale_b) * scale_b.sign;

                *result++ = isth_k_finish_any((uint32_t)sum, &scale, &output, ISTH_K_GENERAL);
                other += step;
            }
        } else if (step != 0) {
#if defined(ISTH_K_MVE)
            for (; end - one >= 4; one += 4, other += 4, result += 4) {
                const int32x4_t first = vaddq_n_s32(vmulq_n_s32(vldrbq_s32(one), factor), offset);
                const int32x4_t second = vmulq_n_s32(scaled_4(other, &scale_b), twice_b);

                isth_k_store_fast(vaddq_s32(first, second), &scale, result);
            }
#endif
            while (one != end) {
                const int32_t sum =
                    *one++ * factor + offset + scaled(*other++ - scale_b.zero, &scale_b) * twice_b;

                *result++ = isth_k_finish_doubled((uint32_t)sum, &scale, 0);
            }
        } else {
            const int32_t fixed = scaled(*other - scale_b.zero, &scale_b) * twice_b;

#if defined(ISTH_K_MVE)
            for (; end - one >= 4; one += 4, result += 4) {
                const int32x4_t first = vmulq_n_s32(scaled_4(one, &scale_a), twice_a);

                isth_k_store_fast(vaddq_n_s32(first, fixed), &scale, result);
            }
#endif
            while (one != end) {
                const int32_t sum = scaled(*one++ - scale_a.zero, &scale_a) * twice_a + fixed;

                *result++ = isth_k_finish_doubled((uint32_t)sum, &scale, 0);
            }
        }
    } while (isth_k_next_run(&walk, &layer->shape, &layer->a_steps, &layer->b_steps));
}
