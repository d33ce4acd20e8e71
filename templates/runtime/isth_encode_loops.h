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

/* Bytes that a near-lossless run of so many elements does not exceed, four each. */
#define ISTH_RUN_BYTES (4u * ISTH_LOOK_ELEMENTS)

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

#if ISTH_WITH_TRAINED
/* What the elements of a run share: tables by value, and where the run's first one stands. */
typedef struct isth_trained_run {
    const uint16_t *table; /* entry of isth_trained.levels of value v at table[v] */
    const uint8_t *centre; /* level of value v at centre[v]; NULL: the value and `bias` */
    uint32_t bias;
    uint32_t bits; /* of a level that is sent as it is */
    const uint8_t *cells;
    const uint16_t *choice;
    const uint16_t *starts;
    size_t channels;
    uint8_t *row;
    const int8_t *values;
} isth_trained_run;

static ISTH_ALONE void isth_code_plain(isth_bin_writer *w, const isth_trained_run *run,
                                       const int8_t *values, size_t count) {
    for (; count != 0u; values++, count--) {
        uint32_t level =
            run->centre != NULL ? run->centre[*values] : (uint32_t)(*values + (int32_t)run->bias);

        isth_write_part(w, level, 1u, run->bits);
    }
}

/*
 * A byte of the row has the class of what was coded there in its low half and, in its high half,
 * the class that stood there before: so row[0] tells what is to the left and up-left of the
 * element, and row[channels], until its own byte takes the place, what is above.
 */
static ISTH_ALONE void isth_code_near_end(isth_bin_writer *w, const isth_trained_run *run,
                                          size_t count) {
    uint8_t *row = run->row;
    size_t i;

    for (i = 0; i < count; i++, row++) {
        uint32_t pair = run->table[run->values[i]];
        uint32_t up = row[run->channels] & 15u;
        uint32_t cell = run->cells[(up << 8) | row[0]];
        const uint16_t *start = run->starts + (run->choice[32u * i + cell] + (pair >> 8));

        row[run->channels] = (uint8_t)(pair | (up << 4));
        isth_write_part(w, start[0], (uint32_t)start[1] - start[0], 16u);
        if (pair < 256u) {
            isth_code_plain(w, run, run->values + i, 1u);
        }
    }
}

/*
 * The same where no byte of the run can reach the end of the buffer: nothing is looked up, and the
 * writer stays in registers of its own.
 */
static ISTH_ALONE void isth_code_run(isth_bin_writer *w, const isth_trained_run *run,
                                     size_t count) {
    const int8_t *values = run->values;
    const int8_t *stop = values + count;
    const uint16_t *table = run->table;
    const uint8_t *cells = run->cells;
    const uint16_t *choice = run->choice;
    const uint16_t *starts = run->starts;
    const size_t channels = run->channels;
    uint8_t *row = run->row;
    uint8_t *next = w->next;
    uint32_t low = w->low;
    uint32_t range = w->range;

    do {
        uint32_t pair = table[*values++];
        uint32_t up = row[channels] & 15u;
        uint32_t cell = cells[(up << 8) | row[0]];
        const uint16_t *start = starts + (choice[cell] + (pair >> 8));
        uint32_t first = start[0];
        uint32_t size = (uint32_t)start[1] - first;
        uint32_t part = range >> 16;

        row[channels] = (uint8_t)(pair | (up << 4));
        row++;
        choice += 32;
        first *= part;
        range = part * size;
        low += first;
        if (ISTH_SELDOM(low < first)) {
            uint8_t *byte = next;

            do {
                byte--;
                *byte = (uint8_t)(*byte + 1u);
            } while (*byte == 0u);
        }
        if (ISTH_SELDOM(range < ISTH_RANGE_MIN)) {
            do {
                *next++ = (uint8_t)(low >> 24);
                low <<= 8;
                range <<= 8;
            } while (range < ISTH_RANGE_MIN);
            /* an escape, at most 256 of 65536, always comes here */
            if (ISTH_SELDOM(pair < 256u)) {
                w->low = low;
                w->range = range;
                w->next = next;
                isth_code_plain(w, run, run->values + (row - run->row) - 1, 1u);
                low = w->low;
                range = w->range;
                next = w->next;
            }
        }
    } while (values != stop);
    w->low = low;
    w->range = range;
    w->next = next;
}

/* Elements of the near-lossless codec (chapter 13), of whose values `run` has the tables. */
static ISTH_ALONE void isth_code_trained(isth_encoder *e, isth_trained_run *run,
                                         const int8_t *values, size_t count) {
    const isth_trained *trained = e->rung->trained;
    isth_bin_writer w = isth_writer_load(e);
    isth_place place = isth_place_load(e);
    const int8_t *end = values + count;

    run->bits = trained->level_bits;
    run->cells = trained->cells;
    run->starts = trained->starts;
    run->channels = trained->channels;
    while (values != end) {
        const uint32_t length = isth_run(&place, trained->channels, (size_t)(end - values));

        run->choice = trained->choices + (size_t)place.channel * 32u;
        run->row = e->row + place.column;
        run->values = values;
        if (ISTH_SELDOM(e->flat != 0u)) {
            isth_code_plain(&w, run, values, length);
        } else if ((size_t)(w.limit - w.next) > ISTH_RUN_BYTES) {
            isth_code_run(&w, run, length);
        } else {
            isth_code_near_end(&w, run, length);
        }
        values += length;
        isth_look(e, trained->channels, 32u * trained->level_bits, &place, length,
                  isth_length(e, &w));
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
