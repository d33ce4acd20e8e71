#include "isth_k_softmax.h"

/* value * 2^exponent, saturating. */
static int32_t shift_left(int32_t value, uint32_t exponent) {
    const int32_t limit = INT32_MAX >> exponent;

    if (value > limit) {
        return INT32_MAX;
    }
    if (value < -limit - 1) {
        return INT32_MIN;
    }
    return value * (INT32_C(1) << exponent);
}

/* 1 / (1 + a) for a in [0, 1), Q0.31: three steps of Newton and Raphson from 48/17 - 32/17 d, where
 * d = (1 + a) / 2 and x approximates 1 / d in Q2.29. */
static int32_t reciprocal(int32_t a) {
    const int32_t one = INT32_C(1) << 29;
    const int32_t d = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
    int32_t x = INT32_C(1515870810) + isth_k_high_multiply(d, INT32_C(-1010580540));
    int step;

    for (step = 0; step < 3; step++) {
        const int32_t rest = one - isth_k_high_multiply(d, x);

        x += shift_left(isth_k_high_multiply(x, rest), 2);
    }
    return shift_left(x, 1);
}

void isth_k_softmax(const isth_k_softmax_layer *layer, const int8_t *x, int8_t *y) {
    int32_t row;

    for (row = 0; row < layer->rows; row++) {
        int32_t largest = INT8_MIN;
        uint32_t sum = 0;
        uint32_t zeros = 0;
        int32_t scale;
        int32_t i;

        for (i = 0; i < layer->depth; i++) {
            largest = x[i] > largest ? x[i] : largest;
        }
        /* Q12.19; the largest element alone adds 2^19, so the sum is never zero. */
        for (i = 0; i < layer->depth; i++) {
            sum += (uint32_t)isth_k_round_shift(layer->exponentials[largest - x[i]], 12);
        }
        while ((sum & UINT32_C(0x80000000)) == 0) {
            sum <<= 1;
            zeros++;
        }
        scale = reciprocal((int32_t)(sum - UINT32_C(0x80000000)));
        for (i = 0; i < layer->depth; i++) {
            const int32_t share = isth_k_high_multiply(scale, layer->exponentials[largest - x[i]]);
            /* Past 31 (more than 511 near-equal classes) every share rounds to zero. */
            const int32_t level = zeros < 4 ? 0 : isth_k_round_shift(share, 35 - zeros);

            y[i] = (int8_t)(level > INT8_MAX - INT8_MIN ? INT8_MAX : level + INT8_MIN);
        }
        x += layer->depth;
        y += layer->depth;
    }
}
