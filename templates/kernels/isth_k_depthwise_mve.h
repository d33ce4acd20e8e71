/* Isthmus kernels: depthwise with vectors of four positions in a row of a plane (Helium). */
#ifndef ISTH_K_DEPTHWISE_MVE_H
#define ISTH_K_DEPTHWISE_MVE_H

#include "isth_k_common.h"

#if defined(ISTH_K_MVE)

#include <arm_mve.h>

#include "isth_k_depthwise.h"

#define ISTH_K_GATHERED 8192 /* bytes between two gathered ones: seven times that fits 16 bits */

/* count bytes, step apart, come together. */
ISTH_K_INLINE void isth_k_line_mve(int8_t *to, const int8_t *x, int32_t count, ptrdiff_t step) {
    const uint16x8_t places = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)step);
    int32_t left;

    for (left = count; left > 0; left -= 8) {
        const mve_pred16_t some = vctp16q((uint32_t)left);

        vstrbq_p_s16(to, vldrbq_gather_offset_z_s16(x, places, some), some);
        to += 8;
        x += left > 8 ? 8 * step : 0;
    }
}

/* The clamp of FAST and RELU, and the general way for four sums. */
ISTH_K_INLINE void isth_k_finish_mve(const isth_k_depthwise_layer *layer, int32x4_t value,
                                     const isth_k_filter *filter, int8_t *y, uint32x4_t places,
                                     mve_pred16_t some, int32_t mode) {
    if (mode <= ISTH_K_FAST) {
        value = vqrdmulhq_n_s32(value, filter->multiplier);
        if (mode == ISTH_K_FAST) {
            value = vaddq_s32(value, vshrq_n_s32(value, 31));
        }
        value = vshlq_r_s32(vaddq_n_s32(value, filter->offset), -filter->right);
        value = vminq_s32(vmaxq_s32(value, vdupq_n_s32(INT8_MIN)), vdupq_n_s32(INT8_MAX));
    } else {
        int32_t sums[4];
        int32_t lane;

        vst1q_s32(sums, value);
        for (lane = 0; lane < 4; lane++) {
            sums[lane] =
                isth_k_finish_any((uint32_t)sums[lane], filter, &layer->output, ISTH_K_GENERAL);
        }
        value = vld1q_s32(sums);
    }
    vstrbq_scatter_offset_p_s32(y, places, value, some);
}

/* Keeps the compiler from loading far ahead, for which there are too few registers. */
#define ISTH_K_HERE __asm__ volatile("" ::: "memory")

/* One row of three taps at four positions, two apart. */
ISTH_K_INLINE int32x4_t isth_k_taps_mve(int32x4_t acc, const int8_t *x, int32_t a, int32_t b,
                                        int32_t c) {
    const int16x8_t eight = vldrbq_s16(x);

    acc = vmlaq_n_s32(acc, vmovlbq_s16(eight), a);
    acc = vmlaq_n_s32(acc, vmovltq_s16(eight), b);
    return vmlaq_n_s32(acc, vmovlbq_s16(vldrbq_s16(x + 2)), c);
}

/* 3x3 with a stride of 2 both ways, not dilated: the outputs of one row, eight at a time.
 * What is read beyond the row's last output is not used. */
