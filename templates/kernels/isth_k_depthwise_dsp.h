/* Isthmus kernels: 3x3 depthwise with dual 16-bit multiplications. */
#ifndef ISTH_K_DEPTHWISE_DSP_H
#define ISTH_K_DEPTHWISE_DSP_H

#include "isth_k_dsp.h"

/* The weights a, b, c of each row as pairs (a, b) and (b, c). */
typedef struct isth_k_taps_3x3 {
    uint32_t pairs[3][2];
} isth_k_taps_3x3;

ISTH_K_INLINE isth_k_taps_3x3 isth_k_read_taps(const int8_t *weights) {
    isth_k_taps_3x3 taps;
    int row;

    for (row = 0; row < 3; row++) {
        const uint32_t word = isth_k_word(weights + 4 * row); /* a, b, b, c */

        taps.pairs[row][0] = isth_k_even(word);
        taps.pairs[row][1] = isth_k_odd(word);
    }
    return taps;
}

#if defined(__arm__) && defined(__OPTIMIZE__) && !defined(ISTH_K_EMULATE_DSP)
/* r0: plane, r1: sums, r2: how many; r4-r6 and r8-r10: the weights' pairs, row by row; r11 and r3:
 * two sums; r12 and lr: inputs. Registers are named because thirteen of them leave compilers no
 * choice that they find by themselves; r7 is theirs. */
#define ISTH_K_ROW_1(first, next, a, c, more0, more1, move)                                        \
    "ldrd r12, lr, [r0" next "]" move "\n\t" first " r11, r12, " a more0 "\n\t"                    \
    "smlabt r11, lr, " c ", r11\n\t" first " r3, lr, " c more1 "\n\t"                              \
    "smlatb r3, r12, " a ", r3\n\t"
#define ISTH_K_ROW_2(first, next, last, a, c, more0, more1, move)                                  \
    "ldrd r12, lr, [r0" next "]" move "\n\t" first " r11, r12, " a more0 "\n\t"                    \
    "smlabt r11, lr, " c ", r11\n\t"                                                               \
    "ldr r12, [r0" last "]\n\t" first " r3, lr, " a more1 "\n\t"                                   \
    "smlabt r3, r12, " c ", r3\n\t"
#define ISTH_K_END                                                                                 \
    "strd r11, r3, [r1], #8\n\t"                                                                   \
    "subs r2, #2\n\t"                                                                              \
    "bgt 1b\n\t"
#define ISTH_K_PAIR_1(s1, s2)                                                                      \
    ISTH_K_ROW_1("smuad", ", #" s1, "r6", "r8", "", "", "")                                        \
    ISTH_K_ROW_1("smlad", ", #" s2, "r9", "r10", ", r11", ", r3", "")                              \
    ISTH_K_ROW_1("smlad", "", "r4", "r5", ", r11", ", r3", ", #4") ISTH_K_END
#define ISTH_K_PAIR_2(s1, e1, s2, e2)                                                              \
    ISTH_K_ROW_2("smuad", ", #" s1, ", #" e1, "r6", "r8", "", "", "")                              \
    ISTH_K_ROW_2("smlad", ", #" s2, ", #" e2, "r9", "r10", ", r11", ", r3", "")                    \
    ISTH_K_ROW_2("smlad", "", "", "r4", "r5", ", r11", ", r3", ", #8") ISTH_K_END
