/*
 * Isthmus kernels: register blocks of a convolution.
 *
 * A block computes two output channels at one or two positions at once, so that every byte loaded
 * is used twice. The caller names the taps inside the picture as rows of runs of consecutive bytes
 * (input and weights run alike, channels last).
 */
#ifndef ISTH_K_BLOCK_H
#define ISTH_K_BLOCK_H

#include "isth_k_common.h"

typedef struct isth_k_taps {
    int32_t rows;   /* kernel rows inside the picture */
    int32_t runs;   /* runs in one row */
    int32_t length; /* bytes in one run */
    int32_t x_row;  /* step in the input from one row to the next */
    int32_t x_run;  /* step in the input from one run to the next */
    int32_t w_row;  /* the same in the weights */
    int32_t w_run;
    int32_t w_first; /* the first tap inside a filter */
} isth_k_taps;

typedef struct isth_k_filters {
    const int8_t *weights;          /* [count][size] */
    const isth_k_channel *channels; /* [count] */
    int32_t count; /* at least 1 */
    int32_t size; /* weights of one filter */
} isth_k_filters;

/* All filters at the positions x0 and x1. zero is 0 where the input's zero point is folded into the
 * bias (every tap inside the picture), else the zero point. */
ISTH_K_INLINE void isth_k_block_pair(const isth_k_filters *filters, const isth_k_taps *taps,
                                     const isth_k_output *output, const int8_t *x0,
                                     const int8_t *x1, int8_t *y0, int8_t *y1, int folded,
                                     int32_t zero) {
    int32_t first;

    for (first = 0; first < filters->count; first += 2) {
        /* An odd last filter is computed twice and stored twice in the same place. Everything is
         * indexed: pointers that step by two would leave the end of an odd array behind. */
        const ptrdiff_t second = first + 1 < filters->count ? 1 : 0;
        const isth_k_channel *const channel = filters->channels + first;
        const int8_t *const w0 =
            filters->weights + ((ptrdiff_t)first * filters->size + taps->w_first);
        const int8_t *const w1 = w0 + second * filters->size;
        uint32_t a00 = (uint32_t)(folded ? channel[0].folded : channel[0].bias);
        uint32_t a10 = (uint32_t)(folded ? channel[second].folded : channel[second].bias);
        uint32_t a01 = a00;
        uint32_t a11 = a10;
        int32_t row;

        for (row = 0; row < taps->rows; row++) {
            int32_t run;

            for (run = 0; run < taps->runs; run++) {
                const ptrdiff_t x_offset = row * taps->x_row + run * taps->x_run;
                const ptrdiff_t w_offset = row * taps->w_row + run * taps->w_run;
                const int8_t *p0 = x0 + x_offset;
                const int8_t *p1 = x1 + x_offset;
                const int8_t *q0 = w0 + w_offset;
                const int8_t *q1 = w1 + w_offset;
                int32_t n;

#define ISTH_K_STEP(i)                                                                             \
    do {                                                                                           \
        const int32_t u0 = p0[i] - zero;                                                           \
        const int32_t u1 = p1[i] - zero;                                                           \
        const int32_t v0 = q0[i];                                                                  \
        const int32_t v1 = q1[i];                                                                  \
        a00 = isth_k_mac(a00, u0, v0);                                                             \
        a01 = isth_k_mac(a01, u1, v0);                                                             \
        a10 = isth_k_mac(a10, u0, v1);                                                             \
        a11 = isth_k_mac(a11, u1, v1);                                                             \
        ISTH_K_KEEP(a00);                                                                          \
        ISTH_K_KEEP(a01);                                                                          \
        ISTH_K_KEEP(a10);                                                                          \
        ISTH_K_KEEP(a11);                                                                          \
    } while (0)
                for (n = taps->length; n >= 8; n -= 8) {
                    ISTH_K_STEP(0);
                    ISTH_K_STEP(1);
                    ISTH_K_STEP(2);
                    ISTH_K_STEP(3);
                    ISTH_K_STEP(4);
                    ISTH_K_STEP(5);
                    ISTH_K_STEP(6);
                    ISTH_K_STEP(7);
                    p0 += 8;
                    p1 += 8;
                    q0 += 8;
                    q1 += 8;
                }
                for (; n > 0; n--) {
                    ISTH_K_STEP(0);
                    p0++;
                    p1++;
                    q0++;
                    q1++;
                }
#undef ISTH_K_STEP
            }
        }
        y0[first] = isth_k_finish(a00, &channel[0], output);
        y1[first] = isth_k_finish(a01, &channel[0], output);
        y0[first + second] = isth_k_finish(a10, &channel[second], output);
        y1[first + second] = isth_k_finish(a11, &channel[second], output);
    }
}

/* All filters at one position. */
ISTH_K_INLINE void isth_k_block_single(const isth_k_filters *filters, const isth_k_taps *taps,
                                       const isth_k_output *output, const int8_t *x, int8_t *y,
                                       int folded, int32_t zero) {
    int32_t first;

    for (first = 0; first < filters->count; first += 2) {
        const ptrdiff_t second = first + 1 < filters->count ? 1 : 0;
        const isth_k_channel *const channel = filters->channels + first;
        const int8_t *const w0 =
            filters->weights + ((ptrdiff_t)first * filters->size + taps->w_first);
        const int8_t *const w1 = w0 + second * filters->size;
        uint32_t a0 = (uint32_t)(folded ? channel[0].folded : channel[0].bias);
        uint32_t a1 = (uint32_t)(folded ? channel[second].folded : channel[second].bias);
        int32_t row;

        for (row = 0; row < taps->rows; row++) {
            int32_t run;

            for (run = 0; run < taps->runs; run++) {
                const ptrdiff_t w_offset = row * taps->w_row + run * taps->w_run;
                const int8_t *p = x + (row * taps->x_row + run * taps->x_run);
                const int8_t *q0 = w0 + w_offset;
                const int8_t *q1 = w1 + w_offset;
                int32_t n;

#define ISTH_K_STEP(i)                                                                             \
    do {                                                                                           \
        const int32_t u = p[i] - zero;                                                             \
        a0 = isth_k_mac(a0, u, q0[i]);                                                             \
        a1 = isth_k_mac(a1, u, q1[i]);                                                             \
        ISTH_K_KEEP(a0);                                                                           \
        ISTH_K_KEEP(a1);                                                                           \
    } while (0)
                for (n = taps->length; n >= 4; n -= 4) {
                    ISTH_K_STEP(0);
                    ISTH_K_STEP(1);
                    ISTH_K_STEP(2);
                    ISTH_K_STEP(3);
                    p += 4;
                    q0 += 4;
                    q1 += 4;
                }
                for (; n > 0; n--) {
                    ISTH_K_STEP(0);
                    p++;
                    q0++;
                    q1++;
                }
#undef ISTH_K_STEP
            }
        }
        y[first] = isth_k_finish(a0, &channel[0], output);
        y[first + second] = isth_k_finish(a1, &channel[second], output);
    }
}

#endif
