/*
 * Isthmus kernels: the DSP tier's instructions, and the same in C for other processors.
 *
 * A pair is two int16 in a word. Bytes are taken apart with the even ones in one pair and the odd
 * ones in the other, inputs and weights alike, so no weight ever has to be moved.
 */
#ifndef ISTH_K_DSP_H
#define ISTH_K_DSP_H

#include "isth_k_common.h"

/* Four bytes; from is on a 4-byte boundary wherever the processor needs that. */
ISTH_K_INLINE uint32_t isth_k_word(const int8_t *from) {
    uint32_t word;

    __builtin_memcpy(&word, from, sizeof word);
    return word;
}

#if defined(__arm__) && !defined(ISTH_K_EMULATE_DSP)
/* Bytes 0 and 2 as a pair. */
ISTH_K_INLINE uint32_t isth_k_even(uint32_t word) {
    uint32_t pair;

    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
}

/* Bytes 1 and 3 as a pair. */
ISTH_K_INLINE uint32_t isth_k_odd(uint32_t word) {
    uint32_t pair;

    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}

/* acc + both products */
ISTH_K_INLINE uint32_t isth_k_dual(uint32_t acc, uint32_t a, uint32_t b) {
    __asm__("smlad %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}

/* acc + (low of a) * (high of b) */
ISTH_K_INLINE uint32_t isth_k_low_high(uint32_t acc, uint32_t a, uint32_t b) {
    __asm__("smlabt %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}

/* acc + (high of a) * (low of b) */
ISTH_K_INLINE uint32_t isth_k_high_low(uint32_t acc, uint32_t a, uint32_t b) {
    __asm__("smlatb %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}
#else
ISTH_K_INLINE int32_t isth_k_low(uint32_t pair) {
    return (int32_t)(pair & 0x7FFFu) - (int32_t)(pair & 0x8000u);
}

ISTH_K_INLINE int32_t isth_k_high(uint32_t pair) {
    return isth_k_low(pair >> 16);
}

ISTH_K_INLINE uint32_t isth_k_even(uint32_t word) {
    const int32_t first = (int32_t)(word & 0x7Fu) - (int32_t)(word & 0x80u);
    const int32_t second = (int32_t)((word >> 16) & 0x7Fu) - (int32_t)((word >> 16) & 0x80u);

    return ((uint32_t)first & 0xFFFFu) | ((uint32_t)second << 16);
}

ISTH_K_INLINE uint32_t isth_k_odd(uint32_t word) {
    return isth_k_even(word >> 8);
}

ISTH_K_INLINE uint32_t isth_k_dual(uint32_t acc, uint32_t a, uint32_t b) {
    acc = isth_k_mac(acc, isth_k_low(a), isth_k_low(b));
    return isth_k_mac(acc, isth_k_high(a), isth_k_high(b));
}

ISTH_K_INLINE uint32_t isth_k_low_high(uint32_t acc, uint32_t a, uint32_t b) {
    return isth_k_mac(acc, isth_k_low(a), isth_k_high(b));
}

ISTH_K_INLINE uint32_t isth_k_high_low(uint32_t acc, uint32_t a, uint32_t b) {
    return isth_k_mac(acc, isth_k_high(a), isth_k_low(b));
}
#endif

#endif
