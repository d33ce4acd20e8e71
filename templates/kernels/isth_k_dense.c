#include "isth_k_dense.h"

/* value * multiplier * 2^shift with one rounding, halves up; shift -31..30. */
static int32_t scale_once(int32_t value, int32_t multiplier, int32_t shift) {
    const uint32_t right = (uint32_t)(31 - shift);
    const int64_t sum = (int64_t)value * multiplier + (INT64_C(1) << (right - 1));
    /* |sum| is below 2^63: a product of at most 2^62 and half of at most 2^62 shifted */
    const int64_t result = sum < 0 ? ~(~sum >> right) : sum >> right;

    return (int32_t)result;
}

static int8_t finish(const isth_k_dense_layer *layer, uint32_t acc, const isth_k_channel *channel) {
    if (layer->single_rounding) {
        return isth_k_clamp(scale_once(isth_k_signed(acc), channel->multiplier, channel->shift),
                            &layer->output);
    }
    return isth_k_finish(acc, channel, &layer->output);
}

void isth_k_dense(const isth_k_dense_layer *layer, const int8_t *x, int8_t *y) {
    int32_t row;

    for (row = 0; row < layer->rows; row++) {
        const int8_t *w0 = layer->weights;
        int32_t c;

        for (c = 0; c < layer->out_c; c += 2) {
            /* An odd last channel is computed twice. */
            const ptrdiff_t second = c + 1 < layer->out_c ? 1 : 0;
            const isth_k_channel *const channel = layer->channels + c;
            const int8_t *const w1 = w0 + second * layer->in_c;
            uint32_t a0 = (uint32_t)channel[0].folded;
            uint32_t a1 = (uint32_t)channel[second].folded;
            int32_t i;

            for (i = 0; i < layer->in_c; i++) {
                a0 = isth_k_mac(a0, x[i], w0[i]);
                a1 = isth_k_mac(a1, x[i], w1[i]);
            }
            y[c] = finish(layer, a0, &channel[0]);
            y[c + second] = finish(layer, a1, &channel[second]);
            w0 += (1 + second) * layer->in_c;
        }
        x += layer->in_c;
        y += layer->out_c;
    }
}
