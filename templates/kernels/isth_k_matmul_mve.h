/* Isthmus kernels: isth_k_matmul.h with vectors of sixteen int8 (Helium). */
#ifndef ISTH_K_MATMUL_MVE_H
#define ISTH_K_MATMUL_MVE_H

#include "isth_k_common.h"

#if defined(ISTH_K_MVE)

#include <arm_mve.h>

#include "isth_k_matmul.h"

/* Four groups of two filters: the loads part the filters. */
ISTH_K_INLINE int8x16x2_t weights_16(const int8_t *weights) {
    const int32x4x2_t words = vld2q_s32((const int32_t *)(const void *)weights);
    int8x16x2_t parted;

    parted.val[0] = vreinterpretq_s8_s32(words.val[0]);
    parted.val[1] = vreinterpretq_s8_s32(words.val[1]);
    return parted;
}

/* The last one to four groups; what lies behind them is not read. */
ISTH_K_INLINE int8x16x2_t weights_rest(const int8_t *weights, int32_t groups) {
    const uint32x4_t offsets = vidupq_n_u32(0, 8);
    const mve_pred16_t some = vctp32q((uint32_t)groups);
    const int32_t *const words = (const int32_t *)(const void *)weights;
    int8x16x2_t parted;

    parted.val[0] = vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(words, offsets, some));
    parted.val[1] = vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(words + 1, offsets, some));
    return parted;
}

/* Lanes: filter 0 and 1 at position 0, then at position 1. */
ISTH_K_INLINE void finish_4(const isth_k_filters *filters, const isth_k_filter *filter,
                            int32x4_t acc, int8_t *y, uint32x4_t places, mve_pred16_t some,
                            int32_t mode) {
    const uint32x4_t pair = vmulq_n_u32(vandq_u32(vidupq_n_u32(0, 1), vdupq_n_u32(1)), 16);
    int32x4_t value;

    if (mode > ISTH_K_FAST) {
        int32_t sums[4];
        int8_t levels[4];
        int32_t lane;

        vst1q_s32(sums, acc);
        for (lane = 0; lane < 4; lane++) {
            levels[lane] =
                isth_k_finish_any((uint32_t)sums[lane], &filter[lane % 2], &filters->output, mode);
        }
        vstrbq_scatter_offset_p_s32(y, places, vldrbq_s32(levels), some);
        return;
    }
    value = vqrdmulhq_s32(acc, vldrwq_gather_offset_s32(&filter->multiplier, pair));
    if (mode == ISTH_K_FAST) {
        value = vaddq_s32(value, vshrq_n_s32(value, 31));
    }
    value = vaddq_s32(value, vldrwq_gather_offset_s32(&filter->offset, pair));
    value = vshlq_s32(value, vnegq_s32(vldrwq_gather_offset_s32(&filter->right, pair)));
    value = vminq_s32(vmaxq_s32(value, vdupq_n_s32(INT8_MIN)), vdupq_n_s32(INT8_MAX));
    vstrbq_scatter_offset_p_s32(y, places, value, some);
}

