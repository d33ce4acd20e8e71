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

#if defined(__GNUC__)
#define ISTH_K_INLINE static inline __attribute__((always_inline))
#define ISTH_K_ALIGNED(bytes) __attribute__((aligned(bytes)))
#else
#define ISTH_K_INLINE static inline
#define ISTH_K_ALIGNED(bytes)
#endif

/* Keeps the compiler from summing products aside and adding them later, which costs a register and
 * an addition each on Cortex-M. Elsewhere it would only hinder vectorisation. */
#if defined(__GNUC__) && defined(__ARM_ARCH_PROFILE) && (__ARM_ARCH_PROFILE == 77)
#define ISTH_K_KEEP(value) __asm__("" : "+r"(value))
#else
#define ISTH_K_KEEP(value) ((void)0)
#endif

/* One output channel of a layer with weights. */
typedef struct isth_k_channel {
    int32_t bias;       /* the model's bias */
    int32_t folded;     /* bias - input_zero * (sum of the channel's weights), modulo 2^32 */
    int32_t multiplier; /* Q0.31 */
    int32_t shift;      /* power of two, negative: to the right */
} isth_k_channel;

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

/* An accumulator as the int8 of its output channel. */
ISTH_K_INLINE int8_t isth_k_finish(uint32_t acc, const isth_k_channel *channel,
                                   const isth_k_output *output) {
    return isth_k_clamp(isth_k_scale(isth_k_signed(acc), channel->multiplier, channel->shift),
                        output);
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
