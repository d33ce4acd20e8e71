/*
 * Isthmus: the decoder (docs/BITSTREAM.md, chapters 3 and 8).
 *
 * Nothing is taken on trust: the header is checked field by field before the payload is read,
 * every length is bounded by the profile, and a payload is accepted only where it is, bit for
 * bit, what the encoder writes for the levels it stands for.
 */
#include "isth_decode_loops.h"

#define CHECK_ELEMENTS 32u /* channels between two looks at the length (chapter 6.3) */
#define SLACK_BYTES 64u

static uint32_t read_u16(const uint8_t *data) {
    return (uint32_t)data[0] | ((uint32_t)data[1] << 8);
}

/* The fields of a packet (chapter 3.2), after its first twelve bytes are known to be there. */
static isth_status parse_packet(const isth_profile *profile, const uint8_t *data,
                                isth_slice_info *info) {
    uint32_t units = profile->rows * profile->row_elements / profile->packet_unit;
    uint32_t first = read_u16(data + 5);
    uint32_t count = data[7] + 1u;

    if (info->rung >= profile->rung_count) {
        return ISTH_E_RUNG;
    }
    if (first >= units || count > units - first) {
        return ISTH_E_SLICE;
    }
    info->payload_bytes = ((data[1] & 0x1Fu) << 8) | (uint32_t)data[2];
    info->sequence = (uint16_t)read_u16(data + 3);
    info->first = first * profile->packet_unit;
    info->elements = count * profile->packet_unit;
    info->flat = (uint8_t)((data[0] >> 2) & 1u);
    return info->payload_bytes > profile->packet_bytes - info->header_bytes ? ISTH_E_LENGTH
                                                                            : ISTH_OK;
}

/* The fields of a slice, after its first twelve bytes are known to be there. */
static isth_status parse_slice(const isth_profile *profile, const uint8_t *data, size_t size,
                               isth_slice_info *info) {
    unsigned sliced = profile->slices > 1u ? 1u : 0u;

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
    info->payload_bytes = ((uint32_t)(data[1] & 0x1Fu) << 16) | read_u16(data + 2);
    info->sequence = (uint16_t)read_u16(data + 6);
    info->slice = sliced != 0u ? data[12] : 0u;
    info->slices = (uint16_t)(sliced != 0u ? data[13] + 1u : 1u);
    if (info->rung >= profile->rung_count) {
        return ISTH_E_RUNG;
    }
    if (info->slices != profile->slices || info->slice >= profile->slices) {
        return ISTH_E_SLICE;
    }
    info->first = (uint32_t)info->slice * profile->slice_rows * profile->row_elements;
    info->elements = isth_slice_elements(profile, info->slice);
    return info->payload_bytes > profile->rungs[info->rung].payload_max ? ISTH_E_LENGTH : ISTH_OK;
}

/* Chapter 3: the fields in the order in which they are checked. */
static isth_status parse_fields(const isth_profile *profile, const uint8_t *data, size_t size,
                                isth_slice_info *info) {
    unsigned packets = profile->packet_bytes != 0u ? 1u : 0u;

    info->slice = 0u;
    info->slices = 1u;
    info->flat = 0u;
    if (size < 1u) {
        return ISTH_E_TRUNCATED;
    }
    if ((data[0] >> 4) != 1u) {
        return ISTH_E_VERSION;
    }
    if ((data[0] & (packets != 0u ? 0x08u : 0x0Eu)) != 0u) {
        return ISTH_E_FLAGS;
    }
    if (size < ISTH_HEADER_BYTES) {
        return ISTH_E_TRUNCATED;
    }
    info->header_bytes = ISTH_HEADER_BYTES;
    info->rung = (uint8_t)(data[1] >> 5);
    info->checksum = read_u16(data + 8) | (read_u16(data + 10) << 16);
    if (packets == 0u) {
        return parse_slice(profile, data, size, info);
    }
    return (data[0] & 3u) != 2u ? ISTH_E_SLICE : parse_packet(profile, data, info);
}

