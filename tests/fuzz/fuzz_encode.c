/*
 * The encoder under any tensor: byte 0 chooses the profile, 1 the rung, 2 and 3 the sequence, 4 and
 * 5 the capacity or budget, 6 how the tensor goes on after the input's end (low six bits: 0 zeros,
 * 1 its bytes again, else a generator) and what is tried (high two bits), 7 the pieces in which it
 * is pushed; the rest is the tensor.
 *
 * What must hold: nothing is written past the capacity; too small a buffer is reported with a size
 * that is enough; no payload exceeds payload_max; the frame decodes to the levels that the
 * profile's tables give; the bytes do not depend on the pieces.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz_harness.h"

#define HEAD 8u

/* Where the tensor ends too early, it goes on by the rule of byte 6. */
static void *make_tensor(size_t bytes, const uint8_t *head, const uint8_t *data, size_t size) {
    uint8_t *tensor = fuzz_block(bytes, 0);
    const unsigned rule = head[6] & 63u;
    uint32_t state = rule;
    size_t i;

    for (i = 0; i < bytes; i++) {
        if (i < size) {
            tensor[i] = data[i];
        } else if (rule == 1u && size > 0u) {
            tensor[i] = data[i % size];
        } else if (rule > 1u) {
            state = state * 1664525u + 1013904223u;
            tensor[i] = (uint8_t)(state >> 24);
        }
    }
    return tensor;
}

/* The level of each element, by counting thresholds: not the way of the runtime. */
static void expected_levels(const fuzz_profile *p, const isth_rung *rung, const void *tensor,
                            uint8_t *levels) {
    /* near-lossless each channel may have thresholds of its own */
    const isth_trained *trained = rung->trained;
    const size_t rows = trained != NULL && trained->grids != 0u ? trained->channels : 1u;
    size_t i;
    unsigned n;

    for (i = 0; i < p->elements; i++) {
        const size_t row = i % rows * (rung->levels - 1u);
        unsigned level = 0u;

        if (p->kind == FUZZ_I8) {
            level = rung->table_i8[((const int8_t *)tensor)[i] + 128];
        } else {
            for (n = 0; n + 1u < rung->levels; n++) {
                if (p->kind == FUZZ_I16) {
                    level +=
                        rung->thresholds_i16[row + n] <= ((const int16_t *)tensor)[i] ? 1u : 0u;
                } else {
                    uint32_t key;

                    memcpy(&key, (const float *)tensor + i, sizeof key);
                    key = key >> 31 != 0u ? ~key : key | 0x80000000u;
                    level += rung->thresholds_f32[row + n] <= key ? 1u : 0u;
                }
            }
        }
        levels[i] = (uint8_t)level;
    }
}

/* The same frame from pieces; packets that are ready do not change any more. */
static void check_pieces(const fuzz_profile *p, unsigned rung, uint16_t sequence, uint8_t pieces,
                         const uint8_t *tensor, const uint8_t *frame, size_t length) {
    void *memory = fuzz_block(p->memory_bytes, 0x5A);
    uint8_t *out = fuzz_block(p->frame_bytes_max, 0x5A);
    uint32_t state = pieces;
    size_t at = 0u;
    unsigned slice;

    for (slice = 0; slice < p->tables->slices; slice++) {
        size_t left = isth_slice_elements(p->tables, slice);
        size_t size = 1u;

        FUZZ_CHECK(p->begin(memory, rung, sequence, slice, out + at, p->frame_bytes_max - at) ==
                   ISTH_OK);
        while (left != 0u) {
            size_t piece;

            state = state * 1664525u + 1013904223u;
            piece = pieces < 64u ? 1u + pieces : (state >> 24) % 12u; /* none at all, too */
            piece = piece < left ? piece : left;
            FUZZ_CHECK(p->finish(memory, &size) == ISTH_E_STATE && size == 0u);
            FUZZ_CHECK(p->push(memory, tensor, left + 1u) == ISTH_E_STATE);
            FUZZ_CHECK(p->push(memory, tensor, piece) == ISTH_OK);
            tensor += piece * p->element_bytes;
            left -= piece;
            if (p->tables->packet_bytes != 0u) {
                size = isth_encoder_ready(memory); /* the encoder is the memory's first member */
                FUZZ_CHECK(size <= length && memcmp(out, frame, size) == 0);
            }
        }
        FUZZ_CHECK(p->push(memory, tensor, 1u) == ISTH_E_STATE);
        FUZZ_CHECK(p->finish(memory, &size) == ISTH_OK);
        FUZZ_CHECK(size <= p->slice_bytes_max || p->tables->packet_bytes != 0u);
        at += size;
        FUZZ_CHECK(p->finish(memory, &size) == ISTH_E_STATE && size == 0u);
    }
    FUZZ_CHECK(at == length && memcmp(frame, out, length) == 0);
    free(out);
    free(memory);
}

