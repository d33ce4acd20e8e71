/*
 * Isthmus: the encoder's inner loops (docs/BITSTREAM.md, chapters 5 to 7). Private to the runtime.
 *
 * Each loop keeps the writer in registers: it is a local of the loop's own function and no address
 * of it leaves. The level of value v is centre[v]: `centre` is the middle of the table of int8, or
 * isth_same_level for values that are levels already.
 */
#ifndef ISTH_ENCODE_LOOPS_H
#define ISTH_ENCODE_LOOPS_H

#include "isth_bins.h"
#include "isth_codec.h"
#include "isth_config.h"

#define ISTH_LOOK_ELEMENTS 32u /* channels between two looks at the length (chapter 6.3) */

static const uint8_t isth_same_level[16] = {0u, 1u, 2u,  3u,  4u,  5u,  6u,  7u,
                                            8u, 9u, 10u, 11u, 12u, 13u, 14u, 15u};

static inline size_t isth_header_bytes(const isth_profile *profile) {
    return profile->slices > 1u ? (size_t)ISTH_SLICED_HEADER_BYTES : (size_t)ISTH_HEADER_BYTES;
}

static inline isth_bin_writer isth_writer_load(const isth_encoder *e) {
    isth_bin_writer w;

    w.low = e->low;
    w.range = e->range;
    w.rate = e->rung->rate;
    w.lost = e->position > e->capacity ? e->position - e->capacity : 0u;
    w.next = e->out + (e->position - w.lost);
    w.limit = w.lost != 0u ? w.next : e->out + e->capacity;
    return w;
}

static inline void isth_writer_store(isth_encoder *e, const isth_bin_writer *w) {
    e->low = w->low;
    e->range = w->range;
    e->position = (size_t)(w->next - e->out) + w->lost;
}

#if ISTH_WITH_NEIGHBOUR || ISTH_WITH_TRAINED || ISTH_WITH_SUFFIX || ISTH_WITH_PACKETS
static ISTH_ALONE void isth_fill(uint8_t *to, uint8_t value, size_t count) {
    const uint8_t *end = to + count;

    while (to != end) {
        *to++ = value;
    }
}

/*
 * From here on one context set, which makes all levels about equally likely: with a row of zeros
 * and the tables below every neighbour and channel chooses the first.
 */
static ISTH_ALONE void isth_turn_flat(isth_encoder *e) {
    const isth_rung *rung = e->rung;
    unsigned ahead = rung->classes - 1u;
    unsigned i;

    e->flat = 1u;
    if (rung->trained != NULL) {
        return; /* levels are sent as they are */
    }
    for (i = 0; i < rung->set_bins; i++) {
        e->contexts[i] = (uint16_t)(ahead != 0u ? (ahead << 16) / (ahead + 1u) : 0x8000u);
        ahead -= ahead != 0u ? 1u : 0u;
    }
    if (rung->choice != NULL) {
        isth_fill(e->row, 0u, rung->choice->step + e->profile->row_elements);
    }
}
#endif

#if ISTH_WITH_NEIGHBOUR || ISTH_WITH_TRAINED || ISTH_WITH_SUFFIX
/* Where the next element stands: what an encoder keeps between calls, in a loop's registers. */
typedef struct isth_place {
    uint32_t column;
    uint32_t channel;
    uint32_t allowed;
    uint32_t row_elements;
} isth_place;

static inline isth_place isth_place_load(const isth_encoder *e) {
    isth_place p;

    p.column = e->column;
    p.channel = e->channel;
    p.allowed = e->allowed;
    p.row_elements = e->profile->row_elements;
    return p;
}

static inline void isth_place_store(isth_encoder *e, const isth_place *p) {
    e->column = p->column;
    e->channel = p->channel;
    e->allowed = p->allowed;
}

/* Elements to the next look at the length, of `count`. */
static inline uint32_t isth_run(const isth_place *p, uint32_t channels, size_t count) {
    uint32_t run = ISTH_LOOK_ELEMENTS - p->channel % ISTH_LOOK_ELEMENTS;

    if (run > channels - p->channel) {
        run = channels - p->channel;
    }
    return run < count ? run : (uint32_t)count;
}

/* Goes on past a run; the rest of the slice is flat where `length` has become too large. */
static inline void isth_look(isth_encoder *e, uint32_t channels, uint32_t element_cost,
                             isth_place *p, uint32_t run, size_t length) {
    p->allowed += run * element_cost;
    p->column += run;
    if (p->column == p->row_elements) {
        p->column = 0u;
    }
    p->channel += run;
    if (p->channel == channels) {
        p->channel = 0u;
    } else if (p->channel % ISTH_LOOK_ELEMENTS != 0u) {
        return;
    }
    if (ISTH_SELDOM((uint32_t)length << 8 > p->allowed) && e->flat == 0u) {
        isth_turn_flat(e);
    }
}