ISTH_K_INLINE void isth_k_row_3x3_by_2_mve(const isth_k_depthwise_layer *layer, const int8_t *x,
                                           int32_t plane_w, const int8_t *w,
                                           const isth_k_filter *filter, int8_t *y, int32_t count,
                                           int32_t mode) {
    const uint32x4_t places = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)layer->y_column);
    const int8_t *x0 = x;
    const int8_t *x1 = x0 + plane_w;
    const int8_t *x2 = x1 + plane_w;
    int32_t left = count;

    for (;;) {
        int32x4_t acc = vdupq_n_s32(filter->folded);

        if (left > 4) {
            int32x4_t next = acc;

            acc = isth_k_taps_mve(acc, x0, w[0], w[1], w[3]);
            next = isth_k_taps_mve(next, x0 + 8, w[0], w[1], w[3]);
            ISTH_K_HERE;
            acc = isth_k_taps_mve(acc, x1, w[4], w[5], w[7]);
            next = isth_k_taps_mve(next, x1 + 8, w[4], w[5], w[7]);
            ISTH_K_HERE;
            acc = isth_k_taps_mve(acc, x2, w[8], w[9], w[11]);
            next = isth_k_taps_mve(next, x2 + 8, w[8], w[9], w[11]);
            ISTH_K_HERE;
            isth_k_finish_mve(layer, acc, filter, y, places, 0xFFFF, mode);
            y += 4 * (ptrdiff_t)layer->y_column;
            isth_k_finish_mve(layer, next, filter, y, places, vctp32q((uint32_t)left - 4), mode);
            left -= 8;
        } else {
            acc = isth_k_taps_mve(acc, x0, w[0], w[1], w[3]);
            acc = isth_k_taps_mve(acc, x1, w[4], w[5], w[7]);
            acc = isth_k_taps_mve(acc, x2, w[8], w[9], w[11]);
            isth_k_finish_mve(layer, acc, filter, y, places, vctp32q((uint32_t)left), mode);
            return;
        }
        if (left <= 0) {
            return;
        }
        y += 4 * (ptrdiff_t)layer->y_column;
        x0 += 16;
        x1 += 16;
        x2 += 16;
    }
}

/* What the lines of one channel have in common, as vectors. */
typedef struct isth_k_lanes {
    int32x4_t multiplier;
    int32x4_t offset;
    int32x4_t left; /* minus the shift to the right */
    int32x4_t folded;
    uint32x4_t places; /* of four outputs */
    uint32x4_t next;   /* from these to the next four */
} isth_k_lanes;

ISTH_K_INLINE isth_k_lanes isth_k_lanes_of(const isth_k_depthwise_layer *layer,
                                           const isth_k_filter *filter) {
    isth_k_lanes made;

    made.multiplier = vdupq_n_s32(filter->multiplier);
    made.offset = vdupq_n_s32(filter->offset);
    made.left = vdupq_n_s32(-filter->right);
    made.folded = vdupq_n_s32(filter->folded);
    made.places = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)layer->y_column);
    made.next = vdupq_n_u32(4 * (uint32_t)layer->y_column);
    return made;
}

/* r0: rows 0 and 1 of the plane, r1: row 2, r2: y, r3: how many, then a weight; r12: the weights,
 * then the last of them. q0: sums, q1: inputs. The loop predicates its last turn by itself. */
#define ISTH_K_TAP(x, at, w)                                                                       \
    "vldrb.s32 q1, [" x ", #" at "]\n\t"                                                           \
    "vmla.s32 q0, q1, " w "\n\t"
#define ISTH_K_LAST_TAP(x, w)                                                                      \
    "vldrb.s32 q1, [" x "], #4\n\t"                                                                \
    "vmla.s32 q0, q1, " w "\n\t"
#define ISTH_K_LINE(w0, w1, w2, ties)                                                              \
    "dlstp.32 lr, r3\n\t"                                                                          \
    "ldrsb r4, [r12]\n\t"                                                                          \
    "ldrsb r5, [r12, #1]\n\t"                                                                      \
    "ldrsb r6, [r12, #3]\n\t"                                                                      \
    "ldrsb r8, [r12, #4]\n\t"                                                                      \
    "ldrsb r9, [r12, #5]\n\t"                                                                      \
    "ldrsb r10, [r12, #7]\n\t"                                                                     \
    "ldrsb r11, [r12, #8]\n\t"                                                                     \
    "ldrsb r3, [r12, #9]\n\t"                                                                      \
    "ldrsb r12, [r12, #11]\n"                                                                      \
    "1:\n\t"                                                                                       \
    "vmov q0, %q[folded]\n\t" ISTH_K_TAP("r0", w0, "r8") ISTH_K_TAP("r0", w1, "r9")                \
        ISTH_K_TAP("r0", w2, "r10") ISTH_K_TAP("r0", "1", "r5") ISTH_K_TAP("r0", "2", "r6")        \
            ISTH_K_LAST_TAP("r0", "r4") ISTH_K_TAP("r1", "1", "r3") ISTH_K_TAP("r1", "2", "r12")   \
                ISTH_K_LAST_TAP("r1", "r11") "vqrdmulh.s32 q0, q0, %q[multiplier]\n\t" ties        \
                                             "vadd.i32 q0, q0, %q[offset]\n\t"                     \
                                             "vshl.s32 q0, q0, %q[left]\n\t"                       \
                                             "vqmovnb.s32 q0, q0\n\t"                              \
                                             "vqmovnb.s16 q0, q0\n\t"                              \
                                             "vstrb.32 q0, [r2, %q[places]]\n\t"                   \
                                             "vadd.i32 %q[places], %q[places], %q[next]\n\t"       \
                                             "letp lr, 1b\n\t"
