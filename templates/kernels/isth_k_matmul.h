/*
 * Isthmus kernels: columns times filters, the inner loops of every layer with dense weights.
 *
 * A column holds the inputs of one output position, four by four. Two columns are worked on at
 * once, against two filters at once, so that every number loaded is used twice.
 *
 *   weights: [filters / 2][groups][2][4], zeros where there is no filter or no input
 *   columns: [groups][2][4] of isth_k_number (DSP: evens before odds in each four), or, in the
 *            tiers with long vectors, anywhere in memory, one input after the other
 */
#ifndef ISTH_K_MATMUL_H
#define ISTH_K_MATMUL_H

#include "isth_k_common.h"

#if defined(ISTH_K_MVE) || defined(ISTH_K_NEON)
#define ISTH_K_DIRECT 1 /* columns are read where they lie */
typedef int8_t isth_k_number;
#elif defined(ISTH_K_DSP)
typedef int16_t isth_k_number;
#else
typedef int8_t isth_k_number;
#endif

/* Columns are laid out by tier, so files of different tiers must not be linked: the names differ.
 */
#if defined(ISTH_K_DIRECT)
#define isth_k_matmul_2 isth_k_matmul_2_direct
#define isth_k_matmul_1 isth_k_matmul_1_direct
#elif defined(ISTH_K_DSP)
#define isth_k_matmul_2 isth_k_matmul_2_pairs
#define isth_k_matmul_1 isth_k_matmul_1_pairs
#else
#define isth_k_matmul_2 isth_k_matmul_2_bytes
#define isth_k_matmul_1 isth_k_matmul_1_bytes
#endif

typedef struct isth_k_filters {
    const int8_t *weights;
    const isth_k_filter *filters;
    isth_k_output output;
    int32_t mode;   /* ISTH_K_RELU ... */
    int32_t count;  /* filters */
    int32_t inputs; /* of one filter */
    int32_t groups; /* inputs / 4, rounded up */
} isth_k_filters;

/* All filters at two positions, their outputs from y0 and y1 on. Where ISTH_K_DIRECT is defined x1
 * is the second column, else x0 holds both: 16 bytes a group. */
void isth_k_matmul_2(const isth_k_filters *filters, const isth_k_number *x0,
                     const isth_k_number *x1, int8_t *y0, int8_t *y1);

/* All filters at one position, whose inputs lie side by side at x. */
void isth_k_matmul_1(const isth_k_filters *filters, const int8_t *x, int8_t *y);

#endif
