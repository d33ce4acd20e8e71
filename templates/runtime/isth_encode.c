/*
 * Isthmus: the encoder of slices and packets (docs/BITSTREAM.md, chapters 3 and 5 to 8).
 *
 * A slice is written in one pass: header space, payload, then the header's numbers once the
 * length is known. A full buffer does not stop the pass: bytes are counted on, so the caller
 * learns the size needed, and no byte outside the buffer is touched.
 */
#include "isth_encode_near.h"
#include "isth_quantise.h"

enum { STATE_IDLE = 0, STATE_OPEN = 1 };
enum { FLAG_SLICED = 1, FLAG_PACKET = 2, FLAG_FLAT = 4 };
enum { CHUNK = 32 }; /* elements quantised at a time where there is no table of int8 */
#define SLACK_BYTES 64u
#define PACKET_UNITS_MAX 256u

uint32_t isth_slice_elements(const isth_profile *profile, unsigned slice) {
    uint32_t first;
    uint32_t rows;

    if (slice >= profile->slices) {
        return 0u;
    }
    first = (uint32_t)slice * profile->slice_rows;
    rows = profile->rows - first;
    if (rows > profile->slice_rows) {
        rows = profile->slice_rows;
    }
    return rows * profile->row_elements;
}

size_t isth_workspace_words(const isth_profile *profile, unsigned rung) {
    const isth_rung *r = &profile->rungs[rung];
    size_t bytes = 0u;

    if (r->choice != NULL) {
        bytes = (size_t)r->choice->step + profile->row_elements;
    }
    if (r->trained != NULL) {
        bytes = (size_t)r->trained->channels + profile->row_elements;
    }
    if (profile->packet_bytes != 0u) {
        bytes += profile->packet_unit;
    }
    return r->context_count + (bytes + 1u) / 2u;
}

/* The contexts of `rung` as its profile starts them. */
static void load_contexts(const isth_rung *rung, uint16_t *to) {
    const uint16_t *end = to + rung->context_count;
    const uint16_t *initial = rung->initial;
    const uint8_t *state = rung->states;

    if (state == NULL) {
        while (to != end) {
            *to++ = *initial++;
        }
        return;
    }
    while (to != end) {
        *to++ = (uint16_t)(256u * *state++ + 128u);
    }
}

#if ISTH_WITH_NEIGHBOUR || ISTH_WITH_TRAINED
/* The row before the slice's first, `outside` everywhere, and where its first element stands. */
static void start_row(isth_encoder *e, uint32_t first, uint8_t outside, uint32_t step,
                      uint32_t channels) {
    const uint32_t row_elements = e->profile->row_elements;
    uint32_t slack = e->profile->packet_bytes / 8u;

    isth_fill(e->row, outside, step + row_elements);
    slack = slack == 0u || slack > SLACK_BYTES ? SLACK_BYTES : slack;
    e->allowed = (slack + (uint32_t)isth_header_bytes(e->profile)) << 8;
    e->column = row_elements != 0u ? first % row_elements : 0u;
    e->channel = e->column % channels;
}
#endif

/* Contexts, row and coder as a slice or packet begins; `first` is its first element. */
static void restart(isth_encoder *e, uint32_t first, unsigned flat) {
    const isth_rung *rung = e->rung;

    e->low = 0u;
    e->range = ISTH_RANGE_START;
    e->flat = 0u;
    e->channel = 0u;
    load_contexts(rung, e->contexts);
#if ISTH_WITH_NEIGHBOUR
    if (rung->choice != NULL) {
        start_row(e, first, rung->choice->class_bins[rung->levels], rung->choice->step,
                  rung->choice->channels);
    }
#endif
#if ISTH_WITH_TRAINED
    if (rung->trained != NULL) {
        start_row(e, first, rung->trained->outside, rung->trained->channels,
                  rung->trained->channels);
    }
#endif
    (void)first;
#if ISTH_WITH_NEIGHBOUR || ISTH_WITH_TRAINED || ISTH_WITH_SUFFIX || ISTH_WITH_PACKETS
    if (flat != 0u) {
        isth_turn_flat(e);
    }
#else
    (void)flat;
#endif
}

