/*
 * Isthmus kernels: what every int8 layer shares.
 *
 * The arithmetic is that of TensorFlow Lite's reference kernels, element for element. Accumulators
 * are uint32_t: they wrap as the hardware does, so the order of additions and the folding of zero
 * points into biases cannot change a sum, and no signed overflow exists.
 */
#ifndef ISTH_K_COMMON_H
#define ISTH_K_COMMON_H

#include <stddef.h>
#include <stdint.h>

#define ISTH_KERNEL_ABI 1

/* The tier: which instructions the kernels may use. All tiers give the same bytes. Define
 * ISTH_K_PORTABLE to keep to C, or ISTH_K_EMULATE_DSP to run the DSP tier's code on any processor.
 * The tiers take bytes out of words, the low one first: big-endian cores have the portable one. */
#if defined(ISTH_K_PORTABLE) || defined(__ARM_BIG_ENDIAN) || defined(__AARCH64EB__)
#define ISTH_K_TIER "portable"
#elif defined(ISTH_K_EMULATE_DSP)
#define ISTH_K_TIER "dsp"
#define ISTH_K_DSP 1
#elif defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
#define ISTH_K_TIER "mve"
#define ISTH_K_MVE 1
#define ISTH_K_DSP 1
#elif defined(__aarch64__) && defined(__ARM_NEON) && defined(__GNUC__)
#define ISTH_K_TIER "neon"
#define ISTH_K_NEON 1
#elif defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__GNUC__)
#define ISTH_K_TIER "dsp"
#define ISTH_K_DSP 1
#elif (defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)) && defined(__GNUC__)
#define ISTH_K_TIER "thumb-1"
#define ISTH_K_THUMB1 1
#else
#define ISTH_K_TIER "portable"
#endif

/* Without optimisation nothing is inlined: the frames would grow to kilobytes. */
#if defined(__GNUC__) && defined(__OPTIMIZE__)
#define ISTH_K_INLINE static inline __attribute__((always_inline))
#else
#define ISTH_K_INLINE static inline
#endif

#if defined(__GNUC__)
#define ISTH_K_ALIGNED(bytes) __attribute__((aligned(bytes)))
#define ISTH_K_ASIDE __attribute__((noinline, cold, unused)) static
#define ISTH_K_SHARED __attribute__((noinline, unused)) static
#else
#define ISTH_K_ALIGNED(bytes)
#define ISTH_K_ASIDE static
#define ISTH_K_SHARED static
#endif

/* Keeps the compiler from summing products aside and adding them later, which costs a register and
 * an addition each on Cortex-M. Elsewhere it would only hinder vectorisation. */
#if defined(__GNUC__) && defined(__ARM_ARCH_PROFILE) && (__ARM_ARCH_PROFILE == 77)
#define ISTH_K_KEEP(value) __asm__("" : "+r"(value))
#else
#define ISTH_K_KEEP(value) ((void)0)
#endif

/* One filter of a layer with weights, as the generator prepares it for the fast kernels. */
typedef struct isth_k_filter {
    int32_t folded;     /* bias - input_zero * (sum of the filter's weights), modulo 2^32 */
    int32_t multiplier; /* Q0.31 */
    int32_t right;      /* power of two, positive: to the right */
    int32_t offset;     /* (output_zero << right) + (half of 1 << right); 0 in general mode */
} isth_k_filter;

/* How a layer's accumulators become int8. The generator chooses the first that is exact: */
#define ISTH_K_RELU 0 /* as FAST with right >= 0, where the clamp takes all that is negative */
#define ISTH_K_FAST 1 /* 1 <= right <= 23, |accumulator| < 2^30, no clamp but that of int8 */
#define ISTH_K_GENERAL 2
#define ISTH_K_SINGLE 3 /* GENERAL with one rounding: LiteRT's FULLY_CONNECTED */

/* Where results go: zero point and clamp of the output tensor. */
typedef struct isth_k_output {
    int32_t zero;
    int32_t minimum;
    int32_t maximum;
} isth_k_output;

/* The same 32 bits as a signed number. Compiles to nothing. */
ISTH_K_INLINE int32_t isth_k_signed(uint32_t bits) {
    return bits <= (uint32_t)INT32_MAX ? (int32_t)bits : -(int32_t)(~bits) - 1;
}

/* acc + x * w */
ISTH_K_INLINE uint32_t isth_k_mac(uint32_t acc, int32_t x, int32_t w) {
    return acc + (uint32_t)(x * w);
}

/* value / 2^exponent, rounded down; exponent 0..31. The usual compilers shift copies of the sign
 * in, and say so; where one does not, the complement is shifted. */
ISTH_K_INLINE int32_t isth_k_shift_down(int32_t value, uint32_t exponent) {
#if (-3 >> 1) == -2
    return value >> exponent;
#else
    return value < 0 ? ~(~value >> exponent) : value >> exponent;
#endif
}

/* Rounded high half of twice the product; b is never INT32_MIN. The bias of 2^62 keeps the shifted
 * number positive and is taken off afterwards. */
ISTH_K_INLINE int32_t isth_k_high_multiply(int32_t a, int32_t b) {
    const uint64_t product = (uint64_t)((int64_t)a * b) + UINT64_C(0x4000000040000000);

    return isth_k_signed((uint32_t)(product >> 31) ^ UINT32_C(0x80000000));
}

