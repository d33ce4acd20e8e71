/*
 * Isthmus: COBS frames with a CRC-16, written without a buffer and read byte by byte.
 *
 * What is framed are three pieces: kind, payload and CRC. The writer looks ahead in them for the
 * next 0, at most 254 bytes, and hands each run over as it lies there.
 */
#include "isth_link.h"

#define RUN_MAX 254u
#define ANSWER_VERSION 0x10u
#define ANSWER_HEAD_BYTES 5u
#define ANSWER_VALUE_BYTES 6u

/* CRC-16 with polynomial 0x1021, most significant bit first, four bits at a time. */
static const uint16_t nibble_table[16] = {
    0x0000u, 0x1021u, 0x2042u, 0x3063u, 0x4084u, 0x50A5u, 0x60C6u, 0x70E7u,
    0x8108u, 0x9129u, 0xA14Au, 0xB16Bu, 0xC18Cu, 0xD1ADu, 0xE1CEu, 0xF1EFu,
};

uint16_t isth_crc16(uint16_t crc, const uint8_t *data, size_t size) {
    uint32_t value = crc;

    for (; size != 0u; size--) {
        uint32_t byte = *data++;

        value = (value << 4) ^ nibble_table[((value >> 12) ^ (byte >> 4)) & 15u];
        value = (value << 4) ^ nibble_table[((value >> 12) ^ byte) & 15u];
    }
    return (uint16_t)(value & 0xFFFFu);
}

/* The bytes of a frame before COBS, where they lie. */
typedef struct pieces {
    const uint8_t *data;
    size_t length;
    uint8_t kind;
    uint8_t crc[2];
} pieces;

static size_t total_of(const pieces *p) {
    return p->length + ISTH_LINK_FRAMING_BYTES;
}

/* What lies in one piece from byte `at` on: its first byte, and how many there are up to `end`. */
static const uint8_t *piece_at(const pieces *p, size_t at, size_t end, size_t *size) {
    const uint8_t *start;
    size_t stop;

    if (at == 0u) {
        start = &p->kind;
        stop = 1u;
    } else if (at <= p->length) {
        start = p->data + (at - 1u);
        stop = p->length + 1u;
    } else {
        start = p->crc + (at - p->length - 1u);
        stop = total_of(p);
    }
    *size = (stop < end ? stop : end) - at;
    return start;
}

/* Bytes from `at` on that are not 0, at most 254. */
static size_t run_at(const pieces *p, size_t at) {
    const size_t limit = total_of(p) - at < RUN_MAX ? total_of(p) : at + RUN_MAX;
    size_t end = at;

    while (end < limit) {
        size_t size = 0u;
        const uint8_t *bytes = piece_at(p, end, limit, &size);
        size_t i;

        for (i = 0u; i < size; i++) {
            if (bytes[i] == 0u) {
                return end + i - at;
            }
        }
        end += size;
    }
    return end - at;
}

static int put_run(isth_link_put put, void *user, const pieces *p, size_t at, size_t run) {
    const uint8_t code = (uint8_t)(run + 1u);
    const size_t end = at + run;
    int status = put(user, &code, 1u);

    while (status == 0 && at < end) {
        size_t size = 0u;
        const uint8_t *bytes = piece_at(p, at, end, &size);

        status = put(user, bytes, size);
        at += size;
    }
    return status;
}

int isth_link_write(isth_link_put put, void *user, uint8_t kind, const uint8_t *data,
                    size_t length) {
    static const uint8_t end = 0u;
    pieces p;
    uint16_t crc;
    size_t at = 0u;
    int status = 0;
    int more = 1;

    p.data = data;
    p.length = length;
    p.kind = kind;
    crc = isth_crc16(isth_crc16(0xFFFFu, &p.kind, 1u), data, length);
    p.crc[0] = (uint8_t)(crc & 0xFFu);
    p.crc[1] = (uint8_t)(crc >> 8);
    while (status == 0 && more) {
        const size_t run = run_at(&p, at);

        status = put_run(put, user, &p, at, run);
        at += run;
        more = at != total_of(&p);
        if (run < RUN_MAX && more) {
            at++; /* the 0 that the next run's code stands for, though nothing may follow it */
        }
    }
    return status != 0 ? status : put(user, &end, 1u);
}

