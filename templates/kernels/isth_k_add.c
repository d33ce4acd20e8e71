#include "isth_k_add.h"

#if defined(ISTH_K_MVE)
#include <arm_mve.h>
#endif

/* Room for the fraction: 8 bits of operand, 20 below them, 1 of carry. */
#define ISTH_K_ADD_FRACTION (INT32_C(1) << 20)

ISTH_K_INLINE int32_t operand(int8_t value, int32_t zero, int32_t multiplier, uint32_t right) {
    return isth_k_scale_down((value - zero) * ISTH_K_ADD_FRACTION, multiplier, right);
}

/* Any scales and clamps. */
static void add_any(const isth_k_add_layer *layer, const int8_t *a, const int8_t *b, int8_t *y) {
    /* Copies: the compiler must assume that a store to y changes the layer itself. */
    const isth_k_add_scale scale_a = layer->a;
    const isth_k_add_scale scale_b = layer->b;
    const isth_k_output output = layer->output;
    const int32_t multiplier = layer->multiplier;
    const uint32_t right = layer->right;
    int32_t i;

    for (i = 0; i < layer->length; i++) {
        const int32_t sum = operand(a[i], scale_a.zero, scale_a.multiplier, scale_a.right) +
                            operand(b[i], scale_b.zero, scale_b.multiplier, scale_b.right);

        y[i] = isth_k_clamp(isth_k_scale_down(sum, multiplier, right), &output);
    }
}

/* a counts one half exactly (right 0), b less (right 1 and more), the sum's scale is that of
 * ISTH_K_FAST or, with relu, of ISTH_K_RELU. */
typedef struct halved {
    int32_t a_zero; /* moved like a */
    int32_t b_zero; /* moved like b */
    int32_t b_multiplier;
    int32_t b_half;
    uint32_t b_right;
    isth_k_filter sum;
} halved;

static halved halve(const isth_k_add_layer *layer, const isth_k_add_scale *a,
                    const isth_k_add_scale *b) {
    halved made;

    made.a_zero = -a->zero * (ISTH_K_ADD_FRACTION / 2);
    made.b_zero = -b->zero * ISTH_K_ADD_FRACTION;
    made.b_multiplier = b->multiplier;
    made.b_half = INT32_C(1) << (b->right - 1);
    made.b_right = b->right;
    made.sum.folded = 0;
    made.sum.multiplier = layer->multiplier;
    made.sum.right = (int32_t)layer->right;
    made.sum.offset =
        layer->output.zero * (INT32_C(1) << layer->right) + (INT32_C(1) << layer->right) / 2;
    return made;
}

/* Both operands come doubled, which spares the multiplications a shift. */
ISTH_K_INLINE int8_t add_one(const halved *with, int32_t a, int32_t b, int relu) {
    const int32_t doubled_b = b * (2 * ISTH_K_ADD_FRACTION) + with->b_zero * 2;
    const int32_t doubled_a = a * ISTH_K_ADD_FRACTION + with->a_zero * 2;
    int32_t value = isth_k_fast_multiply((uint32_t)doubled_b, with->b_multiplier);

    value += isth_k_shift_down(value, 31) + with->b_half;
    value = isth_k_shift_down(value, with->b_right);
    return isth_k_finish_doubled((uint32_t)doubled_a + ((uint32_t)value << 1), &with->sum, relu);
}

ISTH_K_INLINE void add_halved(const halved *scales, const int8_t *a, const int8_t *b, int8_t *y,
                              int32_t length, int relu) {
    const halved with = *scales;
    int32_t i = 0;

#if defined(ISTH_K_MVE)
    const int32x4_t b_right = vdupq_n_s32(-(int32_t)with.b_right);
    const int32x4_t right = vdupq_n_s32(-with.sum.right);
    const int32x4_t low = vdupq_n_s32(INT8_MIN);
    const int32x4_t high = vdupq_n_s32(INT8_MAX);

    for (; i + 4 <= length; i += 4) {
        const int32x4_t u = vaddq_n_s32(vshlq_n_s32(vldrbq_s32(a + i), 19), with.a_zero);
        int32x4_t value = vaddq_n_s32(vshlq_n_s32(vldrbq_s32(b + i), 20), with.b_zero);

        value = vqrdmulhq_n_s32(value, with.b_multiplier);
        value = vaddq_s32(value, vshrq_n_s32(value, 31));
        value = vaddq_s32(vrshlq_s32(value, b_right), u);
        value = vqrdmulhq_n_s32(value, with.sum.multiplier);
        if (!relu) {
            value = vaddq_s32(value, vshrq_n_s32(value, 31));
        }
        value = vshlq_s32(vaddq_n_s32(value, with.sum.offset), right);
        vstrbq_s32(y + i, vminq_s32(vmaxq_s32(value, low), high));
    }
#else
    for (; i + 2 <= length; i += 2) {
        const int32_t a1 = a[i + 1];
        const int32_t b1 = b[i + 1];

        y[i] = add_one(&with, a[i], b[i], relu);
        y[i + 1] = add_one(&with, a1, b1, relu);
    }
#endif
    for (; i < length; i++) {
        y[i] = add_one(&with, a[i], b[i], relu);
    }
}

void isth_k_add(const isth_k_add_layer *layer, const int8_t *a, const int8_t *b, int8_t *y) {
    const int fast = layer->right >= 1 && layer->right <= 23 && layer->output.minimum == INT8_MIN &&
                     layer->output.maximum == INT8_MAX;
    const int relu = layer->output.zero == INT8_MIN;
    int32_t repeat;

    for (repeat = 0; repeat < layer->repeats; repeat++) {
        if (fast && layer->a.right == 0 && layer->b.right > 0) {
            const halved with = halve(layer, &layer->a, &layer->b);

            if (relu) {
                add_halved(&with, a, b, y, layer->length, 1);
            } else {
                add_halved(&with, a, b, y, layer->length, 0);
            }
        } else if (fast && layer->b.right == 0 && layer->a.right > 0) {
            const halved with = halve(layer, &layer->b, &layer->a);

            if (relu) {
                add_halved(&with, b, a, y, layer->length, 1);
            } else {
                add_halved(&with, b, a, y, layer->length, 0);
            }
        } else {
            add_any(layer, a, b, y);
        }
        if (repeat + 1 < layer->repeats) {
            a += layer->length;
            y += layer->length;
        }
    }
}
