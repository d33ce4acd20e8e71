/*
 * Isthmus: the inner loops of near-lossless encoding (docs/BITSTREAM.md, chapter 13). Private to
 * the runtime; after isth_encode_loops.h, whose writer and places it uses.
 */
#ifndef ISTH_ENCODE_NEAR_H
#define ISTH_ENCODE_NEAR_H

#include "isth_encode_loops.h"

#if ISTH_WITH_TRAINED
/* Bytes that a run of as many elements as lie between two looks does not exceed, four each. */
#define ISTH_RUN_BYTES (4u * ISTH_LOOK_ELEMENTS)

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
 * The same, `each` elements and again from the first channel, where no byte of the run can reach
 * the end of the buffer: nothing is looked up, and the writer stays in registers of its own.
 */
static ISTH_ALONE void isth_code_run(isth_bin_writer *w, const isth_trained_run *run, size_t count,
                                     size_t each) {
    const int8_t *values = run->values;
    const int8_t *end = values + count;
    const uint16_t *table = run->table;
    const uint8_t *cells = run->cells;
    const uint16_t *starts = run->starts;
    const size_t channels = run->channels;
    uint8_t *row = run->row;
    uint8_t *next = w->next;
    uint32_t low = w->low;
    uint32_t range = w->range;

    do {
        const uint16_t *choice = run->choice;
        const int8_t *stop = values + each;

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
    } while (values != end);
    w->low = low;
    w->range = range;
    w->next = next;
}

/*
 * Whole positions of the row that can be coded without a look at the length or at the buffer's end:
 * four bytes an element would neither turn the slice flat nor fill the buffer.
 */
static inline uint32_t isth_quiet_run(const isth_encoder *e, const isth_place *p,
                                      const isth_bin_writer *w, uint32_t channels, size_t count) {
    const uint32_t allowed = p->allowed >> 8;
    const uint32_t length = (uint32_t)isth_length(e, w);
    uint32_t most = (uint32_t)(w->limit - w->next);

    if (p->channel != 0u || e->flat != 0u || length >= allowed) {
        return 0u;
    }
    most = (most < allowed - length ? most : allowed - length) / 4u;
    most = most < p->row_elements - p->column ? most : p->row_elements - p->column;
    most = most < count ? most : (uint32_t)count;
    return most - most % channels;
}

/* Elements of the near-lossless codec (chapter 13), of whose values `run` has the tables. */
static ISTH_ALONE void isth_code_trained(isth_encoder *e, isth_trained_run *run,
                                         const int8_t *values, size_t count) {
    const isth_trained *trained = e->rung->trained;
    const uint32_t channels = trained->channels;
    isth_bin_writer w = isth_writer_load(e);
    isth_place place = isth_place_load(e);
    const int8_t *end = values + count;

    run->bits = trained->level_bits;
    run->cells = trained->cells;
    run->starts = trained->starts;
    run->channels = channels;
    while (values != end) {
        const size_t left = (size_t)(end - values);
        const uint32_t quiet = isth_quiet_run(e, &place, &w, channels, left);
        uint32_t length = isth_run(&place, channels, left);

        run->choice = trained->choices + (size_t)place.channel * 32u;
        run->row = e->row + place.column;
        run->values = values;
        if (quiet > length) {
            length = quiet;
            isth_code_run(&w, run, length, channels);
            place.channel = channels - length; /* isth_look adds the length: the next position */
        } else if (ISTH_SELDOM(e->flat != 0u)) {
            isth_code_plain(&w, run, values, length);
        } else if ((size_t)(w.limit - w.next) > ISTH_RUN_BYTES) {
            isth_code_run(&w, run, length, length);
        } else {
            isth_code_near_end(&w, run, length);
        }
        values += length;
        isth_look(e, channels, 32u * trained->level_bits, &place, length, isth_length(e, &w));
    }
    isth_place_store(e, &place);
    isth_writer_store(e, &w);
}

/* Near-lossless levels; those that int8 cannot hold go as values 128 less. */
static ISTH_ALONE void isth_code_near_levels(isth_encoder *e, const uint8_t *levels, size_t count) {
    const isth_rung *rung = e->rung;
    const uint32_t bias = rung->levels > 128u ? 128u : 0u;
    isth_trained_run run = {NULL, NULL, 0u, 0u, NULL, NULL, NULL, 0u, NULL, NULL};
    int8_t values[ISTH_LOOK_ELEMENTS];

    run.table = rung->trained->levels + bias;
    run.bias = bias;
    while (count != 0u) {
        size_t part = count < ISTH_LOOK_ELEMENTS ? count : ISTH_LOOK_ELEMENTS;
        size_t i;

        for (i = 0; i < part; i++) {
            values[i] = (int8_t)((int)levels[i] - (int)bias);
        }
        isth_code_trained(e, &run, values, part);
        levels += part;
        count -= part;
    }
}

static ISTH_ALONE void isth_code_near_i8(isth_encoder *e, const int8_t *values, size_t count) {
    const isth_rung *rung = e->rung;
    isth_trained_run run = {NULL, NULL, 0u, 0u, NULL, NULL, NULL, 0u, NULL, NULL};

    run.table = rung->trained->values + 128;
    run.centre = rung->table_i8 + 128;
    isth_code_trained(e, &run, values, count);
}
#endif

#endif /* ISTH_ENCODE_NEAR_H */
