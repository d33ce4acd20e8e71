#include "isth_k_matmul.h"

#if defined(ISTH_K_MVE)
#include "isth_k_matmul_mve.h"
#elif defined(ISTH_K_NEON)
#include "isth_k_matmul_neon.h"
#else

#if defined(ISTH_K_DSP)
#include "isth_k_matmul_dsp.h"
#elif defined(ISTH_K_THUMB1)
#include "isth_k_matmul_thumb1.h"
#else
#include "isth_k_matmul_portable.h"
#endif

/* Two sums of one filter; the copy of the filter spares loads that stores to y would ask for. */
ISTH_K_INLINE void finish_2(const isth_k_filters *filters, const uint32_t *acc,
                            const isth_k_filter *filter, int8_t *y0, int8_t *y1, int32_t mode) {
    const isth_k_filter scale = *filter;

    if (mode <= ISTH_K_FAST) {
        *y0 = isth_k_finish_fast(acc[0], &scale, mode == ISTH_K_RELU);
        *y1 = isth_k_finish_fast(acc[1], &scale, mode == ISTH_K_RELU);
    } else {
        *y0 = isth_k_finish_any(acc[0], &scale, &filters->output, mode);
        *y1 = isth_k_finish_any(acc[1], &scale, &filters->output, mode);
    }
}

ISTH_K_INLINE void positions_2(const isth_k_filters *filters, const isth_k_number *x, int8_t *y0,
                               int8_t *y1, int32_t mode) {
    const int8_t *weights = filters->weights;
    const isth_k_filter *filter = filters->filters;
    const int32_t groups = filters->groups;
    const int8_t *const end = y0 + (filters->count & ~INT32_C(1));
    const int odd = filters->count % 2 != 0;

    for (;;) {
        uint32_t acc[4];

        if (y0 == end && !odd) {
            return;
        }
        acc[0] = acc[1] = (uint32_t)filter[0].folded;
        acc[2] = acc[3] = (uint32_t)filter[1].folded;
        weights = isth_k_dot_22(weights, x, groups, acc);
        finish_2(filters, &acc[0], &filter[0], y0, y1, mode);
        if (y0 == end) {
            return;
        }
        finish_2(filters, &acc[2], &filter[1], y0 + 1, y1 + 1, mode);
        filter += 2;
        y0 += 2;
        y1 += 2;
    }
}

void isth_k_matmul_2(const isth_k_filters *filters, const isth_k_number *x0,
                     const isth_k_number *x1, int8_t *y0, int8_t *y1) {
    (void)x1;
    if (filters->mode == ISTH_K_RELU) {
        positions_2(filters, x0, y0, y1, ISTH_K_RELU);
    } else if (filters->mode == ISTH_K_FAST) {
        positions_2(filters, x0, y0, y1, ISTH_K_FAST);
    } else {
        positions_2(filters, x0, y0, y1, filters->mode);
    }
}

void isth_k_matmul_1(const isth_k_filters *filters, const int8_t *x, int8_t *y) {
    const int8_t *weights = filters->weights;
    const int32_t mode = filters->mode;
    int32_t c;

    for (c = 0; c < filters->count; c += 2) {
        const isth_k_filter first = filters->filters[c];
        const isth_k_filter second = filters->filters[c + 1];
        uint32_t acc[2];

        acc[0] = (uint32_t)first.folded;
        acc[1] = (uint32_t)second.folded;
        isth_k_dot_21(weights, x, filters->inputs, acc);
        weights += (ptrdiff_t)8 * filters->groups;
        if (mode <= ISTH_K_FAST) {
            y[c] = isth_k_finish_fast(acc[0], &first, mode == ISTH_K_RELU);
            if (c + 1 < filters->count) {
                y[c + 1] = isth_k_finish_fast(acc[1], &second, mode == ISTH_K_RELU);
            }
        } else {
            y[c] = isth_k_finish_any(acc[0], &first, &filters->output, mode);
            if (c + 1 < filters->count) {
                y[c + 1] = isth_k_finish_any(acc[1], &second, &filters->output, mode);
            }
        }
    }
}
#endif
