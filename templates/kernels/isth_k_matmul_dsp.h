/* Isthmus kernels: the inner loops of isth_k_matmul.h with dual 16-bit multiplications. */
#ifndef ISTH_K_MATMUL_DSP_H
#define ISTH_K_MATMUL_DSP_H

#include "isth_k_dsp.h"
#include "isth_k_matmul.h"

#if defined(__arm__) && defined(__OPTIMIZE__) && !defined(ISTH_K_EMULATE_DSP)
/* One group of two filters at two positions: 15 instructions for 16 products. */
#define ISTH_K_GROUP_22                                                                            \
    "ldrd %[v], %[u], [%[w]], #8\n\t"                                                              \
    "ldrd %[p], %[q], [%[x]], #8\n\t"                                                              \
    "sxtb16 %[s], %[v]\n\t"                                                                        \
    "sxtb16 %[v], %[v], ror #8\n\t"                                                                \
    "sxtb16 %[t], %[u]\n\t"                                                                        \
    "sxtb16 %[u], %[u], ror #8\n\t"                                                                \
    "smlad %[a00], %[p], %[s], %[a00]\n\t"                                                         \
    "smlad %[a10], %[p], %[t], %[a10]\n\t"                                                         \
    "smlad %[a00], %[q], %[v], %[a00]\n\t"                                                         \
    "smlad %[a10], %[q], %[u], %[a10]\n\t"                                                         \
    "ldrd %[p], %[q], [%[x]], #8\n\t"                                                              \
    "smlad %[a01], %[p], %[s], %[a01]\n\t"                                                         \
    "smlad %[a11], %[p], %[t], %[a11]\n\t"                                                         \
    "smlad %[a01], %[q], %[v], %[a01]\n\t"                                                         \
    "smlad %[a11], %[q], %[u], %[a11]\n\t"

/* acc[2 * filter + position]; returns the weights' end. Written out because compilers schedule
 * their intrinsics until registers run out. */
ISTH_K_INLINE const int8_t *isth_k_dot_22(const int8_t *w, const int16_t *x, int32_t groups,
                                          uint32_t acc[4]) {
    uint32_t a00 = acc[0];
    uint32_t a01 = acc[1];
    uint32_t a10 = acc[2];
    uint32_t a11 = acc[3];
    uint32_t p;
    uint32_t q;
    uint32_t s;
    uint32_t t;
    uint32_t u;
    uint32_t v;
    int32_t left = groups;

    __asm__("subs %[n], #4\n\t"
            "blt 2f\n"
            "1:\n\t" ISTH_K_GROUP_22 ISTH_K_GROUP_22 ISTH_K_GROUP_22 ISTH_K_GROUP_22
            "subs %[n], #4\n\t"
            "bge 1b\n"
            "2:\n\t"
            "adds %[n], #4\n\t"
            "ble 4f\n"
            "3:\n\t" ISTH_K_GROUP_22 "subs %[n], #1\n\t"
            "bgt 3b\n"
            "4:\n\t"
            : [a00] "+r"(a00), [a01] "+r"(a01), [a10] "+r"(a10), [a11] "+r"(a11), [w] "+r"(w),
              [x] "+r"(x), [n] "+r"(left), [p] "=&r"(p), [q] "=&r"(q), [s] "=&r"(s), [t] "=&r"(t),
              [u] "=&r"(u), [v] "=&r"(v)
            :
            : "cc", "memory");
    acc[0] = a00;
    acc[1] = a01;
    acc[2] = a10;
    acc[3] = a11;
    return w;
}
#else
ISTH_K_INLINE const int8_t *isth_k_dot_22(const int8_t *w, const int16_t *x, int32_t groups,
                                          uint32_t acc[4]) {
    int32_t left;

    for (left = groups; left > 0; left--) {
        const uint32_t v = isth_k_word(w);
        const uint32_t u = isth_k_word(w + 4);
        uint32_t pairs[4];

        __builtin_memcpy(pairs, x, sizeof pairs);
        acc[0] = isth_k_dual(acc[0], pairs[0], isth_k_even(v));
        acc[0] = isth_k_dual(acc[0], pairs[1], isth_k_odd(v));
        acc[1] = isth_k_dual(acc[1], pairs[2], isth_k_even(v));
        acc[1] = isth_k_dual(acc[1], pairs[3], isth_k_odd(v));
        acc[2] = isth_k_dual(acc[2], pairs[0], isth_k_even(u));
        acc[2] = isth_k_dual(acc[2], pairs[1], isth_k_odd(u));
        acc[3] = isth_k_dual(acc[3], pairs[2], isth_k_even(u));
        acc[3] = isth_k_dual(acc[3], pairs[3], isth_k_odd(u));
        w += 8;
        x += 8;
    }
    return w;
}
#endif

/* acc[filter] of two filters at one position: the inputs are taken apart here. */
ISTH_K_INLINE void isth_k_dot_21(const int8_t *w, const int8_t *x, int32_t inputs,
                                 uint32_t acc[2]) {
    uint32_t a0 = acc[0];
    uint32_t a1 = acc[1];
    int32_t left;

    for (left = inputs; left >= 4; left -= 4) {
        const uint32_t v = isth_k_word(w);
        const uint32_t u = isth_k_word(w + 4);
        const uint32_t word = isth_k_word(x);
        const uint32_t even = isth_k_even(word);
        const uint32_t odd = isth_k_odd(word);

        a0 = isth_k_dual(a0, even, isth_k_even(v));
        a1 = isth_k_dual(a1, even, isth_k_even(u));
        a0 = isth_k_dual(a0, odd, isth_k_odd(v));
        a1 = isth_k_dual(a1, odd, isth_k_odd(u));
        w += 8;
        x += 4;
    }
    for (; left > 0; left--) {
        a0 = isth_k_mac(a0, *x, w[0]);
        a1 = isth_k_mac(a1, *x, w[4]);
        w++;
        x++;
    }
    acc[0] = a0;
    acc[1] = a1;
}

#endif
