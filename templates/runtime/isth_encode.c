/*
 * Isthmus: the encoder (docs/BITSTREAM.md, chapters 4 to 7).
 *
 * A slice is written in one pass: header space, payload, then the header's numbers once the
 * length is known. A full buffer does not stop the pass: bytes are counted on, so the caller
 * learns the size needed, and no byte outside the buffer is touched.
 */
#include "isth_bins.h"
#include "isth_codec.h"

enum { STATE_IDLE = 0, STATE_OPEN = 1 };

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

static size_t header_bytes(const isth_profile *profile) {
    return profile->slices > 1u ? (size_t)ISTH_SLICED_HEADER_BYTES : (size_t)ISTH_HEADER_BYTES;
}

isth_status isth_encoder_begin(isth_encoder *e, const isth_profile *profile, unsigned rung,
                               uint16_t sequence, unsigned slice, uint16_t *contexts,
                               size_t context_count, uint8_t *out, size_t capacity) {
    unsigned i;

    e->state = STATE_IDLE;
    if (rung >= profile->rung_count) {
        return ISTH_E_RUNG;
    }
    if (slice >= profile->slices) {
        return ISTH_E_SLICE;
    }
    if (context_count < profile->rungs[rung].context_count) {
        return ISTH_E_ARGUMENT;
    }
    e->profile = profile;
    e->rung = &profile->rungs[rung];
    e->contexts = contexts;
    for (i = 0; i < e->rung->context_count; i++) {
        contexts[i] = e->rung->initial[i];
    }
    e->out = out;
    e->capacity = capacity;
    e->position = header_bytes(profile);
    e->low = 0u;
    e->range = ISTH_RANGE_START;
    e->remaining = isth_slice_elements(profile, slice);
    e->sequence = sequence;
    e->rung_index = (uint8_t)rung;
    e->slice = (uint16_t)slice;
    e->state = STATE_OPEN;
    return ISTH_OK;
}

static inline isth_bin_writer writer_load(const isth_encoder *e) {
    isth_bin_writer w;

    w.low = e->low;
    w.range = e->range;
    w.rate = e->rung->rate;
    w.out = e->out;
    w.position = e->position;
    w.capacity = e->capacity;
    return w;
}

static inline void writer_store(isth_encoder *e, const isth_bin_writer *w, size_t count) {
    e->low = w->low;
    e->range = w->range;
    e->position = w->position;
    e->remaining -= (uint32_t)count;
}

