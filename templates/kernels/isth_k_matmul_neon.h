/* Isthmus kernels: isth_k_matmul.h with vectors of sixteen int8 (AArch64). */
#ifndef ISTH_K_MATMUL_NEON_H
#define ISTH_K_MATMUL_NEON_H

#include "isth_k_common.h"

#if defined(ISTH_K_NEON)

#include <arm_neon.h>

#include "isth_k_matmul.h"

/* Sixteen products, in four sums. */
ISTH_K_INLINE int32x4_t dot_16(int32x4_t acc, int8x16_t x, int8x16_t w) {
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, x, w);
#else
    acc = vpadalq_s16(acc, vmull_s8(vget_low_s8(x), vget_low_s8(w)));
    return vpadalq_s16(acc, vmull_high_s8(x, w));
#endif
}

/* Four groups of two filters: the loads part the filters. */
ISTH_K_INLINE int8x16x2_t weights_16(const int8_t *weights) {
    const int32x4x2_t words = vld2q_s32((const int32_t *)(const void *)weights);
    int8x16x2_t parted;

    parted.val[0] = vreinterpretq_s8_s32(words.val[0]);
    parted.val[1] = vreinterpretq_s8_s32(words.val[1]);
    return parted;
}

/* The last inputs of a column, fewer than sixteen, and zeros. */
ISTH_K_INLINE int8x16_t inputs_rest(const int8_t *x, int32_t count) {
    int8_t padded[16] = {0};
    int32_t i;

    for (i = 0; i < count; i++) {
        padded[i] = x[i];
    }
    return vld1q_s8(padded);
}

/* The last one to four groups of weights, and zeros. */
ISTH_K_INLINE int8x16x2_t weights_rest(const int8_t *weights, int32_t groups) {
    int32_t padded[8] = {0};

    __builtin_memcpy(padded, weights, (size_t)(8 * groups));
    return weights_16((const int8_t *)padded);
}

ISTH_K_INLINE int8_t finish(const isth_k_filters *filters, uint32_t acc,
                            const isth_k_filter *filter) {
    return filters->mode <= ISTH_K_FAST
               ? isth_k_finish_fast(acc, filter, filters->mode == ISTH_K_RELU)
               : isth_k_finish_any(acc, filter, &filters->output, filters->mode);
}

ISTH_K_INLINE uint32_t total(int32_t folded, int32x4_t acc) {
    return (uint32_t)folded + (uint32_t)vaddvq_s32(acc);
}

void isth_k_matmul_2(const isth_k_filters *filters, const isth_k_number *x0,
                     const isth_k_number *x1, int8_t *y0, int8_t *y1) {
    const int32_t whole = filters->inputs / 16;
    const int32_t rest = filters->groups - 4 * whole;
    const int32_t last = filters->inputs - 16 * whole;
    const int8x16_t rest0 = inputs_rest(x0 + (ptrdiff_t)16 * whole, last);
    const int8x16_t rest1 = inputs_rest(x1 + (ptrdiff_t)16 * whole, last);
    const int8_t *weights = filters->weights;
    int32_t c;

    for (c = 0; c < filters->count; c += 2) {
        const isth_k_filter *const filter = filters->filters + c;
        int32x4_t a00 = vdupq_n_s32(0);
        int32x4_t a01 = a00;
        int32x4_t a10 = a00;
        int32x4_t a11 = a00;
        int32_t n;

        for (n = 0; n < whole; n++) {
            const int8x16x2_t w = weights_16(weights + (ptrdiff_t)32 * n);
            const int8x16_t u0 = vld1q_s8(x0 + (ptrdiff_t)16 * n);
            const int8x16_t u1 = vld1q_s8(x1 + (ptrdiff_t)16 * n);

            a00 = dot_16(a00, u0, w.val[0]);
            a10 = dot_16(a10, u0, w.val[1]);
            a01 = dot_16(a01, u1, w.val[0]);
            a11 = dot_16(a11, u1, w.val[1]);
        }
        if (rest > 0) {
            const int8x16x2_t w = weights_rest(weights + (ptrdiff_t)32 * whole, rest);

            a00 = dot_16(a00, rest0, w.val[0]);
            a10 = dot_16(a10, rest0, w.val[1]);
            a01 = dot_16(a01, rest1, w.val[0]);
            a11 = dot_16(a11, rest1, w.val[1]);
        }
        weights += (ptrdiff_t)8 * filters->groups;
        y0[c] = finish(filters, total(filter[0].folded, a00), &filter[0]);
        y1[c] = finish(filters, total(filter[0].folded, a01), &filter[0]);
        if (c + 1 < filters->count) {
            y0[c + 1] = finish(filters, total(filter[1].folded, a10), &filter[1]);
            y1[c + 1] = finish(filters, total(filter[1].folded, a11), &filter[1]);
        }
    }
}

void isth_k_matmul_1(const isth_k_filters *filters, const int8_t *x, int8_t *y) {
    const int32_t whole = filters->inputs / 16;
    const int32_t rest = filters->groups - 4 * whole;
    const int8x16_t rest0 = inputs_rest(x + (ptrdiff_t)16 * whole, filters->inputs - 16 * whole);
    const int8_t *weights = filters->weights;
    int32_t c;

    for (c = 0; c < filters->count; c += 2) {
        const isth_k_filter *const filter = filters->filters + c;
        int32x4_t a0 = vdupq_n_s32(0);
        int32x4_t a1 = a0;
        int32_t n;

        for (n = 0; n < whole; n++) {
            const int8x16x2_t w = weights_16(weights + (ptrdiff_t)32 * n);
            const int8x16_t u = vld1q_s8(x + (ptrdiff_t)16 * n);

            a0 = dot_16(a0, u, w.val[0]);
            a1 = dot_16(a1, u, w.val[1]);
        }
        if (rest > 0) {
            const int8x16x2_t w = weights_rest(weights + (ptrdiff_t)32 * whole, rest);

            a0 = dot_16(a0, rest0, w.val[0]);
            a1 = dot_16(a1, rest0, w.val[1]);
        }
        weights += (ptrdiff_t)8 * filters->groups;
        y[c] = finish(filters, total(filter[0].folded, a0), &filter[0]);
        if (c + 1 < filters->count) {
            y[c + 1] = finish(filters, total(filter[1].folded, a1), &filter[1]);
        }
    }
}

#endif

#endif