isth_status isth_encoder_begin(isth_encoder *e, const isth_profile *profile, unsigned rung,
                               uint16_t sequence, unsigned slice, uint16_t *workspace, size_t words,
                               uint8_t *out, size_t capacity) {
    e->state = STATE_IDLE;
    if (rung >= profile->rung_count) {
        return ISTH_E_RUNG;
    }
    if (slice >= profile->slices) {
        return ISTH_E_SLICE;
    }
    if (words < isth_workspace_words(profile, rung)) {
        return ISTH_E_ARGUMENT;
    }
    e->profile = profile;
    e->rung = &profile->rungs[rung];
    e->contexts = workspace;
    e->row = (uint8_t *)(workspace + e->rung->context_count);
    e->unit = e->row;
    if (e->rung->choice != NULL) {
        e->unit += e->rung->choice->step + profile->row_elements;
    }
    if (e->rung->trained != NULL) {
        e->unit += e->rung->trained->channels + profile->row_elements;
    }
    e->out = out;
    e->capacity = capacity;
    e->start = 0u;
    e->position = isth_header_bytes(profile);
    e->remaining = isth_slice_elements(profile, slice);
    e->unit_fill = 0u;
    e->first = 0u;
    e->units = 0u;
    e->sequence = sequence;
    e->rung_index = (uint8_t)rung;
    e->slice = (uint16_t)slice;
    e->flags = (uint8_t)(profile->packet_bytes != 0u ? (unsigned)FLAG_PACKET
                         : profile->slices > 1u      ? (unsigned)FLAG_SLICED
                                                     : 0u);
    restart(e, 0u, 0u);
    e->state = STATE_OPEN;
    return ISTH_OK;
}

#if ISTH_WITH_NEIGHBOUR || ISTH_WITH_PAPER
/* The levels of one slice or packet that come next, each below N: centre[v] of value v. */
static void code_values(isth_encoder *e, const uint8_t *centre, const int8_t *values,
                        size_t count) {
#if ISTH_WITH_SUFFIX
    if (e->rung->suffix_bits != 0u) {
        isth_code_suffixed(e, centre, values, count);
        return;
    }
#endif
#if ISTH_WITH_NEIGHBOUR && ISTH_WITH_PAPER
    if (e->rung->choice == NULL) {
        isth_code_one_set(e, centre, values, count);
    } else {
        isth_code_neighbours(e, centre, values, count);
    }
#elif ISTH_WITH_NEIGHBOUR
    isth_code_neighbours(e, centre, values, count);
#else
    isth_code_one_set(e, centre, values, count);
#endif
}
#endif

static void code_levels(isth_encoder *e, const uint8_t *levels, size_t count) {
#if ISTH_WITH_TRAINED
    if (e->rung->trained != NULL) {
        isth_code_near_levels(e, levels, count);
        return;
    }
#endif
#if ISTH_WITH_NEIGHBOUR || ISTH_WITH_PAPER
    code_values(e, isth_same_level, (const int8_t *)levels, count);
#endif
}

/*
 * Flush: of the numbers in [low, low + range) the one with the most zero bytes at its end, which
 * the decoder supplies itself. Since range >= 2^24 one byte is always enough.
 */
static void flush(isth_bin_writer *w) {
    if (w->low == 0u) {
        return;
    }
    if (0u - w->low < w->range) {
        isth_carry(w); /* 2^32 lies inside: the window becomes zero */
        return;
    }
    /* low <= 2^32 - range <= 2^32 - 2^24, so rounding up cannot overflow */
    w->low = (w->low + 0xFFFFFFu) & 0xFF000000u;
    isth_shift_byte(w);
}

