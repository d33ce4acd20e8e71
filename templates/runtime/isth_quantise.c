/*
 * Isthmus: values to levels (docs/BITSTREAM.md, chapter 4). Integers only, floats included.
 */
#include "isth_quantise.h"

#include "isth_config.h"

/* Number of thresholds not above the value: binary search, thresholds do not fall. */
static unsigned level_of_i16(const int32_t *thresholds, unsigned count, int32_t value) {
    unsigned low = 0u;
    unsigned high = count;

    while (low < high) {
        unsigned middle = (low + high) / 2u;

        if (thresholds[middle] <= value) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The bits of a float32, byte by byte; an optimising compiler makes one load of it. */
static uint32_t bits_of(const float *value) {
    const uint8_t *from = (const uint8_t *)value;
    uint32_t bits;
    uint8_t *to = (uint8_t *)&bits;
    unsigned i;

    for (i = 0; i < sizeof bits; i++) {
        to[i] = from[i];
    }
    return bits;
}

/* The same for float32, compared by its bits: flipped so that they sort as unsigned integers. */
static unsigned level_of_f32(const uint32_t *thresholds, unsigned count, const float *value) {
    unsigned low = 0u;
    unsigned high = count;
    uint32_t key = bits_of(value);

    key ^= (key & 0x80000000u) != 0u ? 0xFFFFFFFFu : 0x80000000u;
    while (low < high) {
        unsigned middle = (low + high) / 2u;

        if (thresholds[middle] <= key) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

int isth_quantisable(const isth_rung *rung, isth_kind kind) {
    switch (kind) {
    case ISTH_I8:
        return rung->table_i8 != NULL;
    case ISTH_I16:
        return rung->thresholds_i16 != NULL;
    case ISTH_F32:
        return rung->thresholds_f32 != NULL;
    case ISTH_LEVELS:
    default:
        return 1;
    }
}

/* Rows of thresholds: one for all elements, or one for each channel. */
static uint32_t rows_of(const isth_rung *rung) {
#if ISTH_WITH_TRAINED
    if (rung->trained != NULL && rung->trained->grids != 0u) {
        return rung->trained->channels;
    }
#endif
    (void)rung;
    return 1u;
}

void isth_quantise(const isth_rung *rung, isth_kind kind, const void *values, size_t first,
                   size_t count, uint32_t channel, uint8_t *levels) {
    const uint32_t rows = rows_of(rung);
    const unsigned steps = rung->levels - 1u;
    size_t row = channel % rows;
    size_t i;

    switch (kind) {
    case ISTH_I8:
        for (i = 0; i < count; i++) {
            levels[i] = rung->table_i8[((const uint8_t *)values)[first + i] ^ 0x80u];
        }
        break;
    case ISTH_I16:
        for (i = 0; i < count; i++) {
            levels[i] = (uint8_t)level_of_i16(rung->thresholds_i16 + row * steps, steps,
                                              ((const int16_t *)values)[first + i]);
            row = row + 1u != rows ? row + 1u : 0u;
        }
        break;
    case ISTH_F32:
        for (i = 0; i < count; i++) {
            levels[i] = (uint8_t)level_of_f32(rung->thresholds_f32 + row * steps, steps,
                                              (const float *)values + first + i);
            row = row + 1u != rows ? row + 1u : 0u;
        }
        break;
    case ISTH_LEVELS:
    default:
        for (i = 0; i < count; i++) {
            levels[i] = ((const uint8_t *)values)[first + i];
        }
        break;
    }
}
