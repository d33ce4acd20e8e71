/* Isthmus kernels: the inner loops of isth_k_matmul.h for processors with eight low registers. */
#ifndef ISTH_K_MATMUL_THUMB1_H
#define ISTH_K_MATMUL_THUMB1_H

#include "isth_k_common.h"

#if defined(ISTH_K_THUMB1)

/* With -Os gcc takes the high registers out of use, and could not place the sums. */
#if defined(__OPTIMIZE__) && (!defined(__OPTIMIZE_SIZE__) || defined(__clang__))
#define ISTH_K_OWN_DOT_22 1
#endif
#include "isth_k_matmul_portable.h"

#if defined(ISTH_K_OWN_DOT_22)
/* One input of two filters at two positions: 15 instructions for 4 products. Sums lie in the high
 * registers, which can only be added to. */
#define ISTH_K_INPUT_22(step)                                                                      \
    "ldrsb %[u], [%[x], %[i]]\n\t"                                                                 \
    "ldrsb %[v], [%[w], %[i]]\n\t"                                                                 \
    "mov %[t], %[u]\n\t"                                                                           \
    "muls %[t], %[v]\n\t"                                                                          \
    "add %[a00], %[t]\n\t"                                                                         \
    "ldrsb %[t], [%[x], %[j]]\n\t"                                                                 \
    "muls %[v], %[t]\n\t"                                                                          \
    "add %[a01], %[v]\n\t"                                                                         \
    "ldrsb %[v], [%[w], %[j]]\n\t"                                                                 \
    "muls %[u], %[v]\n\t"                                                                          \
    "add %[a10], %[u]\n\t"                                                                         \
    "muls %[t], %[v]\n\t"                                                                          \
    "add %[a11], %[t]\n\t"                                                                         \
    "adds %[i], #" step "\n\t"                                                                     \
    "adds %[j], #" step "\n\t"

/* gcc writes Thumb-1 in the assembler's old syntax and expects that of others. */
#if defined(__clang__)
#define ISTH_K_ASM(text) text
#else
#define ISTH_K_ASM(text) ".syntax unified\n" text ".syntax divided\n"
#endif

/* Written out because compilers keep the sums in memory. acc[2 * filter + position]; returns the
 * weights' end. */
ISTH_K_INLINE const int8_t *isth_k_dot_22(const int8_t *w, const int8_t *x, int32_t groups,
                                          uint32_t acc[4]) {
    uint32_t a00 = acc[0];
    uint32_t a01 = acc[1];
    uint32_t a10 = acc[2];
    uint32_t a11 = acc[3];
    const uint32_t end = (uint32_t)groups * 8u;
    uint32_t i = 0;
    uint32_t j = 4;
    uint32_t u;
    uint32_t v;
    uint32_t t;

    __asm__(ISTH_K_ASM("1:\n\t" ISTH_K_INPUT_22("1") ISTH_K_INPUT_22("1") ISTH_K_INPUT_22("1")
                           ISTH_K_INPUT_22("5") "cmp %[i], %[end]\n\t"
                                                "bne 1b\n\t")
            : [a00] "+h"(a00), [a01] "+h"(a01), [a10] "+h"(a10), [a11] "+h"(a11), [i] "+l"(i),
              [j] "+l"(j), [u] "=&l"(u), [v] "=&l"(v), [t] "=&l"(t)
            : [w] "l"(w), [x] "l"(x), [end] "h"(end)
            : "cc", "memory");
    acc[0] = a00;
    acc[1] = a01;
    acc[2] = a10;
    acc[3] = a11;
    return w + end;
}
#endif

#endif

#endif
