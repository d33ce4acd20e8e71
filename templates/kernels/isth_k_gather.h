/* Isthmus kernels: the columns of isth_k_matmul.h, filled. */
#ifndef ISTH_K_GATHER_H
#define ISTH_K_GATHER_H

#include "isth_k_dsp.h"
#include "isth_k_matmul.h"

#if defined(ISTH_K_MVE)
#include <arm_mve.h>
#endif

/* The scratch of a layer with groups of four inputs, and more for their bytes where they do not
 * come in fours: the generator plans 16 * groups + (inputs % 4 ? 4 * groups : 0) bytes. */

#if defined(ISTH_K_DIRECT)
/* Column slot (0 or 1) in scratch. */
ISTH_K_INLINE isth_k_number *isth_k_column(int8_t *scratch, int32_t groups, int32_t slot) {
    return scratch + (ptrdiff_t)slot * 4 * groups;
}
#else
ISTH_K_INLINE isth_k_number *isth_k_column(int8_t *scratch, int32_t groups, int32_t slot) {
    (void)groups;
    return (isth_k_number *)(void *)scratch + 4 * slot;
}

/* Four bytes from a 4-byte boundary become four inputs of a column. */
ISTH_K_INLINE void isth_k_put_four(isth_k_number *to, const int8_t *from) {
#if defined(ISTH_K_DSP)
    const uint32_t word = isth_k_word(from);
    const uint32_t even = isth_k_even(word);
    const uint32_t odd = isth_k_odd(word);

    __builtin_memcpy(__builtin_assume_aligned(to, 4), &even, sizeof even);
    __builtin_memcpy(__builtin_assume_aligned(to + 2, 4), &odd, sizeof odd);
#elif defined(__GNUC__)
    __builtin_memcpy(__builtin_assume_aligned(to, 4), __builtin_assume_aligned(from, 4), 4);
#else
    to[0] = from[0];
    to[1] = from[1];
    to[2] = from[2];
    to[3] = from[3];
#endif
}

/* groups times four bytes; returns where the next ones go. */
ISTH_K_INLINE isth_k_number *isth_k_put(isth_k_number *to, const int8_t *from, int32_t groups) {
    int32_t left;

    for (left = groups; left >= 4; left -= 4) {
        isth_k_put_four(to, from);
        isth_k_put_four(to + 8, from + 4);
        isth_k_put_four(to + 16, from + 8);
        isth_k_put_four(to + 24, from + 12);
        to += 32;
        from += 16;
    }
    for (; left > 0; left--) {
        isth_k_put_four(to, from);
        to += 8;
        from += 4;
    }
    return to;
}

/* groups times four equal inputs. */
ISTH_K_INLINE isth_k_number *isth_k_put_same(isth_k_number *to, int32_t value, int32_t groups) {
    int32_t left;

    for (left = groups; left > 0; left--) {
        to[0] = (isth_k_number)value;
        to[1] = (isth_k_number)value;
        to[2] = (isth_k_number)value;
        to[3] = (isth_k_number)value;
        to += 8;
    }
    return to;
}
#endif

/* count bytes, side by side; returns where the next ones go. */
ISTH_K_INLINE int8_t *isth_k_append(int8_t *to, const int8_t *from, int32_t count) {
#if defined(ISTH_K_MVE)
    int32_t left;

    for (left = count; left > 0; left -= 16) {
        const mve_pred16_t some = vctp8q((uint32_t)left);

        vstrbq_p_s8(to + (count - left), vldrbq_z_s8(from + (count - left), some), some);
    }
    return to + count;
#else
#if defined(ISTH_K_DSP)
    /* Words from any address; the last one may begin in the one before. */
    if (count >= 4) {
        for (; count > 4; count -= 4) {
            __builtin_memcpy(to, from, 4);
            to += 4;
            from += 4;
        }
        to += count - 4;
        from += count - 4;
        __builtin_memcpy(to, from, 4);
        return to + 4;
    }
#endif
    for (; count > 0; count--) {
        *to++ = *from++;
    }
    return to;
#endif
}

ISTH_K_INLINE int8_t *isth_k_copy_same(int8_t *to, int32_t value, int32_t count) {
#if defined(ISTH_K_MVE)
    int32_t left;

    for (left = count; left > 0; left -= 16) {
        vstrbq_p_s8(to + (count - left), vdupq_n_s8((int8_t)value), vctp8q((uint32_t)left));
    }
    return to + count;
#else
    for (; count > 0; count--) {
        *to++ = (int8_t)value;
    }
    return to;
#endif
}

#endif
