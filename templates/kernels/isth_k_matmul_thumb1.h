/* Isthmus kernels: the inner loops of isth_k_matmul.h for processors with eight low registers. */
#ifndef ISTH_K_MATMUL_THUMB1_H
#define ISTH_K_MATMUL_THUMB1_H

#include "isth_k_common.h"

#if defined(ISTH_K_THUMB1)

#if defined(__OPTIMIZE__)
#define ISTH_K_OWN_DOT_22 1
#endif
#include "isth_k_matmul_portable.h"

#if defined(__OPTIMIZE__)
/* One input of two filters at two positions: 15 instructions for 4 products. Sums lie in the high
 * registers, which can only be added to. */
#define ISTH_K_INPUT_22(step)                                                                      \
    "ldrsb %[u], [%[x], %[i]]\n\t"                                                                 \
    "ldrsb %[v], [%[w], %[i]]\n\t"                                                                 \
    "mov %[t], %[u]\n\t"                                                                           \
    "muls %[t], %[v]\n\t"                                                                          \
    "add r8, %[t]\n\t"                                                                             \
    "ldrsb %[t], [%[x], %[j]]\n\t"                                                                 \
    "muls %[v], %[t]\n\t"                                                                          \
    "add r9, %[v]\n\t"                                                                             \
    "ldrsb %[v], [%[w], %[j]]\n\t"                                                                 \
    "muls %[u], %[v]\n\t"                                                                          \
    "add r10, %[u]\n\t"                                                                            \
    "muls %[t], %[v]\n\t"                                                                          \
    "add r11, %[t]\n\t"                                                                            \
    "adds %[i], #" step "\n\t"                                                                     \
    "adds %[j], #" step "\n\t"
#define ISTH_K_PUSH(high) "mov %[u], " high "\n\tpush {%[u]}\n\t"
#define ISTH_K_POP(high) "pop {%[u]}\n\tmov " high ", %[u]\n\t"
#define ISTH_K_READ(high, at) "ldr %[u], [%[i], #" at "]\n\tmov " high ", %[u]\n\t"
#define ISTH_K_WRITE(high, at) "mov %[u], " high "\n\tstr %[u], [%[i], #" at "]\n\t"
/* i: the sums, j: the end of the weights; then the places of the two filters. */
#define ISTH_K_BEFORE                                                                              \
    ISTH_K_PUSH("r8")                                                                              \
    ISTH_K_PUSH("r9")                                                                              \
    ISTH_K_PUSH("r10")                                                                             \
    ISTH_K_PUSH("r11")                                                                             \
    "push {%[i]}\n\t"                                                                              \
    "mov r12, %[j]\n\t" ISTH_K_READ("r8", "0") ISTH_K_READ("r9", "4") ISTH_K_READ("r10", "8")      \
        ISTH_K_READ("r11", "12") "movs %[i], #0\n\t"                                               \
                                 "movs %[j], #4\n"                                                 \
                                 "1:\n\t"
#define ISTH_K_BEHIND                                                                              \
    "cmp %[i], r12\n\t"                                                                            \
    "bne 1b\n\t"                                                                                   \
    "pop {%[i]}\n\t" ISTH_K_WRITE("r8", "0") ISTH_K_WRITE("r9", "4") ISTH_K_WRITE("r10", "8")      \
        ISTH_K_WRITE("r11", "12") ISTH_K_POP("r11") ISTH_K_POP("r10") ISTH_K_POP("r9")             \
            ISTH_K_POP("r8")

/* gcc writes Thumb-1 in the assembler's old syntax and expects that of others. */
#if defined(__clang__)
#define ISTH_K_ASM(text) text
#else
#define ISTH_K_ASM(text) ".syntax unified\n" text ".syntax divided\n"
#endif

/* Written out because compilers keep the sums in memory. acc[2 * filter + position]; returns the
 * weights' end. The high registers are saved here, in 20 bytes of stack, and not named as operands:
 * with -Os gcc takes them out of use. */
ISTH_K_INLINE const int8_t *isth_k_dot_22(const int8_t *w, const int8_t *x, int32_t groups,
                                          uint32_t acc[4]) {
    const uint32_t end = (uint32_t)groups * 8u;
    uint32_t *i = acc;
    uint32_t j = end;
    uint32_t u;
    uint32_t v;
    uint32_t t;

    __asm__ volatile(ISTH_K_ASM(ISTH_K_BEFORE ISTH_K_INPUT_22("1") ISTH_K_INPUT_22("1")
                                    ISTH_K_INPUT_22("1") ISTH_K_INPUT_22("5") ISTH_K_BEHIND)
                     : [i] "+l"(i), [j] "+l"(j), [u] "=&l"(u), [v] "=&l"(v), [t] "=&l"(t)
                     : [w] "l"(w), [x] "l"(x)
                     : "r12", "cc", "memory");
    return w + end;
}
#endif

#endif

#endif
