/* Isthmus kernels: the inner loops of isth_k_matmul.h in plain C. */
#ifndef ISTH_K_MATMUL_PORTABLE_H
#define ISTH_K_MATMUL_PORTABLE_H

#include "isth_k_matmul.h"

#if !defined(ISTH_K_OWN_DOT_22)
/* acc[2 * filter + position] of two filters at two positions; returns the weights' end. */
ISTH_K_INLINE const int8_t *isth_k_dot_22(const int8_t *w, const int8_t *x, int32_t groups,
                                          uint32_t acc[4]) {
    uint32_t a00 = acc[0];
    uint32_t a01 = acc[1];
    uint32_t a10 = acc[2];
    uint32_t a11 = acc[3];
    int32_t left;

    for (left = groups; left > 0; left--) {
#define ISTH_K_STEP(i)                                                                             \
    do {                                                                                           \
        const int32_t u0 = x[i];                                                                   \
        const int32_t u1 = x[(i) + 4];                                                             \
        const int32_t v0 = w[i];                                                                   \
        const int32_t v1 = w[(i) + 4];                                                             \
        a00 = isth_k_mac(a00, u0, v0);                                                             \
        a01 = isth_k_mac(a01, u1, v0);                                                             \
        a10 = isth_k_mac(a10, u0, v1);                                                             \
        a11 = isth_k_mac(a11, u1, v1);                                                             \
        ISTH_K_KEEP(a00);                                                                          \
        ISTH_K_KEEP(a01);                                                                          \
        ISTH_K_KEEP(a10);                                                                          \
        ISTH_K_KEEP(a11);                                                                          \
    } while (0)
        ISTH_K_STEP(0);
        ISTH_K_STEP(1);
        ISTH_K_STEP(2);
        ISTH_K_STEP(3);
#undef ISTH_K_STEP
        w += 8;
        x += 8;
    }
    acc[0] = a00;
    acc[1] = a01;
    acc[2] = a10;
    acc[3] = a11;
    return w;
}
#endif

/* acc[filter] of two filters at one position. */
ISTH_K_INLINE void isth_k_dot_21(const int8_t *w, const int8_t *x, int32_t inputs,
                                 uint32_t acc[2]) {
    uint32_t a0 = acc[0];
    uint32_t a1 = acc[1];
    int32_t left;

#define ISTH_K_STEP(i)                                                                             \
    do {                                                                                           \
        const int32_t u = x[i];                                                                    \
        a0 = isth_k_mac(a0, u, w[i]);                                                              \
        a1 = isth_k_mac(a1, u, w[(i) + 4]);                                                        \
        ISTH_K_KEEP(a0);                                                                           \
        ISTH_K_KEEP(a1);                                                                           \
    } while (0)
    for (left = inputs; left >= 4; left -= 4) {
        ISTH_K_STEP(0);
        ISTH_K_STEP(1);
        ISTH_K_STEP(2);
        ISTH_K_STEP(3);
        w += 8;
        x += 4;
    }
    for (; left > 0; left--) {
        ISTH_K_STEP(0);
        w++;
        x++;
    }
#undef ISTH_K_STEP
    acc[0] = a0;
    acc[1] = a1;
}

#endif
