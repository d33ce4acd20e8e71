/*
 * Isthmus: the decoder's inner loops (docs/BITSTREAM.md, chapters 5 to 7 and 13). Private to the
 * runtime. Each mirrors a loop of isth_encode_loops.h.
 */
#ifndef ISTH_DECODE_LOOPS_H
#define ISTH_DECODE_LOOPS_H

#include "isth_bins.h"
#include "isth_codec.h"

/* A slice being decoded: the reader is the inner loops' own, the rest changes between runs. */
typedef struct walk {
    const isth_rung *rung;
    uint16_t *contexts;
    uint8_t *row; /* as the encoder's */
    uint32_t row_elements;
    uint32_t channels;
    uint32_t element_cost; /* bits of an element in equally long codes, times 32 */
    uint32_t column;
    uint32_t channel;
    uint32_t allowed;
    unsigned flat;
} walk;

static unsigned read_suffix(isth_bin_reader *r, uint16_t *contexts, unsigned bits,
                            unsigned class_) {
    uint16_t *shared = contexts + ((1u << bits) - 1u);
    unsigned node = 1u;
    unsigned i;

    for (i = 0; i < bits; i++) {
        uint16_t *context = class_ == 0u ? &contexts[node - 1u] : &shared[i];

        node = 2u * node + isth_read_bin(r, context);
    }
    return node - (1u << bits);
}

static inline unsigned read_unary(isth_bin_reader *r, uint16_t *contexts, unsigned last) {
    unsigned class_ = 0u;

    while (class_ < last && isth_read_bin(r, &contexts[class_]) != 0u) {
        class_++;
    }
    return class_;
}

/* One context set for `count` levels. */
static ISTH_ALONE isth_status read_one_set(isth_bin_reader *reader, const walk *s, uint8_t *levels,
                                           size_t count) {
    const isth_rung *rung = s->rung;
    isth_bin_reader r = *reader;
    unsigned last = rung->classes - 1u;
    size_t i;

    for (i = 0; i < count; i++) {
        unsigned level = read_unary(&r, s->contexts, last);

        if (rung->suffix_bits != 0u) {
            level = (level << rung->suffix_bits) |
                    read_suffix(&r, s->contexts + last, rung->suffix_bits, level);
            if (level >= rung->levels) {
                return ISTH_E_LEVEL;
            }
        }
        levels[i] = (uint8_t)level;
    }
    *reader = r;
    return ISTH_OK;
}

/* Successive channels of one position, each with the context set its neighbours choose. */
static inline isth_status read_neighbours(isth_bin_reader *reader, const walk *s, uint8_t *levels,
                                          size_t count) {
    const isth_rung *rung = s->rung;
    const isth_choice *choice = rung->choice;
    const uint16_t *base = choice->channel_base + s->channel;
    const unsigned class_count = choice->class_count;
    const size_t step = choice->step;
    const unsigned last = rung->classes - 1u;
    isth_bin_reader r = *reader;
    uint8_t *row = s->row + s->column;
    size_t i;

    for (i = 0; i < count; i++) {
        uint16_t *set = s->contexts + base[i] + row[step] * class_count + row[0];
        unsigned level = read_unary(&r, set, last);

        if (rung->suffix_bits != 0u) {
            level = (level << rung->suffix_bits) |
                    read_suffix(&r, set + last, rung->suffix_bits, level);
            if (level >= rung->levels) {
                return ISTH_E_LEVEL;
            }
        }
        row[step] = choice->class_bins[level];
        row++;
        levels[i] = (uint8_t)level;
    }
    *reader = r;
    return ISTH_OK;
}

/* Near-lossless levels that are sent as they are (chapter 13.4). */
static isth_status read_plain(isth_bin_reader *r, const isth_rung *rung, uint8_t *levels,
                              size_t count) {
    const uint32_t bits = rung->trained->level_bits;
    size_t i;

    for (i = 0; i < count; i++) {
        uint32_t level = r->code / (r->range >> bits);

        if (level >> bits != 0u) {
            return ISTH_E_PAYLOAD;
        }
        if (level >= rung->levels) {
            return ISTH_E_LEVEL;
        }
        isth_take_part(r, level, 1u, bits);
        levels[i] = (uint8_t)level;
    }
    return ISTH_OK;
}

