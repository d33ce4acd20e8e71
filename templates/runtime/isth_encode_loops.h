/*
 * Isthmus: the encoder's inner loops (docs/BITSTREAM.md, chapters 5 to 7). Private to the runtime.
 *
 * Each loop keeps the writer in registers: it is a local of the loop's own function and no address
 * of it leaves. With a `table` the values are int8 and the table gives their levels; without one
 * they are levels. Callers give NULL or not as a constant, so each form is compiled for itself.
 */
#ifndef ISTH_ENCODE_LOOPS_H
#define ISTH_ENCODE_LOOPS_H

#include "isth_bins.h"
#include "isth_codec.h"
#include "isth_config.h"

static inline isth_bin_writer isth_writer_load(const isth_encoder *e) {
    isth_bin_writer w;

    w.low = e->low;
    w.range = e->range;
    w.rate = e->rung->rate;
    w.out = e->out;
    w.position = e->position;
    w.capacity = e->capacity;
    return w;
}

static inline void isth_writer_store(isth_encoder *e, const isth_bin_writer *w) {
    e->low = w->low;
    e->range = w->range;
    e->position = w->position;
}

static inline unsigned isth_level(const uint8_t *table, uint8_t value) {
    return table != NULL ? table[value ^ 0x80u] : value;
}

#if ISTH_WITH_SUFFIX
/* The bits below the unary class: a tree of contexts in class 0, one context a bit elsewhere. */
static inline void isth_write_suffix(isth_bin_writer *w, uint16_t *contexts, unsigned bits,
                                     unsigned class_, unsigned level) {
    uint16_t *shared = contexts + ((1u << bits) - 1u);
    unsigned node = 1u;
    unsigned i;

    for (i = 0; i < bits; i++) {
        unsigned bit = (level >> (bits - 1u - i)) & 1u;
        uint16_t *context = class_ == 0u ? &contexts[node - 1u] : &shared[i];

        if (bit != 0u) {
            isth_write_one(w, context);
        } else {
            isth_write_zero(w, context);
        }
        node = 2u * node + bit;
    }
}

/* A level with its suffix; of the context set at `set`. */
static inline void isth_write_level(isth_bin_writer *w, const isth_rung *rung, uint16_t *set,
                                    unsigned level) {
    unsigned last = rung->classes - 1u;
    unsigned class_ = level >> rung->suffix_bits;
    unsigned i;

    for (i = 0; i < class_; i++) {
        isth_write_one(w, set + i);
    }
    if (class_ < last) {
        isth_write_zero(w, set + class_);
    }
    isth_write_suffix(w, set + last, rung->suffix_bits, class_, level);
}
#endif

/*
 * One context set for all elements, up to 16 levels: the context of the first bin, which every
 * element uses, stays in a register too.
 */
static inline void isth_code_one_set(isth_encoder *e, const uint8_t *table, const uint8_t *values,
                                     size_t count) {
    isth_bin_writer w = isth_writer_load(e);
    uint16_t *contexts = e->contexts;
    const uint16_t *end = contexts + (e->rung->classes - 1u);
    const uint8_t *stop = values + count;
    uint32_t first = contexts[0];

    while (values != stop) {
        unsigned class_ = isth_level(table, *values++);

        if (class_ == 0u) {
            first = isth_code_zero(&w, first);
        } else {
            uint16_t *context = contexts + 1;

            first = isth_code_one(&w, first);
            while (--class_ != 0u) {
                isth_write_one(&w, context++);
            }
            if (context != end) {
                isth_write_zero(&w, context);
            }
        }
    }
    contexts[0] = (uint16_t)first;
    isth_writer_store(e, &w);
}

#if ISTH_WITH_NEIGHBOUR
/*
 * Elements of successive channels of one position, up to 16 levels. row[step] holds the class above
 * (what was coded there in the row before) until the element's own class takes its place, and
 * row[0] the class to the left.
 */
static inline void isth_code_neighbours(isth_encoder *e, const uint8_t *table,
                                        const uint8_t *values, size_t count) {
    const isth_choice *choice = e->rung->choice;
    isth_bin_writer w = isth_writer_load(e);
    const uint16_t *base = choice->channel_base + e->channel;
    const uint8_t *class_bins = choice->class_bins;
    const uint8_t *stop = values + count;
    uint16_t *contexts = e->contexts;
    uint8_t *row = e->row + e->column;
    const size_t step = choice->step;
    const unsigned class_count = choice->class_count;
    const unsigned last = e->rung->classes - 1u;

    while (values != stop) {
        unsigned class_ = isth_level(table, *values++);
        uint16_t *context = contexts + *base++ + row[step] * class_count + row[0];
        uint16_t *end = context + last;

        row[step] = class_bins[class_];
        row++;
        for (; class_ != 0u; class_--) {
            isth_write_one(&w, context++);
        }
        if (context != end) {
            isth_write_zero(&w, context);
        }
    }
    isth_writer_store(e, &w);
}
#endif

#if ISTH_WITH_SUFFIX
/* Any number of levels, either scheme: the general and slower form of both loops. */
static inline void isth_code_suffixed(isth_encoder *e, const uint8_t *table, const uint8_t *values,
                                      size_t count) {
    const isth_rung *rung = e->rung;
    const isth_choice *choice = e->flat != 0u ? NULL : rung->choice;
    isth_bin_writer w = isth_writer_load(e);
    uint8_t *row = e->row + e->column;
    size_t i;

    for (i = 0; i < count; i++) {
        unsigned level = isth_level(table, values[i]);
        uint16_t *set = e->contexts;

        if (choice != NULL) {
            set += choice->channel_base[e->channel + i];
            set += row[i + choice->step] * (unsigned)choice->class_count + row[i];
            row[i + choice->step] = choice->class_bins[level];
        }
        isth_write_level(&w, rung, set, level);
    }
    isth_writer_store(e, &w);
}
#endif

#endif /* ISTH_ENCODE_LOOPS_H */