static void write_header(const isth_encoder *e, uint8_t *out, size_t payload) {
    const isth_profile *profile = e->profile;
    size_t header = isth_header_bytes(profile);
    uint32_t crc = profile->digest_crc;

    out[0] = (uint8_t)(0x10u | e->flags);
    out[1] = (uint8_t)(((unsigned)e->rung_index << 5) | ((uint32_t)payload >> 16));
    out[2] = (uint8_t)(payload & 0xFFu);
    out[3] = (uint8_t)((payload >> 8) & 0xFFu);
    out[4] = profile->digest[0];
    out[5] = profile->digest[1];
    out[6] = (uint8_t)(e->sequence & 0xFFu);
    out[7] = (uint8_t)(e->sequence >> 8);
#if ISTH_WITH_PACKETS
    if ((e->flags & FLAG_PACKET) != 0u) {
        out[1] = (uint8_t)(((unsigned)e->rung_index << 5) | ((uint32_t)payload >> 8));
        out[3] = out[6];
        out[4] = out[7];
        out[5] = (uint8_t)(e->first & 0xFFu);
        out[6] = (uint8_t)(e->first >> 8);
        out[7] = (uint8_t)(e->units - 1u);
    }
#endif
    if (profile->slices > 1u) {
        out[12] = (uint8_t)e->slice;
        out[13] = (uint8_t)(profile->slices - 1u);
    }
    crc = isth_crc32(crc, out, 8u);
    crc = isth_crc32(crc, out + 12, header - 12u + payload) ^ 0xFFFFFFFFu;
    out[8] = (uint8_t)(crc & 0xFFu);
    out[9] = (uint8_t)((crc >> 8) & 0xFFu);
    out[10] = (uint8_t)((crc >> 16) & 0xFFu);
    out[11] = (uint8_t)(crc >> 24);
}

/* Ends the slice or packet that begins at e->start. Past the capacity bytes are counted only. */
static void close_slice(isth_encoder *e) {
    size_t payload = e->start + isth_header_bytes(e->profile);
    isth_bin_writer w = isth_writer_load(e);

    flush(&w);
    isth_writer_store(e, &w);
    if (e->position <= e->capacity) {
        while (e->position > payload && e->out[e->position - 1u] == 0u) {
            e->position--;
        }
        write_header(e, e->out + e->start, e->position - payload);
    }
}

#if ISTH_WITH_PACKETS
static void open_packet(isth_encoder *e, unsigned flat) {
    e->position = e->start + ISTH_HEADER_BYTES;
    e->units = 0u;
    e->flags = (uint8_t)((unsigned)FLAG_PACKET | (flat != 0u ? (unsigned)FLAG_FLAT : 0u));
    restart(e, e->first * e->profile->packet_unit, flat);
}

/* Takes back a carry into the byte before `position`, which held `byte` before. */
static void take_back(isth_encoder *e, size_t position, uint8_t byte) {
    if (position > e->capacity || e->out[position - 1u] == byte) {
        return;
    }
    do {
        position--;
        e->out[position] = (uint8_t)(e->out[position] - 1u);
    } while (e->out[position] == 0xFFu);
}

/*
 * Codes the unit in e->unit; where the packet becomes too long the unit is undone and begins the
 * next. A unit that does not fit a packet of its own is coded flat, which does (the profile's
 * packets are large enough for that).
 */
static void code_unit(isth_encoder *e) {
    const isth_profile *profile = e->profile;
    size_t position = e->position;
    uint32_t low = e->low;
    uint32_t range = e->range;
    uint8_t byte = position <= e->capacity ? e->out[position - 1u] : 0u;

    if (e->units < PACKET_UNITS_MAX) {
        code_levels(e, e->unit, profile->packet_unit);
        if (e->position - e->start + 1u <= profile->packet_bytes) {
            e->units++;
            return;
        }
    }
    if (e->units != 0u) {
        take_back(e, position, byte);
        e->position = position;
        e->low = low;
        e->range = range;
        close_slice(e);
        e->first += e->units;
        e->start = e->position;
        open_packet(e, 0u);
        code_levels(e, e->unit, profile->packet_unit);
    }
    if (e->position - e->start + 1u > profile->packet_bytes) {
        open_packet(e, 1u);
        code_levels(e, e->unit, profile->packet_unit);
    }
    e->units = 1u;
}