/* Bytes of the slice or packet so far. */
static inline size_t isth_length(const isth_encoder *e, const isth_bin_writer *w) {
    return (size_t)(w->next - (e->out + e->start)) + w->lost;
}

#endif

#if ISTH_WITH_NEIGHBOUR
static const uint16_t isth_flat_base[ISTH_LOOK_ELEMENTS] = {0u};
static const uint8_t isth_flat_class[16] = {0u};

/*
 * Elements of scheme "neighbour" up to 16 levels. row[step] holds the class above (what was coded
 * there in the row before) until the element's own class takes its place, and row[0] the class to
 * the left.
 */
static ISTH_ALONE void isth_code_neighbours(isth_encoder *e, const uint8_t *centre,
                                            const int8_t *values, size_t count) {
    const isth_choice *choice = e->rung->choice;
    isth_bin_writer w = isth_writer_load(e);
    isth_place place = isth_place_load(e);
    uint16_t *contexts = e->contexts;
    const uint32_t last = e->rung->classes - 1u;
    const int8_t *end = values + count;

    while (values != end) {
        const uint32_t run = isth_run(&place, choice->channels, (size_t)(end - values));
        const int8_t *stop = values + run;
        const uint16_t *base =
            e->flat != 0u ? isth_flat_base : choice->channel_base + place.channel;
        const uint8_t *class_bins = e->flat != 0u ? isth_flat_class : choice->class_bins;
        const uint32_t class_count = choice->class_count;
        const size_t step = choice->step;
        uint8_t *row = e->row + place.column;

        do {
            uint32_t class_ = centre[*values++];
            uint16_t *context = contexts + (*base++ + row[step] * class_count + row[0]);

            row[step] = class_bins[class_];
            row++;
            if (ISTH_SELDOM(class_ != 0u)) {
                uint32_t i;

                for (i = 0; i != class_; i++) {
                    isth_write_one(&w, context + i);
                }
                if (class_ == last) {
                    continue;
                }
                context += class_;
            }
            isth_write_zero(&w, context);
        } while (values != stop);
        isth_look(e, choice->channels, choice->element_cost, &place, run, isth_length(e, &w));
    }
    isth_place_store(e, &place);
    isth_writer_store(e, &w);
}
#endif

#if ISTH_WITH_PAPER
/*
 * One context set for all elements, up to 16 levels: the context of the first bin, which every
 * element uses, stays in a register too.
 */
static ISTH_ALONE void isth_code_one_set(isth_encoder *e, const uint8_t *centre,
                                         const int8_t *values, size_t count) {
    isth_bin_writer w = isth_writer_load(e);
    uint16_t *contexts = e->contexts;
    const uint32_t last = e->rung->classes - 1u;
    const int8_t *stop = values + count;
    uint32_t first = contexts[0];

    for (; values != stop; values++) {
        uint32_t class_ = centre[*values];
        uint32_t i;

        if (!ISTH_SELDOM(class_ != 0u)) {
            first = isth_code_zero(&w, first);
            continue;
        }
        first = isth_code_one(&w, first);
        for (i = 1; i < class_; i++) {
            isth_write_one(&w, contexts + i);
        }
        if (i != last) {
            isth_write_zero(&w, contexts + i);
        }
    }
    contexts[0] = (uint16_t)first;
    isth_writer_store(e, &w);
}
#endif

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

#if ISTH_WITH_SUFFIX
/* More than 16 levels, either scheme: the general and slower form of both loops. */
static ISTH_ALONE void isth_code_suffixed(isth_encoder *e, const uint8_t *centre,
                                          const int8_t *values, size_t count) {
    const isth_choice *choice = e->rung->choice;
    isth_bin_writer w = isth_writer_load(e);
    isth_place place = isth_place_load(e);
    const int8_t *end = values + count;

    while (values != end) {
        const size_t left = (size_t)(end - values);
        const size_t run = choice != NULL ? isth_run(&place, choice->channels, left) : left;
        uint8_t *row = e->row + place.column;
        size_t i;

        for (i = 0; i < run; i++) {
            unsigned level = centre != isth_same_level ? centre[values[i]] : (uint8_t)values[i];
            uint16_t *set = e->contexts;

            if (choice != NULL && e->flat == 0u) {
                set += choice->channel_base[place.channel + i];
                set += row[i + choice->step] * (unsigned)choice->class_count + row[i];
                row[i + choice->step] = choice->class_bins[level];
            }
            isth_write_level(&w, e->rung, set, level);
        }
        values += run;
        if (choice != NULL) {
            isth_look(e, choice->channels, choice->element_cost, &place, (uint32_t)run,
                      isth_length(e, &w));
        }
    }
    isth_place_store(e, &place);
    isth_writer_store(e, &w);
}
#endif

#endif /* ISTH_ENCODE_LOOPS_H */
