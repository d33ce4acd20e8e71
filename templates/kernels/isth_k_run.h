/* Isthmus kernels: neighbouring elements copied forward, int8. */
#ifndef ISTH_K_RUN_H
#define ISTH_K_RUN_H

#include "isth_k_common.h"

/* Each word is read before it is written, so y may overlap x from before it. */
ISTH_K_INLINE void isth_k_run(const int8_t *x, int8_t *y, int32_t size) {
#if defined(__GNUC__) && (!defined(__arm__) || defined(__ARM_FEATURE_UNALIGNED))
    for (; size >= 4; size -= 4) {
        uint32_t word;

        __builtin_memcpy(&word, x, sizeof word);
        __builtin_memcpy(y, &word, sizeof word);
        x += 4;
        y += 4;
    }
#endif
    for (; size > 0; size--) {
        *y++ = *x++;
    }
}

#endif