/* The bits below the unary class: a tree of contexts in class 0, one context a bit elsewhere. */
static void write_suffix(isth_bin_writer *w, uint16_t *contexts, unsigned bits, unsigned class_,
                         unsigned level) {
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

/* Truncated unary: `class_` ones, then a zero unless the class is the last. */
static inline void write_unary(isth_bin_writer *w, uint16_t *contexts, unsigned class_,
                               unsigned last) {
    unsigned i;

    for (i = 0; i < class_; i++) {
        isth_write_one(w, contexts++);
    }
    if (class_ < last) {
        isth_write_zero(w, contexts);
    }
}

static void write_level(isth_bin_writer *w, const isth_rung *rung, uint16_t *contexts,
                        unsigned level) {
    unsigned last = rung->classes - 1u;
    unsigned class_ = level >> rung->suffix_bits;

    write_unary(w, contexts, class_, last);
    if (rung->suffix_bits != 0u) {
        write_suffix(w, contexts + last, rung->suffix_bits, class_, level);
    }
}

static isth_status push_check(const isth_encoder *e, size_t count) {
    return e->state == STATE_OPEN && count <= e->remaining ? ISTH_OK : ISTH_E_STATE;
}

/*
 * The inner loop of int8 tensors up to 16 levels. It is a function of its own so that no address of
 * the writer leaves it and all of it stays in registers, with the context of the first bin, which
 * every element uses.
 */
static void push_unary_i8(isth_encoder *e, const uint8_t *table, const int8_t *values,
                          size_t count) {
    isth_bin_writer w = writer_load(e);
    const uint8_t *centre = table + 128;
    uint16_t *contexts = e->contexts;
    const uint16_t *end = contexts + (e->rung->classes - 1u);
    uint32_t first = contexts[0];
    size_t left;

    for (left = count; left != 0u; left--) {
        unsigned class_ = centre[*values++];

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
    writer_store(e, &w, count);
}

isth_status isth_encoder_push_i8(isth_encoder *e, const int8_t *values, size_t count) {
    isth_status status = push_check(e, count);
    const uint8_t *table;
    isth_bin_writer w;
    size_t i;

    if (status != ISTH_OK) {
        return status;
    }
    table = e->rung->table_i8;
    if (table == NULL) {
        return ISTH_E_ARGUMENT;
    }
    if (e->rung->suffix_bits == 0u) {
        push_unary_i8(e, table, values, count);
        return ISTH_OK;
    }
    w = writer_load(e);
    for (i = 0; i < count; i++) {
        write_level(&w, e->rung, e->contexts, table[(uint8_t)values[i] ^ 0x80u]);
    }
    writer_store(e, &w, count);
    return ISTH_OK;
}

/* Number of thresholds not above the value: binary search, thresholds do not fall. */
static unsigned level_of_i16(const isth_rung *rung, int32_t value) {
    unsigned low = 0u;
    unsigned high = rung->levels - 1u;

    while (low < high) {
        unsigned middle = (low + high) / 2u;

        if (rung->thresholds_i16[middle] <= value) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

isth_status isth_encoder_push_i16(isth_encoder *e, const int16_t *values, size_t count) {
    isth_status status = push_check(e, count);
    isth_bin_writer w;
    size_t i;

    if (status != ISTH_OK) {
        return status;
    }
    if (e->rung->thresholds_i16 == NULL) {
        return ISTH_E_ARGUMENT;
    }
    w = writer_load(e);
    for (i = 0; i < count; i++) {
        write_level(&w, e->rung, e->contexts, level_of_i16(e->rung, values[i]));
    }
    writer_store(e, &w, count);
    return ISTH_OK;
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
static unsigned level_of_f32(const isth_rung *rung, const float *value) {
    unsigned low = 0u;
    unsigned high = rung->levels - 1u;
    uint32_t key = bits_of(value);

    key ^= (key & 0x80000000u) != 0u ? 0xFFFFFFFFu : 0x80000000u;
    while (low < high) {
        unsigned middle = (low + high) / 2u;

        if (rung->thresholds_f32[middle] <= key) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

isth_status isth_encoder_push_f32(isth_encoder *e, const float *values, size_t count) {
    isth_status status = push_check(e, count);
    isth_bin_writer w;
    size_t i;

    if (status != ISTH_OK) {
        return status;
    }
    if (e->rung->thresholds_f32 == NULL) {
        return ISTH_E_ARGUMENT;
    }
    w = writer_load(e);
    for (i = 0; i < count; i++) {
        write_level(&w, e->rung, e->contexts, level_of_f32(e->rung, &values[i]));
    }
    writer_store(e, &w, count);
    return ISTH_OK;
}

isth_status isth_encoder_push_levels(isth_encoder *e, const uint8_t *values, size_t count) {
    isth_status status = push_check(e, count);
    isth_bin_writer w;
    size_t i;

    if (status != ISTH_OK) {
        return status;
    }
    for (i = 0; i < count; i++) {
        if (values[i] >= e->rung->levels) {
            return ISTH_E_LEVEL;
        }
    }
    w = writer_load(e);
    for (i = 0; i < count; i++) {
        write_level(&w, e->rung, e->contexts, values[i]);
    }
    writer_store(e, &w, count);
    return ISTH_OK;
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

static void write_header(const isth_encoder *e, size_t payload) {
    const isth_profile *profile = e->profile;
    size_t header = header_bytes(profile);
    uint8_t *out = e->out;
    uint32_t crc = profile->digest_crc;

    out[0] = (uint8_t)(0x10u | (profile->slices > 1u ? 1u : 0u));
    out[1] = (uint8_t)(((unsigned)e->rung_index << 5) | ((uint32_t)payload >> 16));
    out[2] = (uint8_t)(payload & 0xFFu);
    out[3] = (uint8_t)((payload >> 8) & 0xFFu);
    out[4] = profile->digest[0];
    out[5] = profile->digest[1];
    out[6] = (uint8_t)(e->sequence & 0xFFu);
    out[7] = (uint8_t)(e->sequence >> 8);
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

isth_status isth_encoder_finish(isth_encoder *e, size_t *length) {
    size_t header;
    isth_bin_writer w;

    *length = 0u;
    if (e->state != STATE_OPEN || e->remaining != 0u) {
        return ISTH_E_STATE;
    }
    e->state = STATE_IDLE;
    w = writer_load(e);
    flush(&w);
    if (w.position > w.capacity) {
        *length = w.position;
        return ISTH_E_BUFFER;
    }
    header = header_bytes(e->profile);
    while (w.position > header && w.out[w.position - 1u] == 0u) {
        w.position--;
    }
    write_header(e, w.position - header);
    *length = w.position;
    return ISTH_OK;
}

/* The element types a whole tensor may come in, so that one loop over the slices serves all. */
typedef enum source_kind { SOURCE_I8, SOURCE_I16, SOURCE_F32, SOURCE_LEVELS } source_kind;

static isth_status push_source(isth_encoder *e, source_kind kind, const void *tensor, size_t first,
                               size_t count) {
    switch (kind) {
    case SOURCE_I8:
        return isth_encoder_push_i8(e, (const int8_t *)tensor + first, count);
    case SOURCE_I16:
        return isth_encoder_push_i16(e, (const int16_t *)tensor + first, count);
    case SOURCE_F32:
        return isth_encoder_push_f32(e, (const float *)tensor + first, count);
    case SOURCE_LEVELS:
    default:
        return isth_encoder_push_levels(e, (const uint8_t *)tensor + first, count);
    }
}

static isth_status encode_frame(isth_encoder *e, const isth_profile *profile, unsigned rung,
                                uint16_t sequence, source_kind kind, const void *tensor,
                                uint16_t *contexts, size_t context_count, uint8_t *out,
                                size_t capacity, size_t *length) {
    isth_status result = ISTH_OK;
    size_t first = 0u;
    size_t total = 0u;
    unsigned slice;

    *length = 0u;
    for (slice = 0; slice < profile->slices; slice++) {
        size_t used = total < capacity ? total : capacity;
        size_t count = isth_slice_elements(profile, slice);
        size_t slice_length = 0u;
        isth_status status = isth_encoder_begin(e, profile, rung, sequence, slice, contexts,
                                                context_count, out + used, capacity - used);

        if (status == ISTH_OK) {
            status = push_source(e, kind, tensor, first, count);
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
                           uint16_t sequence, const int8_t *tensor, uint16_t *contexts,
                           size_t context_count, uint8_t *out, size_t capacity, size_t *length) {
    return encode_frame(e, profile, rung, sequence, SOURCE_I8, tensor, contexts, context_count, out,
                        capacity, length);
}

isth_status isth_encode_i16(isth_encoder *e, const isth_profile *profile, unsigned rung,
                            uint16_t sequence, const int16_t *tensor, uint16_t *contexts,
                            size_t context_count, uint8_t *out, size_t capacity, size_t *length) {
    return encode_frame(e, profile, rung, sequence, SOURCE_I16, tensor, contexts, context_count,
                        out, capacity, length);
}

isth_status isth_encode_f32(isth_encoder *e, const isth_profile *profile, unsigned rung,
                            uint16_t sequence, const float *tensor, uint16_t *contexts,
                            size_t context_count, uint8_t *out, size_t capacity, size_t *length) {
    return encode_frame(e, profile, rung, sequence, SOURCE_F32, tensor, contexts, context_count,
                        out, capacity, length);
}

isth_status isth_encode_levels(isth_encoder *e, const isth_profile *profile, unsigned rung,
                               uint16_t sequence, const uint8_t *levels, uint16_t *contexts,
                               size_t context_count, uint8_t *out, size_t capacity,
                               size_t *length) {
    return encode_frame(e, profile, rung, sequence, SOURCE_LEVELS, levels, contexts, context_count,
                        out, capacity, length);
}