/* With `capacity` bytes: the same frame, or the size that is enough. */
static void check_capacity(const fuzz_profile *p, unsigned rung, uint16_t sequence,
                           const void *tensor, size_t capacity, const uint8_t *frame,
                           size_t length) {
    void *memory = fuzz_block(p->memory_bytes, 0x5A);
    uint8_t *out = fuzz_block(capacity, 0x5A);
    size_t size = 0u;
    isth_status status = p->encode(memory, rung, sequence, tensor, out, capacity, &size);

    if (status == ISTH_E_BUFFER) {
        FUZZ_CHECK(size > capacity && size >= length && size <= p->frame_bytes_max);
        free(out);
        out = fuzz_block(size, 0x5A);
        capacity = size;
        status = p->encode(memory, rung, sequence, tensor, out, capacity, &size);
    }
    FUZZ_CHECK(status == ISTH_OK && size == length && size <= capacity);
    FUZZ_CHECK(memcmp(out, frame, length) == 0);
    free(out);
    free(memory);
}

/* The rung that is named, coded by itself, fits or does not fit alike. */
static void check_budget(const fuzz_profile *p, uint16_t sequence, const void *tensor,
                         size_t budget) {
    void *memory = fuzz_block(p->memory_bytes, 0x5A);
    uint8_t *out = fuzz_block(budget, 0x5A);
    uint8_t *other = fuzz_block(budget, 0x5A);
    size_t length = 0u;
    size_t size = 0u;
    unsigned rung = 99u;
    isth_status status;

    fuzz_bins_written = 0u;
    status = p->budget(memory, sequence, tensor, out, budget, &length, &rung);
    FUZZ_CHECK(status == ISTH_OK || status == ISTH_E_BUFFER);
    FUZZ_CHECK(rung < p->tables->rung_count);
    FUZZ_CHECK(fuzz_bins_written <= 2u * 3u * p->elements * p->bins_max);
    FUZZ_CHECK(status == ISTH_OK ? length <= budget : length > budget);
    FUZZ_CHECK(p->encode(memory, rung, sequence, tensor, other, budget, &size) == status);
    FUZZ_CHECK(size == length);
    FUZZ_CHECK(status != ISTH_OK || memcmp(out, other, length) == 0);
    free(other);
    free(out);
    free(memory);
}

static void check_parts(const fuzz_profile *p, unsigned rung, uint16_t sequence,
                        const uint8_t *frame, size_t length) {
    size_t done = 0u;
    size_t at = 0u;
    unsigned part;

    for (part = 0; at < length; part++) {
        isth_slice_info info;

        FUZZ_CHECK(isth_slice_parse(p->tables, frame + at, length - at, &info) == ISTH_OK);
        FUZZ_CHECK(info.first == done && info.rung == rung && info.sequence == sequence);
        if (p->tables->packet_bytes != 0u) {
            FUZZ_CHECK(info.header_bytes + info.payload_bytes == isth_packet_length(frame + at));
            FUZZ_CHECK(isth_packet_length(frame + at) <= p->tables->packet_bytes);
        } else {
            FUZZ_CHECK(info.payload_bytes <= p->tables->rungs[rung].payload_max);
            FUZZ_CHECK(info.slice == part);
        }
        at += (size_t)info.header_bytes + info.payload_bytes;
        done += info.elements;
    }
    FUZZ_CHECK(at == length && done == p->elements);
}

