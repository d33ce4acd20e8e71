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

static int8_t finish(const isth_k_filters *filters, uint32_t acc, const isth_k_filter *filter) {
    return isth_k_finish_any(acc, filter, &filters->output, filters->mode == ISTH_K_SINGLE);
}

void isth_k_matmul_2(const isth_k_filters *filters, const isth_k_number *x0,
                     const isth_k_number *x1, int8_t *y0, int8_t *y1) {
    const int8_t *weights = filters->weights;
    const int32_t mode = filters->mode;
    int32_t c;

    (void)x1;
    for (c = 0; c < filters->count; c += 2) {
        const isth_k_filter *const filter = filters->filters + c;
        const int pair = c + 1 < filters->count;
        uint32_t acc[4];

        acc[0] = acc[1] = (uint32_t)filter[0].folded;
        acc[2] = acc[3] = (uint32_t)filter[1].folded;
        isth_k_dot_22(weights, x0, filters->groups, acc);
        weights += (ptrdiff_t)8 * filters->groups;
        if (mode == ISTH_K_RELU && pair) {
            y0[c] = isth_k_finish_fast(acc[0], &filter[0], 1);
            y1[c] = isth_k_finish_fast(acc[1], &filter[0], 1);
            y0[c + 1] = isth_k_finish_fast(acc[2], &filter[1], 1);
            y1[c + 1] = isth_k_finish_fast(acc[3], &filter[1], 1);
        } else if (mode == ISTH_K_FAST && pair) {
            y0[c] = isth_k_finish_fast(acc[0], &filter[0], 0);
            y1[c] = isth_k_finish_fast(acc[1], &filter[0], 0);
            y0[c + 1] = isth_k_finish_fast(acc[2], &filter[1], 0);
            y1[c + 1] = isth_k_finish_fast(acc[3], &filter[1], 0);
        } else {
            y0[c] = finish(filters, acc[0], &filter[0]);
            y1[c] = finish(filters, acc[1], &filter[0]);
            if (pair) {
                y0[c + 1] = finish(filters, acc[2], &filter[1]);
                y1[c + 1] = finish(filters, acc[3], &filter[1]);
            }
        }
    }
}

void isth_k_matmul_1(const isth_k_filters *filters, const int8_t *x, int8_t *y) {
    const int8_t *weights = filters->weights;
    const int32_t mode = filters->mode;
    int32_t c;

    for (c = 0; c < filters->count; c += 2) {
        const isth_k_filter *const filter = filters->filters + c;
        const int pair = c + 1 < filters->count;
        uint32_t acc[2];

        acc[0] = (uint32_t)filter[0].folded;
        acc[1] = (uint32_t)filter[1].folded;
        isth_k_dot_21(weights, x, filters->inputs, acc);
        weights += (ptrdiff_t)8 * filters->groups;
        if (mode <= ISTH_K_FAST && pair) {
            y[c] = isth_k_finish_fast(acc[0], &filter[0], mode == ISTH_K_RELU);
            y[c + 1] = isth_k_finish_fast(acc[1], &filter[1], mode == ISTH_K_RELU);
        } else {
            y[c] = finish(filters, acc[0], &filter[0]);
            if (pair) {
                y[c + 1] = finish(filters, acc[1], &filter[1]);
            }
        }
    }
}
#endif