/* The last symbol that starts at or below `value`. */
static inline uint32_t find_symbol(const uint16_t *starts, uint32_t symbols, uint32_t value) {
    uint32_t low = 0u;
    uint32_t high = symbols - 1u;

    while (low < high) {
        uint32_t middle = (low + high + 1u) / 2u;

        if (starts[middle] <= value) {
            low = middle;
        } else {
            high = middle - 1u;
        }
    }
    return low;
}

/* The same from a guess that is not above it. */
static inline uint32_t guessed_symbol(const uint16_t *starts, const uint8_t *guesses,
                                      uint32_t symbols, uint32_t value) {
    uint32_t symbol = guesses[(value * (ISTH_GUESSES * (symbols + 1u))) >> 16];

    while (starts[symbol + 1u] <= value) {
        symbol++;
    }
    return symbol;
}

/* As isth_take_part of 16 bits: at most two bytes, and no branch on how many. */
static inline void take_symbol(isth_bin_reader *r, uint32_t part, uint32_t start, uint32_t size) {
    uint32_t range = part * size;
    uint32_t shift = (range < ISTH_RANGE_MIN ? 8u : 0u) + (range < ISTH_RANGE_MIN >> 8 ? 8u : 0u);
    uint32_t next = 0u;

    if (r->position + 1u < r->size) {
        next = ((uint32_t)r->data[r->position] << 8) | r->data[r->position + 1u];
    } else if (r->position < r->size) {
        next = (uint32_t)r->data[r->position] << 8;
    }
    r->code = ((r->code - part * start) << shift) | (next >> (16u - shift));
    r->range = range << shift;
    r->position += shift >> 3;
}

/* The level after an escape, which has no symbol of its own. */
static isth_status read_escaped(isth_bin_reader *r, const isth_rung *rung, uint8_t *level) {
    isth_status status = read_plain(r, rung, level, 1u);

    if (status == ISTH_OK && rung->trained->levels[*level] >> 8 != 0u) {
        status = ISTH_E_PAYLOAD;
    }
    return status;
}

/*
 * Successive channels of one position, near-lossless: a symbol each, the row as the encoder's. No
 * address of `r` leaves, so it stays in registers.
 */
static inline isth_status read_trained(isth_bin_reader *reader, const walk *s, uint8_t *levels,
                                       size_t count) {
    const isth_trained *trained = s->rung->trained;
    const uint16_t *choice = trained->choices + (size_t)s->channel * 32u;
    const uint8_t *cells = trained->cells;
    const uint16_t *all_starts = trained->starts;
    const uint8_t *guesses = trained->guesses;
    const uint8_t *own = trained->own;
    const uint16_t *classes = trained->levels;
    const size_t channels = trained->channels;
    const uint32_t symbols = trained->symbols;
    isth_bin_reader r = *reader;
    uint8_t *row = s->row + s->column;
    size_t i;

    for (i = 0; i < count; i++) {
        uint32_t up = row[channels] & 15u;
        uint32_t place = choice[cells[(up << 8) | row[0]]];
        const uint16_t *starts = all_starts + place;
        const uint8_t *guess = guesses != NULL ? guesses + ISTH_GUESSES * place : NULL;
        uint32_t part = r.range >> 16;
        uint32_t value = r.code / part;
        uint32_t symbol;
        uint8_t level;

        if (value >= starts[symbols]) {
            return ISTH_E_PAYLOAD;
        }
        symbol = guess != NULL ? guessed_symbol(starts, guess, symbols, value)
                               : find_symbol(starts, symbols, value);
        take_symbol(&r, part, starts[symbol], (uint32_t)starts[symbol + 1u] - starts[symbol]);
        level = own[symbol];
        if (ISTH_SELDOM(symbol == 0u)) {
            isth_bin_reader after = r;
            uint8_t escaped;
            isth_status status = read_escaped(&after, s->rung, &escaped);

            if (status != ISTH_OK) {
                return status;
            }
            level = escaped;
            r = after;
        }
        levels[i] = level;
        row[channels] = (uint8_t)((classes[level] & 0xFFu) | (up << 4));
        row++;
        choice += 32;
    }
    *reader = r;
    return ISTH_OK;
}

#endif /* ISTH_DECODE_LOOPS_H */