/* For each of rows: the same with the next row of the plane and of the sums. */
#define ISTH_K_RUN(text)                                                                           \
    for (; rows > 0; rows--) {                                                                     \
        register const int16_t *from __asm__("r0") = x;                                            \
        register uint32_t *to __asm__("r1") = y;                                                   \
        register int32_t left __asm__("r2") = count;                                               \
        register const isth_k_taps_3x3 *pairs __asm__("r3") = taps;                                \
                                                                                                   \
        __asm__ volatile("ldm r3, {r4, r5, r6, r8, r9, r10}\n"                                     \
                         "1:\n\t" text                                                             \
                         : "+r"(from), "+r"(to), "+r"(left), "+r"(pairs)                           \
                         :                                                                         \
                         : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc",          \
                           "memory");                                                              \
        x += step;                                                                                 \
        y += count;                                                                                \
    }

/* Sums without the bias, count of them (rounded up to even) along each of rows rows of the plane.
 * The width of the plane (16, 32 or 64) is part of the instructions, which leaves registers for all
 * the weights: 18 instructions for 18 products, 21 with a stride of 2. */
ISTH_K_SHARED void isth_k_sums_3x3(const isth_k_taps_3x3 *taps, const int16_t *x, int32_t width,
                                   int32_t stride, int32_t count, int32_t rows, uint32_t *y) {
    const ptrdiff_t step = (ptrdiff_t)stride * width;

    if (stride == 1) {
        if (width == 16) {
            ISTH_K_RUN(ISTH_K_PAIR_1("32", "64"));
        } else if (width == 32) {
            ISTH_K_RUN(ISTH_K_PAIR_1("64", "128"));
        } else {
            ISTH_K_RUN(ISTH_K_PAIR_1("128", "256"));
        }
    } else {
        if (width == 16) {
            ISTH_K_RUN(ISTH_K_PAIR_2("32", "40", "64", "72"));
        } else if (width == 32) {
            ISTH_K_RUN(ISTH_K_PAIR_2("64", "72", "128", "136"));
        } else {
            ISTH_K_RUN(ISTH_K_PAIR_2("128", "136", "256", "264"));
        }
    }
}
#else
/* Sums without the bias, count of them (rounded up to even) along each of rows rows of the plane.
 */
ISTH_K_SHARED void isth_k_sums_3x3(const isth_k_taps_3x3 *taps, const int16_t *x, int32_t width,
                                   int32_t stride, int32_t count, int32_t rows, uint32_t *y) {
    for (; rows > 0; rows--) {
        int32_t n;

        for (n = 0; n < count; n += 2) {
            const int16_t *from = x + n * stride;
            int row;

            y[n] = 0;
            y[n + 1] = 0;
            for (row = 0; row < 3; row++) {
                uint32_t pairs[3] = {0};

                __builtin_memcpy(pairs, from, stride == 1 ? 8 : 12);
                y[n] = isth_k_dual(y[n], pairs[0], taps->pairs[row][0]);
                y[n] = isth_k_low_high(y[n], pairs[1], taps->pairs[row][1]);
                if (stride == 1) {
                    y[n + 1] = isth_k_dual(y[n + 1], pairs[1], taps->pairs[row][1]);
                    y[n + 1] = isth_k_high_low(y[n + 1], pairs[0], taps->pairs[row][0]);
                } else {
                    y[n + 1] = isth_k_dual(y[n + 1], pairs[1], taps->pairs[row][0]);
                    y[n + 1] = isth_k_low_high(y[n + 1], pairs[2], taps->pairs[row][1]);
                }
                from += width;
            }
        }
        x += (ptrdiff_t)stride * width;
        y += count;
    }
}
#endif

#define ISTH_K_WIDEST 7 /* columns and rows of the kernels below */

/* For each row, pairs of weights for the first position and for the second, which is half a word on
 * (stride 1: the pairs begin with a zero) or a word (stride 2: the same pairs). */
typedef struct isth_k_pair_taps {
    uint32_t first[ISTH_K_WIDEST][4];
    uint32_t second[ISTH_K_WIDEST][4];
} isth_k_pair_taps;

ISTH_K_INLINE uint32_t isth_k_weight(const int8_t *row, int32_t count, int32_t i) {
    return i >= 0 && i < count ? (uint32_t)row[i] & 0xFFFFu : 0;
}

ISTH_K_INLINE void isth_k_pair_weights(isth_k_pair_taps *taps, const int8_t *w, int32_t rows,
                                       int32_t columns, int32_t words, int32_t stride) {
    const int32_t late = stride == 1 ? 1 : 0;
    int32_t row;

    for (row = 0; row < rows; row++) {
        /* The second of a row of three is written twice. */
        const int8_t three[3] = {w[0], w[columns == 1 ? 0 : 1], w[columns == 3 ? 3 : 0]};
        const int8_t *const from = columns == 3 ? three : w;
        int32_t i;

        for (i = 0; i < words; i++) {
            taps->first[row][i] =
                isth_k_weight(from, columns, 2 * i) | isth_k_weight(from, columns, 2 * i + 1) << 16;
            taps->second[row][i] = isth_k_weight(from, columns, 2 * i - late) |
                                   isth_k_weight(from, columns, 2 * i + 1 - late) << 16;
        }
        w += columns == 3 ? 4 : columns;
    }
}

ISTH_K_INLINE uint32_t isth_k_pair_at(const int16_t *from) {
    uint32_t pair;

    __builtin_memcpy(&pair, __builtin_assume_aligned(from, 4), sizeof pair);
    return pair;
}

/* Both positions' sums; words is a constant wherever this is called from isth_k_pair_sums. */
ISTH_K_INLINE void isth_k_pair_rows(const isth_k_pair_taps *taps, const int16_t *x, ptrdiff_t x_row,
                                    int32_t rows, int32_t words, int32_t stride, uint32_t acc[2]) {
    const int32_t on = stride == 1 ? 0 : 2;
    uint32_t a0 = acc[0];
    uint32_t a1 = acc[1];
    int32_t row;

    for (row = 0; row < rows; row++) {
        int32_t i;

        for (i = 0; i < words; i++) {
            a0 = isth_k_dual(a0, isth_k_pair_at(x + 2 * i), taps->first[row][i]);
            a1 = isth_k_dual(a1, isth_k_pair_at(x + 2 * i + on), taps->second[row][i]);
        }
        x += x_row;
    }
    acc[0] = a0;
    acc[1] = a1;
}

ISTH_K_INLINE void isth_k_pair_sums(const isth_k_pair_taps *taps, const int16_t *x, ptrdiff_t x_row,
                                    int32_t rows, int32_t words, int32_t stride, uint32_t acc[2]) {
    if (words == 3 && stride == 1) {
        isth_k_pair_rows(taps, x, x_row, rows, 3, 1, acc);
    } else if (words == 3) {
        isth_k_pair_rows(taps, x, x_row, rows, 3, 2, acc);
    } else {
        isth_k_pair_rows(taps, x, x_row, rows, words, stride, acc);
    }
}

#endif