ISTH_K_INLINE void positions_2(const isth_k_filters *filters, const int8_t *x0, const int8_t *x1,
                               int8_t *y0, int8_t *y1, int32_t mode) {
    const int32_t groups = filters->groups;
    const int32_t whole = filters->inputs / 16;
    const int32_t rest = groups - 4 * whole;
    const mve_pred16_t inputs_rest = vctp8q((uint32_t)(filters->inputs % 16));
    const isth_k_filter *filter = filters->filters;
    const int8_t *weights = filters->weights;
    const uint32_t step = (uint32_t)(y1 - y0);
    uint32x4_t places = vdupq_n_u32(0);
    int32_t left;

    places = vsetq_lane_u32(1, places, 1);
    places = vsetq_lane_u32(step, places, 2);
    places = vsetq_lane_u32(step + 1, places, 3);
    for (left = filters->count; left > 0; left -= 2) {
        const mve_pred16_t some = left > 1 ? (mve_pred16_t)0xFFFF : (mve_pred16_t)0x0F0F;
        const int8_t *p0 = x0;
        const int8_t *p1 = x1;
        int32_t a00 = filter[0].folded;
        int32_t a10 = filter[1].folded;
        int32_t a01 = a00;
        int32_t a11 = a10;
        int32x4_t acc = vdupq_n_s32(0);
        int32_t n;

        for (n = whole; n > 0; n--) {
            const int8x16x2_t w = weights_16(weights);
            const int8x16_t u0 = vldrbq_s8(p0);
            const int8x16_t u1 = vldrbq_s8(p1);

            a00 = vmladavaq_s8(a00, u0, w.val[0]);
            a10 = vmladavaq_s8(a10, u0, w.val[1]);
            a01 = vmladavaq_s8(a01, u1, w.val[0]);
            a11 = vmladavaq_s8(a11, u1, w.val[1]);
            weights += 32;
            p0 += 16;
            p1 += 16;
        }
        if (rest > 0) {
            const int8x16x2_t w = weights_rest(weights, rest);
            const int8x16_t u0 = vldrbq_z_s8(p0, inputs_rest);
            const int8x16_t u1 = vldrbq_z_s8(p1, inputs_rest);

            a00 = vmladavaq_s8(a00, u0, w.val[0]);
            a10 = vmladavaq_s8(a10, u0, w.val[1]);
            a01 = vmladavaq_s8(a01, u1, w.val[0]);
            a11 = vmladavaq_s8(a11, u1, w.val[1]);
            weights += 8 * rest;
        }
        acc = vsetq_lane_s32(a00, acc, 0);
        acc = vsetq_lane_s32(a10, acc, 1);
        acc = vsetq_lane_s32(a01, acc, 2);
        acc = vsetq_lane_s32(a11, acc, 3);
        finish_4(filters, filter, acc, y0, places, some, mode);
        filter += 2;
        y0 += 2;
    }
}

void isth_k_matmul_2(const isth_k_filters *filters, const isth_k_number *x0,
                     const isth_k_number *x1, int8_t *y0, int8_t *y1) {
    positions_2(filters, x0, x1, y0, y1, filters->mode);
}

void isth_k_matmul_1(const isth_k_filters *filters, const int8_t *x, int8_t *y) {
    const int32_t groups = filters->groups;
    const int32_t whole = filters->inputs / 16;
    const int32_t rest = groups - 4 * whole;
    const mve_pred16_t inputs_rest = vctp8q((uint32_t)(filters->inputs % 16));
    const int32_t mode = filters->mode;
    const int8_t *weights = filters->weights;
    int32_t c;

    for (c = 0; c < filters->count; c += 2) {
        const isth_k_filter *const filter = filters->filters + c;
        const int8_t *p = x;
        int32_t sums[2];
        int32_t n;

        sums[0] = filter[0].folded;
        sums[1] = filter[1].folded;
        for (n = whole; n > 0; n--) {
            const int8x16x2_t w = weights_16(weights);
            const int8x16_t u = vldrbq_s8(p);

            sums[0] = vmladavaq_s8(sums[0], u, w.val[0]);
            sums[1] = vmladavaq_s8(sums[1], u, w.val[1]);
            weights += 32;
            p += 16;
        }
        if (rest > 0) {
            const int8x16x2_t w = weights_rest(weights, rest);
            const int8x16_t u = vldrbq_z_s8(p, inputs_rest);

            sums[0] = vmladavaq_s8(sums[0], u, w.val[0]);
            sums[1] = vmladavaq_s8(sums[1], u, w.val[1]);
            weights += 8 * rest;
        }
        for (n = 0; n < 2 && c + n < filters->count; n++) {
            const uint32_t sum = (uint32_t)sums[n];

            y[c + n] = mode <= ISTH_K_FAST
                           ? isth_k_finish_fast(sum, &filter[n], mode == ISTH_K_RELU)
                           : isth_k_finish_any(sum, &filter[n], &filters->output, mode);
        }
    }
}

#endif

#endif
