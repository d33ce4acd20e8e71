/* What the two fuzzers share (fuzz_harness.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_harness.h"

void fuzz_fail(const char *file, int line, const char *what) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

const fuzz_profile *fuzz_choose(uint8_t choice) {
    return fuzz_profiles[choice == 255u ? fuzz_profile_count - 1u
                                        : choice % (fuzz_profile_count - 1u)];
}

void *fuzz_block(size_t size, int fill) {
    void *memory = malloc(size);

    FUZZ_CHECK(memory != NULL);
    memset(memory, fill, size);
    return memory;
}

void *fuzz_copy(const void *data, size_t size) {
    void *memory = fuzz_block(size, 0);

    if (size != 0u) {
        memcpy(memory, data, size);
    }
    return memory;
}

isth_status fuzz_encode_levels(const fuzz_profile *p, unsigned rung, uint16_t sequence,
                               const uint8_t *levels, uint8_t *out, size_t capacity,
                               size_t *length) {
    size_t words = rung < p->tables->rung_count ? isth_workspace_words(p->tables, rung) : 0u;
    uint16_t *workspace = fuzz_block(words * sizeof *workspace, 0x5A);
    isth_encoder *encoder = fuzz_block(sizeof *encoder, 0x5A);
    isth_status status = isth_encode_levels(encoder, p->tables, rung, sequence, levels, workspace,
                                            words, out, capacity, length);

    free(encoder);
    free(workspace);
    return status;
}

isth_status fuzz_decode_levels(const fuzz_profile *p, const uint8_t *frame, size_t size,
                               size_t words, uint8_t *levels, size_t count, isth_slice_info *info) {
    uint16_t *workspace = fuzz_block(words * sizeof *workspace, 0x5A);
    isth_status status =
        isth_decode_levels(p->tables, frame, size, workspace, words, levels, count, info);

    free(workspace);
    return status;
}

static void put_u32(uint8_t *out, uint32_t value) {
    unsigned i;

    for (i = 0; i < 4u; i++) {
        out[i] = (uint8_t)((value >> (8u * i)) & 0xFFu);
    }
}

static void put_checksum(const isth_profile *tables, uint8_t *data, size_t rest) {
    uint32_t crc = isth_crc32(tables->digest_crc, data, 8u);

    put_u32(data + 8, isth_crc32(crc, data + 12, rest) ^ 0xFFFFFFFFu);
}

static unsigned ladder_rung(const isth_profile *tables, const uint8_t *frame) {
    return (frame[1] >> 5) % tables->rung_count;
}

/* Every field of a slice but its sequence; the payload's length where it can be. */
static size_t repair_slice(const isth_profile *tables, unsigned slice, const uint8_t *frame,
                           uint8_t *data, size_t left) {
    size_t payload = ((size_t)(data[1] & 0x1Fu) << 16) | ((size_t)data[3] << 8) | data[2];

    if (payload > left || slice + 1u == tables->slices) {
        payload = left;
    }
    data[0] = (uint8_t)(0x10u | (tables->slices > 1u ? 1u : 0u));
    data[1] = (uint8_t)((ladder_rung(tables, frame) << 5) | ((payload >> 16) & 0x1Fu));
    data[2] = (uint8_t)(payload & 0xFFu);
    data[3] = (uint8_t)((payload >> 8) & 0xFFu);
    memcpy(data + 4, tables->digest, 2u);
    memcpy(data + 6, frame + 6, 2u);
    if (tables->slices > 1u) {
        data[12] = (uint8_t)slice;
        data[13] = (uint8_t)(tables->slices - 1u);
    }
    return payload;
}

static void repair_slices(const isth_profile *tables, unsigned how, uint8_t *frame, size_t size) {
    size_t header = tables->slices > 1u ? ISTH_SLICED_HEADER_BYTES : ISTH_HEADER_BYTES;
    size_t at = 0u;
    unsigned slice;

    for (slice = 0; slice < tables->slices && size - at >= header; slice++) {
        uint8_t *data = frame + at;
        size_t left = size - at - header;
        size_t payload = ((size_t)(data[1] & 0x1Fu) << 16) | ((size_t)data[3] << 8) | data[2];

        if (how != 1u) {
            payload = repair_slice(tables, slice, frame, data, left);
        }
        memcpy(data + 4, tables->digest, 2u);
        if (payload > left) {
            return;
        }
        put_checksum(tables, data, header - 12u + payload);
        at += header + payload;
    }
}

/* Every field of a packet but its sequence, its flat bit and, where they can be, units and length.
 */
static size_t repair_packet(const isth_profile *tables, uint32_t first, uint32_t units,
                            const uint8_t *frame, uint8_t *data, size_t left) {
    size_t payload = ((size_t)(data[1] & 0x1Fu) << 8) | data[2];
    size_t most = (size_t)tables->packet_bytes - ISTH_HEADER_BYTES;

    if (data[7] >= units - first) {
        data[7] = (uint8_t)(units - first - 1u);
    }
    if (payload > left || data[7] + 1u == units - first) {
        payload = left;
    }
    payload = payload < most ? payload : most;
    data[0] = (uint8_t)(0x12u | (data[0] & 4u));
    data[1] = (uint8_t)((ladder_rung(tables, frame) << 5) | (payload >> 8));
    data[2] = (uint8_t)(payload & 0xFFu);
    memcpy(data + 3, frame + 3, 2u);
    data[5] = (uint8_t)(first & 0xFFu);
    data[6] = (uint8_t)(first >> 8);
    return payload;
}

static void repair_packets(const isth_profile *tables, unsigned how, uint8_t *frame, size_t size) {
    uint32_t units = tables->rows * tables->row_elements / tables->packet_unit;
    uint32_t first = 0u;
    size_t at = 0u;

    while (first < units && size - at >= ISTH_HEADER_BYTES) {
        uint8_t *data = frame + at;
        size_t left = size - at - ISTH_HEADER_BYTES;
        size_t payload = ((size_t)(data[1] & 0x1Fu) << 8) | data[2];

        if (how != 1u) {
            payload = repair_packet(tables, first, units, frame, data, left);
        }
        if (payload > left) {
            return;
        }
        put_checksum(tables, data, payload);
        at += ISTH_HEADER_BYTES + payload;
        first += data[7] + 1u;
    }
}

void fuzz_repair(const fuzz_profile *p, unsigned how, uint8_t *frame, size_t size) {
    if (how == 0u) {
        return;
    }
    if (p->tables->packet_bytes != 0u) {
        repair_packets(p->tables, how, frame, size);
    } else {
        repair_slices(p->tables, how, frame, size);
    }
}
