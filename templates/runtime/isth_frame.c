/*
 * Isthmus: whole frames, and frames within a byte budget.
 */
#include "isth_codec.h"

/* A function for each type of element, so that a program links only those it calls. */
typedef isth_status (*push_function)(isth_encoder *e, const void *tensor, size_t first,
                                     size_t count);

static isth_status push_i8(isth_encoder *e, const void *tensor, size_t first, size_t count) {
    return isth_encoder_push_i8(e, (const int8_t *)tensor + first, count);
}

static isth_status push_i16(isth_encoder *e, const void *tensor, size_t first, size_t count) {
    return isth_encoder_push_i16(e, (const int16_t *)tensor + first, count);
}

static isth_status push_f32(isth_encoder *e, const void *tensor, size_t first, size_t count) {
    return isth_encoder_push_f32(e, (const float *)tensor + first, count);
}

static isth_status push_levels(isth_encoder *e, const void *tensor, size_t first, size_t count) {
    return isth_encoder_push_levels(e, (const uint8_t *)tensor + first, count);
}

static isth_status encode_frame(isth_encoder *e, const isth_profile *profile, unsigned rung,
                                uint16_t sequence, push_function push, const void *tensor,
                                uint16_t *workspace, size_t words, uint8_t *out, size_t capacity,
                                size_t *length) {
    isth_status result = ISTH_OK;
    size_t first = 0u;
    size_t total = 0u;
    unsigned slice;

    *length = 0u;
    for (slice = 0; slice < profile->slices; slice++) {
        size_t used = total < capacity ? total : capacity;
        size_t count = isth_slice_elements(profile, slice);
        size_t slice_length = 0u;
        isth_status status = isth_encoder_begin(e, profile, rung, sequence, slice, workspace, words,
                                                out + used, capacity - used);

        if (status == ISTH_OK) {
            status = push(e, tensor, first, count);
        }
        if (status == ISTH_OK) {
            status = isth_encoder_finish(e, &slice_length);
        }
        if (status == ISTH_E_BUFFER) {
            result = status;
        } else if (status != ISTH_OK) {
            return status;
        }
        first += count;
        total += slice_length;
    }
    *length = total;
    return result;
}

isth_status isth_encode_i8(isth_encoder *e, const isth_profile *profile, unsigned rung,
                           uint16_t sequence, const int8_t *tensor, uint16_t *workspace,
                           size_t words, uint8_t *out, size_t capacity, size_t *length) {
    return encode_frame(e, profile, rung, sequence, push_i8, tensor, workspace, words, out,
                        capacity, length);
}

isth_status isth_encode_i16(isth_encoder *e, const isth_profile *profile, unsigned rung,
                            uint16_t sequence, const int16_t *tensor, uint16_t *workspace,
                            size_t words, uint8_t *out, size_t capacity, size_t *length) {
    return encode_frame(e, profile, rung, sequence, push_i16, tensor, workspace, words, out,
                        capacity, length);
}

isth_status isth_encode_f32(isth_encoder *e, const isth_profile *profile, unsigned rung,
                            uint16_t sequence, const float *tensor, uint16_t *workspace,
                            size_t words, uint8_t *out, size_t capacity, size_t *length) {
    return encode_frame(e, profile, rung, sequence, push_f32, tensor, workspace, words, out,
                        capacity, length);
}

isth_status isth_encode_levels(isth_encoder *e, const isth_profile *profile, unsigned rung,
                               uint16_t sequence, const uint8_t *levels, uint16_t *workspace,
                               size_t words, uint8_t *out, size_t capacity, size_t *length) {
    return encode_frame(e, profile, rung, sequence, push_levels, levels, workspace, words, out,
                        capacity, length);
}

/* length * ratio / 4096, rounded up, without a product of more than 32 bits. */
static size_t scaled(size_t length, uint32_t ratio) {
    size_t high = length >> 12;
    size_t low = length & 0xFFFu;

    return high * ratio + ((low * ratio + 0xFFFu) >> 12);
}

static push_function push_of(isth_kind kind) {
    switch (kind) {
    case ISTH_I8:
        return push_i8;
    case ISTH_I16:
        return push_i16;
    case ISTH_F32:
        return push_f32;
    case ISTH_LEVELS:
    default:
        return push_levels;
    }
}

/* The first rung that begins at or below the budget, else the last. */
static unsigned suggested(const isth_profile *profile, size_t budget) {
    unsigned rung = 0u;

    while (rung + 1u < profile->rung_count && profile->rungs[rung].budget_start > budget) {
        rung++;
    }
    return rung;
}

/* The first rung that fits, as far as can be told from `length` bytes of rung `coded`. */
static unsigned expected(const isth_profile *profile, unsigned coded, size_t length,
                         size_t budget) {
    const uint16_t *ratios = profile->rungs[coded].size_ratios;
    unsigned rung;

    for (rung = 0u; rung + 1u < profile->rung_count; rung++) {
        if (rung == coded ? length <= budget
                          : ratios != NULL && scaled(length, ratios[rung]) <= budget) {
            break;
        }
    }
    return rung;
}

isth_status isth_encode_within(isth_encoder *e, const isth_profile *profile, uint16_t sequence,
                               isth_kind kind, const void *tensor, uint16_t *workspace,
                               size_t words, uint8_t *out, size_t budget, size_t *length,
                               unsigned *rung) {
    unsigned first = suggested(profile, budget);
    isth_status status = encode_frame(e, profile, first, sequence, push_of(kind), tensor, workspace,
                                      words, out, budget, length);

    *rung = first;
    if (status != ISTH_OK && status != ISTH_E_BUFFER) {
        return status;
    }
    *rung = expected(profile, first, *length, budget);
    if (*rung == first) {
        return status;
    }
    return encode_frame(e, profile, *rung, sequence, push_of(kind), tensor, workspace, words, out,
                        budget, length);
}