/* value / 2^exponent, halves away from zero; exponent 0..31. */
ISTH_K_INLINE int32_t isth_k_round_shift(int32_t value, uint32_t exponent) {
    const uint32_t half = (UINT32_C(1) << exponent) >> 1;
    const uint32_t magnitude = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    const uint32_t rounded = (magnitude + half) >> exponent;

    return isth_k_signed(value < 0 ? 0u - rounded : rounded);
}

/* value * multiplier / 2^right with the reference's two roundings. */
ISTH_K_INLINE int32_t isth_k_scale_down(int32_t value, int32_t multiplier, uint32_t right) {
    return isth_k_round_shift(isth_k_high_multiply(value, multiplier), right);
}

/* value * multiplier * 2^shift with the reference's two roundings. */
ISTH_K_INLINE int32_t isth_k_scale(int32_t value, int32_t multiplier, int32_t shift) {
    uint32_t right = 0;

    if (shift > 0) {
        value = isth_k_signed((uint32_t)value << shift);
    } else {
        right = (uint32_t)-shift;
    }
    return isth_k_scale_down(value, multiplier, right);
}

/* Adds the zero point and clamps. The bounds are moved instead of the value, which may be any int32
 * and would overflow. */
ISTH_K_INLINE int8_t isth_k_clamp(int32_t value, const isth_k_output *output) {
    const int32_t low = output->minimum - output->zero;
    const int32_t high = output->maximum - output->zero;

    if (value < low) {
        value = low;
    }
    if (value > high) {
        value = high;
    }
    return (int8_t)(value + output->zero);
}

/* Clamps to int8; one instruction where the processor has it. */
ISTH_K_INLINE int32_t isth_k_saturate(int32_t value) {
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__) && !defined(ISTH_K_THUMB1)
    __asm__("ssat %0, #8, %0" : "+r"(value));
#else
    if (value < INT8_MIN) {
        value = INT8_MIN;
    }
    if (value > INT8_MAX) {
        value = INT8_MAX;
    }
#endif
    return value;
}

/* (doubled * b + 2^31) / 2^32, rounded down, for an even number. */
ISTH_K_INLINE int32_t isth_k_fast_multiply(uint32_t doubled, int32_t b) {
#if defined(ISTH_K_DSP) && defined(__arm__)
    int32_t high;

    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(doubled), "r"(b));
    return high;
#else
    return isth_k_high_multiply(isth_k_shift_down(isth_k_signed(doubled), 1), b);
#endif
}

/* The same, added to sum. */
ISTH_K_INLINE int32_t isth_k_fast_multiply_add(uint32_t doubled, int32_t b, int32_t sum) {
#if defined(ISTH_K_DSP) && defined(__arm__)
    int32_t high;

    __asm__("smmlar %0, %1, %2, %3" : "=r"(high) : "r"(doubled), "r"(b), "r"(sum));
    return high;
#else
    return isth_k_fast_multiply(doubled, b) + sum;
#endif
}

/* FAST and RELU, for twice the accumulator: value is a rounded product, and (value - (value < 0) +
 * half) >> right rounds it with halves away from zero. Negative values end below the zero point,
 * where RELU clamps them all. */
ISTH_K_INLINE int8_t isth_k_finish_doubled(uint32_t doubled, const isth_k_filter *filter,
                                           int relu) {
    int32_t value;

    if (relu) {
        value = isth_k_fast_multiply_add(doubled, filter->multiplier, filter->offset);
    } else {
        value = isth_k_fast_multiply(doubled, filter->multiplier);
        value += isth_k_shift_down(value, 31) + filter->offset;
    }
    return (int8_t)isth_k_saturate(isth_k_shift_down(value, (uint32_t)filter->right));
}

ISTH_K_INLINE int8_t isth_k_finish_fast(uint32_t acc, const isth_k_filter *filter, int relu) {
    return isth_k_finish_doubled(acc << 1, filter, relu);
}

/* value * multiplier / 2^right with one rounding, halves away from zero; right -30..31. */
ISTH_K_INLINE int32_t isth_k_scale_once(int32_t value, int32_t multiplier, int32_t right) {
    const uint32_t shift = (uint32_t)(31 + right);
    const int64_t product = (int64_t)value * multiplier;
    /* below 2^63: a product of at most 2^62 and half of at most 2^62 shifted */
    const int64_t magnitude = (product < 0 ? -product : product) + (INT64_C(1) << (shift - 1));
    const uint32_t rounded = (uint32_t)(magnitude >> shift);

    return isth_k_signed(product < 0 ? 0u - rounded : rounded);
}

/* GENERAL and SINGLE; seldom needed, so it may cost a call. */
ISTH_K_ASIDE int8_t isth_k_finish_any(uint32_t acc, const isth_k_filter *filter,
                                      const isth_k_output *output, int32_t mode) {
    const int32_t value = isth_k_signed(acc);

    if (mode == ISTH_K_SINGLE) {
        return isth_k_clamp(isth_k_scale_once(value, filter->multiplier, filter->right), output);
    }
    return isth_k_clamp(isth_k_scale(value, filter->multiplier, -filter->right), output);
}

/* The taps [*first, *end) of a window that fall inside [0, size). */
ISTH_K_INLINE void isth_k_clip(int32_t start, int32_t size, int32_t taps, int32_t dilation,
                               int32_t *first, int32_t *end) {
    int32_t low = 0;
    int32_t high = taps;

    while (low < high && start + low * dilation < 0) {
        low++;
    }
    while (high > low && start + (high - 1) * dilation >= size) {
        high--;
    }
    *first = low;
    *end = high;
}

#endif
