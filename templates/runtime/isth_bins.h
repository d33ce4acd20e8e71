/*
 * Isthmus: one adaptive binary decision, coded. Private to the runtime.
 *
 *     0            low                        low + range             2^32
 *     |-------------|==== zero ====|== one ==|--------------------------|
 *                                  ^ split
 *
 * `low` and `range` are a window of 32 bits on a number that grows to the right. A one takes the
 * upper part, so the frequent zeros of a clipped feature tensor leave `low` alone and the
 * remainder of the division by 4096 goes to them. Bytes leave at the top when range < 2^24;
 * an addition that overflows `low` carries into bytes already written.
 *
 * A context is P(one) * 65536. With a rate of 5..7 the update keeps it inside
 * [2^rate - 1, 65536 - 2^rate + 1], so (p + 8) >> 4, the estimate rounded to 12 bits, stays in
 * 1..4095 and neither part is ever empty.
 */
#ifndef ISTH_BINS_H
#define ISTH_BINS_H

#include <stddef.h>
#include <stdint.h>

#define ISTH_RANGE_MIN 0x1000000u
#define ISTH_RANGE_START 0xFFFFFFFFu

/* For the compiler alone: a condition that seldom holds; a function not inlined, perhaps unused. */
#if defined(__GNUC__)
#define ISTH_SELDOM(condition) (__builtin_expect((condition) ? 1 : 0, 0) != 0)
#define ISTH_ALONE __attribute__((noinline, unused))
#else
#define ISTH_SELDOM(condition) (condition)
#define ISTH_ALONE
#endif

/*
 * The part of an encoder that the inner loop keeps in registers. Bytes go to `next` until it is
 * `limit`; from then on they are counted in `lost` and not kept.
 */
typedef struct isth_bin_writer {
    uint32_t low;
    uint32_t range;
    uint32_t rate;
    uint8_t *next;
    uint8_t *limit;
    size_t lost;
} isth_bin_writer;

/* Adds one to the number already written: 0xFF bytes turn over until one does not. */
static inline void isth_carry(const isth_bin_writer *w) {
    uint8_t *byte = w->next;

    if (w->lost != 0u) {
        return; /* overflowed: the bytes are not kept, only counted */
    }
    do {
        byte--;
        *byte = (uint8_t)(*byte + 1u);
    } while (*byte == 0u);
}

static inline void isth_shift_byte(isth_bin_writer *w) {
    if (ISTH_SELDOM(w->next == w->limit)) {
        w->lost++;
    } else {
        *w->next++ = (uint8_t)(w->low >> 24);
    }
    w->low <<= 8;
    w->range <<= 8;
}

static inline void isth_renormalise(isth_bin_writer *w) {
    while (ISTH_SELDOM(w->range < ISTH_RANGE_MIN)) {
        isth_shift_byte(w);
    }
}

/* Codes a zero under the probability `p` of a one; returns the probability after it. */
static inline uint32_t isth_code_zero(isth_bin_writer *w, uint32_t p) {
    w->range -= (w->range >> 12) * ((p + 8u) >> 4);
    isth_renormalise(w);
    return p - (p >> w->rate);
}

/* Codes a one under the probability `p` of a one; returns the probability after it. */
static inline uint32_t isth_code_one(isth_bin_writer *w, uint32_t p) {
    uint32_t bound = (w->range >> 12) * ((p + 8u) >> 4);

    w->range -= bound;
    w->low += w->range;
    if (ISTH_SELDOM(w->low < w->range)) {
        isth_carry(w);
    }
    w->range = bound;
    isth_renormalise(w);
    return p + ((65536u - p) >> w->rate);
}

static inline void isth_write_zero(isth_bin_writer *w, uint16_t *context) {
    *context = (uint16_t)isth_code_zero(w, *context);
}

static inline void isth_write_one(isth_bin_writer *w, uint16_t *context) {
    *context = (uint16_t)isth_code_one(w, *context);
}

/* Codes the part start .. start + size of 2^bits equal parts (chapter 13.2). */
static inline void isth_write_part(isth_bin_writer *w, uint32_t start, uint32_t size,
                                   uint32_t bits) {
    uint32_t part = w->range >> bits;
    uint32_t before = part * start;

    w->low += before;
    if (ISTH_SELDOM(w->low < before)) {
        isth_carry(w);
    }
    w->range = part * size;
    isth_renormalise(w);
}

/* The decoder's mirror image; bytes past the end of the payload read as zero. */
typedef struct isth_bin_reader {
    uint32_t code;
    uint32_t range;
    uint32_t rate;
    const uint8_t *data;
    size_t position;
    size_t size;
} isth_bin_reader;

static inline uint32_t isth_next_byte(isth_bin_reader *r) {
    uint32_t byte = r->position < r->size ? r->data[r->position] : 0u;

    r->position++;
    return byte;
}

static inline unsigned isth_read_bin(isth_bin_reader *r, uint16_t *context) {
    uint32_t p = *context;
    uint32_t bound = (r->range >> 12) * ((p + 8u) >> 4);
    uint32_t split = r->range - bound;
    unsigned bin;

    if (r->code < split) {
        r->range = split;
        *context = (uint16_t)(p - (p >> r->rate));
        bin = 0u;
    } else {
        r->code -= split;
        r->range = bound;
        *context = (uint16_t)(p + ((65536u - p) >> r->rate));
        bin = 1u;
    }
    while (r->range < ISTH_RANGE_MIN) {
        r->code = (r->code << 8) | isth_next_byte(r);
        r->range <<= 8;
    }
    return bin;
}

/* Goes on past the part that isth_write_part coded. */
static inline void isth_take_part(isth_bin_reader *r, uint32_t start, uint32_t size,
                                  uint32_t bits) {
    uint32_t part = r->range >> bits;

    r->code -= part * start;
    r->range = part * size;
    while (r->range < ISTH_RANGE_MIN) {
        r->code = (r->code << 8) | isth_next_byte(r);
        r->range <<= 8;
    }
}

#endif /* ISTH_BINS_H */