static void push_units(isth_encoder *e, isth_kind kind, const void *values, size_t count) {
    size_t done = 0u;

    while (done < count) {
        size_t part = e->profile->packet_unit - e->unit_fill;

        part = part < count - done ? part : count - done;
        isth_quantise(e->rung, kind, values, done, part, e->channel + e->unit_fill,
                      e->unit + e->unit_fill);
        e->unit_fill += (uint32_t)part;
        done += part;
        if (e->unit_fill == e->profile->packet_unit) {
            code_unit(e);
            e->unit_fill = 0u;
        }
    }
}

size_t isth_encoder_ready(const isth_encoder *e) {
    return e->start;
}

size_t isth_packet_length(const uint8_t *data) {
    return (size_t)ISTH_HEADER_BYTES + (((size_t)data[1] & 0x1Fu) << 8) + data[2];
}
#endif

static void push_chunks(isth_encoder *e, isth_kind kind, const void *values, size_t count) {
    uint8_t levels[CHUNK];
    size_t done = 0u;

    while (done < count) {
        size_t part = count - done < CHUNK ? count - done : CHUNK;

        isth_quantise(e->rung, kind, values, done, part, e->channel, levels);
        code_levels(e, levels, part);
        done += part;
    }
}

static isth_status push_check(const isth_encoder *e, isth_kind kind, size_t count) {
    if (e->state != STATE_OPEN || count > e->remaining) {
        return ISTH_E_STATE;
    }
    return isth_quantisable(e->rung, kind) ? ISTH_OK : ISTH_E_ARGUMENT;
}

static isth_status push(isth_encoder *e, isth_kind kind, const void *values, size_t count) {
    isth_status status = push_check(e, kind, count);

    if (status != ISTH_OK) {
        return status;
    }
    e->remaining -= (uint32_t)count;
#if ISTH_WITH_PACKETS
    if (e->profile->packet_bytes != 0u) {
        push_units(e, kind, values, count);
        return ISTH_OK;
    }
#endif
    push_chunks(e, kind, values, count);
    return ISTH_OK;
}

isth_status isth_encoder_push_i8(isth_encoder *e, const int8_t *values, size_t count) {
    isth_status status = push_check(e, ISTH_I8, count);

    if (status != ISTH_OK) {
        return status;
    }
#if ISTH_WITH_PACKETS
    if (e->profile->packet_bytes != 0u) {
        return push(e, ISTH_I8, values, count);
    }
#endif
    e->remaining -= (uint32_t)count;
#if ISTH_WITH_TRAINED
    if (e->rung->trained != NULL) {
        isth_code_near_i8(e, values, count);
        return ISTH_OK;
    }
#endif
#if ISTH_WITH_NEIGHBOUR || ISTH_WITH_PAPER
    code_values(e, e->rung->table_i8 + 128, values, count);
#endif
    return ISTH_OK;
}

isth_status isth_encoder_push_i16(isth_encoder *e, const int16_t *values, size_t count) {
    return push(e, ISTH_I16, values, count);
}

isth_status isth_encoder_push_f32(isth_encoder *e, const float *values, size_t count) {
    return push(e, ISTH_F32, values, count);
}

isth_status isth_encoder_push_levels(isth_encoder *e, const uint8_t *values, size_t count) {
    isth_status status = push_check(e, ISTH_LEVELS, count);
    size_t i;

    for (i = 0; status == ISTH_OK && i < count; i++) {
        if (values[i] >= e->rung->levels) {
            status = ISTH_E_LEVEL;
        }
    }
    return status != ISTH_OK ? status : push(e, ISTH_LEVELS, values, count);
}

isth_status isth_encoder_finish(isth_encoder *e, size_t *length) {
    *length = 0u;
    if (e->state != STATE_OPEN || e->remaining != 0u) {
        return ISTH_E_STATE;
    }
    e->state = STATE_IDLE;
    close_slice(e);
    e->start = e->position;
    *length = e->position;
    return e->position > e->capacity ? ISTH_E_BUFFER : ISTH_OK;
}