isth_status isth_slice_parse(const isth_profile *profile, const uint8_t *data, size_t size,
                             isth_slice_info *info) {
    isth_status status = parse_fields(profile, data, size, info);
    uint32_t crc;

    if (status != ISTH_OK) {
        return status;
    }
    if (size - info->header_bytes < info->payload_bytes) {
        return ISTH_E_TRUNCATED;
    }
    crc = isth_crc32(profile->digest_crc, data, 8u);
    crc = isth_crc32(crc, data + 12, info->header_bytes - 12u + (size_t)info->payload_bytes);
    return (crc ^ 0xFFFFFFFFu) == info->checksum ? ISTH_OK : ISTH_E_CHECKSUM;
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

static void turn_flat(walk *s) {
    unsigned ahead = s->rung->classes - 1u;
    unsigned i;

    s->flat = 1u;
    if (s->rung->trained != NULL) {
        return; /* levels are sent as they are */
    }
    for (i = 0; i < s->rung->set_bins; i++) {
        s->contexts[i] = (uint16_t)(ahead != 0u ? (ahead << 16) / (ahead + 1u) : 0x8000u);
        ahead -= ahead != 0u ? 1u : 0u;
    }
}

/* The row before the slice's first, `outside` everywhere, and where its first element stands. */
static void start_row(walk *s, const isth_profile *profile, uint32_t first, uint8_t outside,
                      uint32_t step) {
    uint32_t slack = profile->packet_bytes / 8u;
    uint32_t i;

    for (i = 0; i < step + profile->row_elements; i++) {
        s->row[i] = outside;
    }
    slack = slack == 0u || slack > SLACK_BYTES ? SLACK_BYTES : slack;
    s->allowed = slack << 8;
    s->column = profile->row_elements != 0u ? first % profile->row_elements : 0u;
    s->channel = s->column % s->channels;
}

static void walk_start(walk *s, const isth_profile *profile, const isth_slice_info *info,
                       uint16_t *workspace) {
    const isth_rung *rung = &profile->rungs[info->rung];
    const isth_choice *choice = rung->choice;
    const isth_trained *trained = rung->trained;
    uint32_t i;

    s->rung = rung;
    s->contexts = workspace;
    s->row = (uint8_t *)(workspace + rung->context_count);
    s->row_elements = profile->row_elements;
    s->flat = 0u;
    for (i = 0; i < rung->context_count; i++) {
        workspace[i] =
            (uint16_t)(rung->states != NULL ? 256u * rung->states[i] + 128u : rung->initial[i]);
    }
    if (choice != NULL) {
        s->channels = choice->channels;
        s->element_cost = choice->element_cost;
        start_row(s, profile, info->first, choice->class_bins[rung->levels], choice->step);
    } else if (trained != NULL) {
        s->channels = trained->channels;
        s->element_cost = 32u * trained->level_bits;
        start_row(s, profile, info->first, trained->outside, trained->channels);
    }
    if (info->flat != 0u) {
        turn_flat(s);
    }
}

/* Goes on past a run, as the encoder does. */
static void look(walk *s, uint32_t count, uint32_t length) {
    s->column += count;
    s->channel += count;
    s->allowed += count * s->element_cost;
    if (s->column == s->row_elements) {
        s->column = 0u;
    }
    if (s->channel == s->channels) {
        s->channel = 0u;
    } else if (s->channel % CHECK_ELEMENTS != 0u) {
        return;
    }
    if (s->flat == 0u && length << 8 > s->allowed) {
        turn_flat(s);
    }
}

static isth_status read_runs(isth_bin_reader *r, walk *s, uint8_t *levels, uint32_t count) {
    const int trained = s->rung->trained != NULL;

    while (count != 0u) {
        uint32_t run = s->channels - s->channel;
        uint32_t look_at = CHECK_ELEMENTS - s->channel % CHECK_ELEMENTS;
        isth_status status;

        run = run < look_at ? run : look_at;
        run = run < count ? run : count;
        if (s->flat != 0u) {
            status =
                trained ? read_plain(r, s->rung, levels, run) : read_one_set(r, s, levels, run);
        } else {
            status = trained ? read_trained(r, s, levels, run) : read_neighbours(r, s, levels, run);
        }
        if (status != ISTH_OK) {
            return status;
        }
        look(s, run, (uint32_t)(r->position - 4u));
        levels += run;
        count -= run;
    }
    return ISTH_OK;
}

isth_status isth_slice_decode(const isth_profile *profile, const isth_slice_info *info,
                              const uint8_t *data, uint16_t *workspace, size_t words,
                              uint8_t *levels) {
    const isth_rung *rung = &profile->rungs[info->rung];
    isth_status status;
    isth_bin_reader r;
    walk s;
    unsigned i;

    if (words < isth_workspace_words(profile, info->rung)) {
        return ISTH_E_ARGUMENT;
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
    walk_start(&s, profile, info, workspace);
    status = rung->choice != NULL || rung->trained != NULL
                 ? read_runs(&r, &s, levels, info->elements)
                 : read_one_set(&r, &s, levels, info->elements);
    return status != ISTH_OK ? status : check_flush(&r);
}

/* Whether a slice belongs to the frame of `first`, and is number `expected` as it is `found`. */
static isth_status check_order(const isth_slice_info *first, const isth_slice_info *info,
                               uint32_t found, uint32_t expected) {
    if (info->sequence != first->sequence || info->rung != first->rung) {
        return ISTH_E_SEQUENCE;
    }
    if (found != expected) {
        return found > expected ? ISTH_E_MISSING_SLICE : ISTH_E_SLICE;
    }
    return ISTH_OK;
}

isth_status isth_decode_levels(const isth_profile *profile, const uint8_t *frame, size_t size,
                               uint16_t *workspace, size_t words, uint8_t *levels,
                               size_t level_count, isth_slice_info *info) {
    const uint32_t elements = profile->rows * profile->row_elements;
    const int packets = profile->packet_bytes != 0u;
    isth_slice_info first = {0};
    size_t at = 0u;
    uint32_t done = 0u;
    uint32_t part = 0u;

    /* packets are told apart by their first element, slices by their number: some are empty */
    for (; packets ? done < elements : part < profile->slices; part++) {
        isth_status status;

        if (part > 0u && at == size) {
            return ISTH_E_MISSING_SLICE;
        }
        status = isth_slice_parse(profile, frame + at, size - at, info);
        if (status != ISTH_OK) {
            return status;
        }
        if (part == 0u) {
            first = *info;
        }
        status = packets ? check_order(&first, info, info->first, done)
                         : check_order(&first, info, info->slice, part);
        if (status != ISTH_OK) {
            return status;
        }
        if (level_count - done < info->elements) {
            return ISTH_E_BUFFER;
        }
        status = isth_slice_decode(profile, info, frame + at, workspace, words, levels + done);
        if (status != ISTH_OK) {
            return status;
        }
        at += (size_t)info->header_bytes + info->payload_bytes;
        done += info->elements;
    }
    *info = first;
    return at == size ? ISTH_OK : ISTH_E_TRAILING;
}