/* The tensor's first bytes taken as levels: refused where one is not below N, and only then. */
static void check_raw_levels(const fuzz_profile *p, unsigned rung, const uint8_t *raw) {
    uint8_t *out = fuzz_block(p->frame_bytes_max, 0x5A);
    size_t length = 1u;
    unsigned bad = 0u;
    isth_status status;
    size_t i;

    for (i = 0; i < p->elements; i++) {
        bad |= raw[i] >= p->tables->rungs[rung].levels ? 1u : 0u;
    }
    status = fuzz_encode_levels(p, rung, 0u, raw, out, p->frame_bytes_max, &length);
    FUZZ_CHECK(status == (bad != 0u ? ISTH_E_LEVEL : ISTH_OK));
    FUZZ_CHECK(bad == 0u || length == 0u);
    FUZZ_CHECK(fuzz_encode_levels(p, p->tables->rung_count, 0u, raw, out, p->frame_bytes_max,
                                  &length) == ISTH_E_RUNG);
    FUZZ_CHECK(length == 0u);
    free(out);
}

/* The frame, its decoding, and that the levels by themselves give the same frame. */
static void check_frame(const fuzz_profile *p, unsigned rung, uint16_t sequence, const void *tensor,
                        const uint8_t *frame, size_t length) {
    uint8_t *other = fuzz_block(p->frame_bytes_max, 0x5A);
    uint8_t *levels = fuzz_block(p->elements, 0x5A);
    uint8_t *expected = fuzz_block(p->elements, 0x5A);
    isth_slice_info info;
    size_t size = 0u;

    check_parts(p, rung, sequence, frame, length);
    fuzz_bins_read = 0u;
    FUZZ_CHECK(fuzz_decode_levels(p, frame, length, p->words, levels, p->elements, &info) ==
               ISTH_OK);
    FUZZ_CHECK(fuzz_bins_read >= p->elements || p->bins_max == 0u);
    FUZZ_CHECK(fuzz_bins_read <= fuzz_bins_written);
    expected_levels(p, &p->tables->rungs[rung], tensor, expected);
    FUZZ_CHECK(p->elements == 0u || memcmp(levels, expected, p->elements) == 0);
    FUZZ_CHECK(fuzz_encode_levels(p, rung, sequence, levels, other, p->frame_bytes_max, &size) ==
               ISTH_OK);
    FUZZ_CHECK(size == length && memcmp(frame, other, length) == 0);
    free(expected);
    free(levels);
    free(other);
}

/* About the frame's own length in one half of the inputs, anything in the other. */
static size_t chosen_size(const fuzz_profile *p, const uint8_t *head, size_t length) {
    size_t size = (size_t)head[4] | ((size_t)(head[5] & 0x7Fu) << 8);

    if ((head[5] & 0x80u) == 0u) {
        return size % (p->frame_bytes_max + 1u);
    }
    size = length + head[4] % 16u;
    return size < 8u ? 0u : size - 8u;
}

static void check_tensor(const fuzz_profile *p, unsigned rung, uint16_t sequence,
                         const uint8_t *head, const void *tensor) {
    void *memory = fuzz_block(p->memory_bytes, 0x5A);
    uint8_t *frame = fuzz_block(p->frame_bytes_max, 0x5A);
    size_t length = 0u;

    fuzz_bins_written = 0u;
    FUZZ_CHECK(p->encode(memory, rung, sequence, tensor, frame, p->frame_bytes_max, &length) ==
               ISTH_OK);
    FUZZ_CHECK(fuzz_bins_written >= p->elements || p->bins_max == 0u);
    FUZZ_CHECK(fuzz_bins_written <= 3u * p->elements * p->bins_max);
    switch (head[6] >> 6) {
    case 0u:
        check_frame(p, rung, sequence, tensor, frame, length);
        break;
    case 1u:
        check_pieces(p, rung, sequence, head[7], tensor, frame, length);
        break;
    case 2u:
        check_capacity(p, rung, sequence, tensor, chosen_size(p, head, length), frame, length);
        check_raw_levels(p, rung, tensor);
        break;
    default:
        check_budget(p, sequence, tensor, chosen_size(p, head, length));
        break;
    }
    free(frame);
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const fuzz_profile *p;
    unsigned rung;
    uint16_t sequence;
    void *tensor;

    if (size < HEAD) {
        return 0;
    }
    p = fuzz_choose(data[0]);
    rung = data[1] % p->tables->rung_count;
    sequence = (uint16_t)(data[2] | (data[3] << 8));
    tensor = make_tensor(p->elements * p->element_bytes, data, data + HEAD, size - HEAD);
    check_tensor(p, rung, sequence, data, tensor);
    free(tensor);
    return 0;
}
