/*
 * Isthmus: the decoder (docs/BITSTREAM.md, chapters 3 and 8).
 *
 * Nothing is taken on trust: the header is checked field by field before the payload is read,
 * every length is bounded by the profile, and a payload is accepted only where it is, bit for
 * bit, what the encoder writes for the levels it stands for.
 */
#include "isth_bins.h"
#include "isth_codec.h"

static uint32_t read_u16(const uint8_t *data) {
    return (uint32_t)data[0] | ((uint32_t)data[1] << 8);
}

/* Chapter 3: the fields in the order in which they are checked. */
static isth_status parse_fields(const isth_profile *profile, const uint8_t *data, size_t size,
                                isth_slice_info *info) {
    unsigned sliced = profile->slices > 1u ? 1u : 0u;

    if (size < 1u) {
        return ISTH_E_TRUNCATED;
    }
    if ((data[0] >> 4) != 1u) {
        return ISTH_E_VERSION;
    }
    if ((data[0] & 0x0Eu) != 0u) {
        return ISTH_E_FLAGS;
    }
    if (size < ISTH_HEADER_BYTES) {
        return ISTH_E_TRUNCATED;
    }
    if (data[4] != profile->digest[0] || data[5] != profile->digest[1]) {
        return ISTH_E_PROFILE;
    }
    if ((data[0] & 1u) != sliced) {
        return ISTH_E_SLICE;
    }
    info->header_bytes = sliced != 0u ? ISTH_SLICED_HEADER_BYTES : ISTH_HEADER_BYTES;
    if (size < info->header_bytes) {
        return ISTH_E_TRUNCATED;
    }
    info->rung = (uint8_t)(data[1] >> 5);
    info->payload_bytes = ((uint32_t)(data[1] & 0x1Fu) << 16) | read_u16(data + 2);
    info->sequence = (uint16_t)read_u16(data + 6);
    info->checksum = read_u16(data + 8) | (read_u16(data + 10) << 16);
    info->slice = sliced != 0u ? data[12] : 0u;
    info->slices = (uint16_t)(sliced != 0u ? data[13] + 1u : 1u);
    return ISTH_OK;
}

isth_status isth_slice_parse(const isth_profile *profile, const uint8_t *data, size_t size,
                             isth_slice_info *info) {
    isth_status status = parse_fields(profile, data, size, info);
    uint32_t crc;

    if (status != ISTH_OK) {
        return status;
    }
    if (info->rung >= profile->rung_count) {
        return ISTH_E_RUNG;
    }
    if (info->slices != profile->slices || info->slice >= profile->slices) {
        return ISTH_E_SLICE;
    }
    if (info->payload_bytes > profile->rungs[info->rung].payload_max) {
        return ISTH_E_LENGTH;
    }
    if (size - info->header_bytes < info->payload_bytes) {
        return ISTH_E_TRUNCATED;
    }
    crc = isth_crc32(profile->digest_crc, data, 8u);
    crc = isth_crc32(crc, data + 12, info->header_bytes - 12u + (size_t)info->payload_bytes);
    return (crc ^ 0xFFFFFFFFu) == info->checksum ? ISTH_OK : ISTH_E_CHECKSUM;
}

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

/*
 * Chapter 8: the decoder knows `low` too, because code = window - low. So it can flush as the
 * encoder does and compare: the window, the payload's length and its last byte.
 */
static isth_status check_flush(const isth_bin_reader *r) {
    uint32_t window = 0u;
    uint32_t low;
    uint32_t expected;
    size_t i;

    for (i = r->position - 4u; i < r->position; i++) {
        window = (window << 8) | (i < r->size ? r->data[i] : 0u);
    }
    low = window - r->code;
    if (low == 0u || 0u - low < r->range) {
        expected = 0u;
    } else {
        expected = (low + 0xFFFFFFu) & 0xFF000000u;
    }
    if (window != expected || r->size > r->position - 3u) {
        return ISTH_E_PAYLOAD;
    }
    if (r->size > 0u && r->data[r->size - 1u] == 0u) {
        return ISTH_E_PAYLOAD;
    }
    return ISTH_OK;
}

isth_status isth_slice_decode(const isth_profile *profile, const isth_slice_info *info,
                              const uint8_t *data, uint16_t *contexts, size_t context_count,
                              uint8_t *levels) {
    const isth_rung *rung = &profile->rungs[info->rung];
    uint32_t count = isth_slice_elements(profile, info->slice);
    unsigned last = rung->classes - 1u;
    isth_bin_reader r;
    uint32_t i;

    if (context_count < rung->context_count) {
        return ISTH_E_ARGUMENT;
    }
    for (i = 0; i < rung->context_count; i++) {
        contexts[i] = rung->initial[i];
    }
    r.code = 0u;
    r.range = ISTH_RANGE_START;
    r.rate = rung->rate;
    r.data = data + info->header_bytes;
    r.position = 0u;
    r.size = info->payload_bytes;
    for (i = 0; i < 4u; i++) {
        r.code = (r.code << 8) | isth_next_byte(&r);
    }
    if (r.code >= r.range) {
        return ISTH_E_PAYLOAD;
    }
    if (rung->suffix_bits == 0u) {
        for (i = 0; i < count; i++) {
            levels[i] = (uint8_t)read_unary(&r, contexts, last);
        }
    } else {
        for (i = 0; i < count; i++) {
            unsigned class_ = read_unary(&r, contexts, last);
            unsigned level = (class_ << rung->suffix_bits) |
                             read_suffix(&r, contexts + last, rung->suffix_bits, class_);

            if (level >= rung->levels) {
                return ISTH_E_LEVEL;
            }
            levels[i] = (uint8_t)level;
        }
    }
    return check_flush(&r);
}

isth_status isth_decode_levels(const isth_profile *profile, const uint8_t *frame, size_t size,
                               uint16_t *contexts, size_t context_count, uint8_t *levels,
                               size_t level_count, isth_slice_info *info) {
    isth_slice_info first = {0};
    size_t at = 0u;
    size_t done = 0u;
    unsigned slice;

    for (slice = 0; slice < profile->slices; slice++) {
        size_t count = isth_slice_elements(profile, slice);
        isth_status status;

        if (slice > 0u && at == size) {
            return ISTH_E_MISSING_SLICE;
        }
        status = isth_slice_parse(profile, frame + at, size - at, info);
        if (status != ISTH_OK) {
            return status;
        }
        if (slice == 0u) {
            first = *info;
        }
        if (info->sequence != first.sequence || info->rung != first.rung) {
            return ISTH_E_SEQUENCE;
        }
        if (info->slice != slice) {
            return info->slice > slice ? ISTH_E_MISSING_SLICE : ISTH_E_SLICE;
        }
        if (level_count - done < count) {
            return ISTH_E_BUFFER;
        }
        status =
            isth_slice_decode(profile, info, frame + at, contexts, context_count, levels + done);
        if (status != ISTH_OK) {
            return status;
        }
        at += (size_t)info->header_bytes + info->payload_bytes;
        done += count;
    }
    *info = first;
    return at == size ? ISTH_OK : ISTH_E_TRAILING;
}