#define ISTH_K_TIES "vshr.s32 q1, q0, #31\n\tvadd.i32 q0, q0, q1\n\t"
#define ISTH_K_RUN(text)                                                                           \
    __asm__ volatile(text                                                                          \
                     : "+r"(top), "+r"(bottom), "+r"(left), "+r"(weights), [places] "+w"(places)   \
                     : "r"(to), [multiplier] "w"(with->multiplier), [offset] "w"(with->offset),    \
                       [left] "w"(with->left), [folded] "w"(with->folded), [next] "w"(with->next)  \
                     : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "q0", "q1", "cc",         \
                       "memory")

/* 3x3 with a stride of 1: the outputs of one row, four at a time: 27 instructions for 36 products,
 * 29 with ties. The width of the plane (16, 32 or 64) is part of them. */
ISTH_K_INLINE void isth_k_line_3x3_mve(const isth_k_lanes *with, const int8_t *x, int32_t plane_w,
                                       const int8_t *w, int8_t *y, int32_t count, int relu) {
    register const int8_t *top __asm__("r0") = x;
    register const int8_t *bottom __asm__("r1") = x + 2 * plane_w;
    register int8_t *to __asm__("r2") = y;
    register int32_t left __asm__("r3") = count;
    register const int8_t *weights __asm__("r12") = w;
    uint32x4_t places = with->places;

    if (plane_w == 16) {
        if (relu) {
            ISTH_K_RUN(ISTH_K_LINE("16", "17", "18", ""));
        } else {
            ISTH_K_RUN(ISTH_K_LINE("16", "17", "18", ISTH_K_TIES));
        }
    } else if (plane_w == 32) {
        if (relu) {
            ISTH_K_RUN(ISTH_K_LINE("32", "33", "34", ""));
        } else {
            ISTH_K_RUN(ISTH_K_LINE("32", "33", "34", ISTH_K_TIES));
        }
    } else {
        if (relu) {
            ISTH_K_RUN(ISTH_K_LINE("64", "65", "66", ""));
        } else {
            ISTH_K_RUN(ISTH_K_LINE("64", "65", "66", ISTH_K_TIES));
        }
    }
}

/* Any kernel: the outputs of one row, four at a time. */
ISTH_K_INLINE void isth_k_row_any_mve(const isth_k_depthwise_layer *layer, const int8_t *x,
                                      int32_t plane_w, const int8_t *weights,
                                      const isth_k_filter *filter, int8_t *y, int32_t count) {
    const uint32x4_t lanes = vidupq_n_u32(0, 1);
    const uint32x4_t in = vmulq_n_u32(lanes, (uint32_t)layer->stride_w);
    const uint32x4_t out = vmulq_n_u32(lanes, (uint32_t)layer->y_column);
    int32_t left;

    for (left = count; left > 0; left -= 4) {
        int32x4_t acc = vdupq_n_s32(filter->folded);
        const int8_t *w = weights;
        int32_t row;

        for (row = 0; row < layer->kernel_h; row++) {
            const int8_t *const line = x + (ptrdiff_t)row * layer->dilation_h * plane_w;
            int32_t tap;

            for (tap = 0; tap < layer->kernel_w; tap++) {
                const int8_t *const p = line + (ptrdiff_t)tap * layer->dilation_w;

                acc = vmlaq_n_s32(acc, vldrbq_gather_offset_s32(p, in), *w);
                /* The second of a row of three is written twice. */
                w += layer->kernel_w == 3 && tap == 1 ? 2 : 1;
            }
        }
        isth_k_finish_mve(layer, acc, filter, y, out, vctp32q((uint32_t)left), layer->mode);
        x += 4 * (ptrdiff_t)layer->stride_w;
        y += left > 4 ? 4 * (ptrdiff_t)layer->y_column : 0;
    }
}

#endif

#endif