/* Where isth_link_encode writes to; position runs on past capacity. */
typedef struct sink {
    uint8_t *out;
    size_t capacity;
    size_t position;
} sink;

static int put_in_sink(void *user, const uint8_t *data, size_t size) {
    sink *s = (sink *)user;
    size_t i;

    for (i = 0u; i < size; i++) {
        if (s->position < s->capacity) {
            s->out[s->position] = data[i];
        }
        s->position++;
    }
    return 0;
}

isth_status isth_link_encode(uint8_t kind, const uint8_t *data, size_t length, uint8_t *out,
                             size_t capacity, size_t *size) {
    sink s;

    s.out = out;
    s.capacity = capacity;
    s.position = 0u;
    (void)isth_link_write(put_in_sink, &s, kind, data, length);
    *size = s.position;
    return s.position > capacity ? ISTH_E_BUFFER : ISTH_OK;
}

static void start_frame(isth_link_reader *r) {
    r->fill = 0u;
    r->code = 0u;
    r->left = 0u;
    r->bad = 0u;
}

void isth_link_reader_begin(isth_link_reader *r, uint8_t *buffer, size_t capacity) {
    r->buffer = buffer;
    r->capacity = capacity;
    r->payload = buffer;
    r->length = 0u;
    r->dropped = 0u;
    r->kind = 0u;
    start_frame(r);
}

static void keep(isth_link_reader *r, uint8_t byte) {
    if (r->fill < r->capacity) {
        r->buffer[r->fill] = byte;
        r->fill++;
    } else {
        r->bad = 1u;
    }
}

/* Whether the bytes kept are a frame. */
static int good_frame(isth_link_reader *r) {
    size_t body;
    uint16_t crc;

    if (r->bad != 0u || r->left != 0u || r->fill < ISTH_LINK_FRAMING_BYTES) {
        return 0;
    }
    body = r->fill - 2u;
    crc = isth_crc16(0xFFFFu, r->buffer, body);
    if (r->buffer[body] != (uint8_t)(crc & 0xFFu) || r->buffer[body + 1u] != (uint8_t)(crc >> 8)) {
        return 0;
    }
    r->kind = r->buffer[0];
    r->payload = r->buffer + 1;
    r->length = body - 1u;
    return 1;
}

int isth_link_read(isth_link_reader *r, uint8_t byte) {
    if (byte == 0u) {
        const int any = r->code != 0u;
        const int good = any && good_frame(r);

        r->dropped += (uint32_t)(any && !good);
        start_frame(r);
        return good;
    }
    if (r->left != 0u) {
        keep(r, byte);
        r->left--;
        return 0;
    }
    if (r->code != 0u && r->code != RUN_MAX + 1u) {
        keep(r, 0u);
    }
    r->code = byte;
    r->left = (uint8_t)(byte - 1u);
    return 0;
}

isth_status isth_answer_parse(const uint8_t *data, size_t size, isth_answer *answer) {
    size_t need;

    if (size < ANSWER_HEAD_BYTES) {
        return ISTH_E_TRUNCATED;
    }
    if (data[0] != ANSWER_VERSION) {
        return ISTH_E_VERSION;
    }
    need = ANSWER_HEAD_BYTES + ANSWER_VALUE_BYTES * (size_t)data[4];
    if (size != need) {
        return size < need ? ISTH_E_TRUNCATED : ISTH_E_TRAILING;
    }
    answer->status = data[1];
    answer->sequence = (uint16_t)(data[2] | ((uint32_t)data[3] << 8));
    answer->count = data[4];
    answer->values = data + ANSWER_HEAD_BYTES;
    return ISTH_OK;
}

void isth_answer_value(const isth_answer *answer, unsigned i, uint16_t *index, uint32_t *bits) {
    const uint8_t *at = answer->values + ANSWER_VALUE_BYTES * (size_t)i;

    *index = (uint16_t)(at[0] | ((uint32_t)at[1] << 8));
    *bits = (uint32_t)at[2] | ((uint32_t)at[3] << 8) | ((uint32_t)at[4] << 16) |
            ((uint32_t)at[5] << 24);
}
