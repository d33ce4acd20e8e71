/*
 * The decoder under any bytes: byte 0 chooses the profile, byte 1 how the frame is put right first
 * (bits 0, 1: fuzz_repair; high nibble 14, 15: too small a workspace, too small an output), the
 * rest is the frame.
 *
 * What must hold: no stray access, bins bounded by the profile, every level below N, frames that
 * are accepted encode to the same bytes, and levels that come out of a bad payload code and decode
 * like any others.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_harness.h"

/* How often each number was the decoder's answer; printed at the end. */
static unsigned long answers[ISTH_E_ARGUMENT + 1];

#ifdef FUZZ_MUTATOR
/* The fuzzer keeps an input for each answer, even where the compiler gave several one branch. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t seen[ISTH_E_ARGUMENT + 1];
#endif

__attribute__((destructor)) static void print_answers(void) {
    unsigned i;

    for (i = 0; i <= (unsigned)ISTH_E_ARGUMENT; i++) {
        if (answers[i] != 0u) {
            fprintf(stderr, "answer %u: %lu\n", i, answers[i]);
        }
    }
}

static void check_first_slice(const fuzz_profile *p, const uint8_t *frame, size_t size) {
    isth_slice_info info;
    uint16_t *workspace;
    uint8_t *levels;

    if (isth_slice_parse(p->tables, frame, size, &info) != ISTH_OK) {
        return;
    }
    FUZZ_CHECK(info.slice < p->tables->slices && info.rung < p->tables->rung_count);
    FUZZ_CHECK((size_t)info.header_bytes + info.payload_bytes <= size);
    FUZZ_CHECK(info.first <= p->elements && info.elements <= p->elements - info.first);
    workspace = fuzz_block(p->words * sizeof *workspace, 0x5A);
    levels = fuzz_block(info.elements, 0);
    fuzz_bins_read = 0u;
    (void)isth_slice_decode(p->tables, &info, frame, workspace, p->words, levels);
    FUZZ_CHECK(fuzz_bins_read <= info.elements * p->bins_max);
    free(levels);
    free(workspace);
}

static void check_packet(const fuzz_profile *p, const uint8_t *packet, const uint8_t *frame,
                         size_t size) {
    size_t length = isth_packet_length(packet);
    size_t at;

    for (at = 0u; at < size; at += isth_packet_length(frame + at)) {
        const uint8_t *other = frame + at;

        if (packet[0] == other[0] && memcmp(packet + 5, other + 5, 3u) == 0) {
            FUZZ_CHECK(isth_packet_length(other) == length && memcmp(packet, other, length) == 0);
        }
    }
    FUZZ_CHECK(length <= p->tables->packet_bytes);
}

/*
 * Only one frame is accepted for the same levels, rung and sequence. Of packets another encoder may
 * cut otherwise, but those that hold the same units in the same way are the same bytes.
 */
static void check_canonical(const fuzz_profile *p, const uint8_t *frame, size_t length,
                            const uint8_t *given, size_t size) {
    size_t at;

    if (p->tables->packet_bytes == 0u) {
        FUZZ_CHECK(size == length && size <= p->frame_bytes_max);
        FUZZ_CHECK(memcmp(frame, given, length) == 0);
        return;
    }
    for (at = 0u; at < size; at += isth_packet_length(given + at)) {
        check_packet(p, given + at, frame, length);
    }
}

/* The frame of `levels`, which has to decode to them with as many bins as were written. */
static void check_again(const fuzz_profile *p, unsigned rung, uint16_t sequence,
                        const uint8_t *levels, const uint8_t *expected, size_t expected_size) {
    uint8_t *frame = fuzz_block(p->frame_bytes_max, 0x5A);
    uint8_t *again = fuzz_block(p->elements, 0x5A);
    isth_slice_info info;
    size_t length = 0u;

    fuzz_bins_written = 0u;
    FUZZ_CHECK(fuzz_encode_levels(p, rung, sequence, levels, frame, p->frame_bytes_max, &length) ==
               ISTH_OK);
    if (expected != NULL) {
        check_canonical(p, frame, length, expected, expected_size);
    }
    fuzz_bins_read = 0u;
    FUZZ_CHECK(fuzz_decode_levels(p, frame, length, p->words, again, p->elements, &info) ==
               ISTH_OK);
    FUZZ_CHECK(info.rung == rung && info.sequence == sequence);
    /* a packet's last unit may have been written and taken back, twice at most */
    FUZZ_CHECK(fuzz_bins_read <= fuzz_bins_written);
    FUZZ_CHECK(fuzz_bins_read == fuzz_bins_written || p->tables->packet_bytes != 0u);
    FUZZ_CHECK(fuzz_bins_written <= 3u * p->elements * p->bins_max);
    FUZZ_CHECK(fuzz_bins_read >= p->elements || p->bins_max == 0u);
    FUZZ_CHECK(fuzz_bins_read <= p->elements * p->bins_max);
    FUZZ_CHECK(p->elements == 0u || memcmp(again, levels, p->elements) == 0);
    free(again);
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const fuzz_profile *p;
    isth_slice_info info;
    isth_status status;
    uint8_t *frame;
    uint8_t *levels;
    unsigned special;
    size_t count;
    size_t i;

    if (size < 2u) {
        return 0;
    }
    p = fuzz_choose(data[0]);
    special = data[1] >> 4;
    size -= 2u;
    frame = fuzz_copy(data + 2, size);
    fuzz_repair(p, data[1] & 3u, frame, size);
    check_first_slice(p, frame, size);

    count = special == 15u && p->elements > 0u ? p->elements - 1u : p->elements;
    levels = fuzz_block(count, 0);
    memset(&info, 0, sizeof info);
    fuzz_bins_read = 0u;
    status =
        fuzz_decode_levels(p, frame, size, special == 14u ? 0u : p->words, levels, count, &info);
    FUZZ_CHECK((unsigned)status <= (unsigned)ISTH_E_ARGUMENT);
    answers[status]++;
#ifdef FUZZ_MUTATOR
    seen[status] = 1u;
#endif
    FUZZ_CHECK(fuzz_bins_read <= p->elements * p->bins_max);
    if (special == 14u || count < p->elements) {
        FUZZ_CHECK(status != ISTH_OK);
    } else if (status == ISTH_OK) {
        check_again(p, info.rung, info.sequence, levels, frame, size);
    } else if (status == ISTH_E_PAYLOAD || status == ISTH_E_LEVEL) {
        FUZZ_CHECK(info.rung < p->tables->rung_count);
        for (i = 0; i < count; i++) {
            FUZZ_CHECK(levels[i] < p->tables->rungs[info.rung].levels);
        }
        check_again(p, info.rung, info.sequence, levels, NULL, 0u);
    }
    free(levels);
    free(frame);
    return 0;
}

#ifdef FUZZ_MUTATOR
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/*
 * One time in four the frame becomes the good one nearest to it: the levels its payloads decode
 * to, coded. Damage to good frames is what reaches the checks at the end of a payload.
 */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    const fuzz_profile *p;
    isth_slice_info info = {0};
    uint8_t *frame;
    uint8_t *levels;
    size_t length = 0u;

    size = LLVMFuzzerMutate(data, size, max_size);
    if (size < 2u || (seed & 3u) != 0u) {
        return size;
    }
    p = fuzz_choose(data[0]);
    frame = fuzz_copy(data + 2, size - 2u);
    fuzz_repair(p, 2u, frame, size - 2u);
    levels = fuzz_block(p->elements, 0);
    (void)fuzz_decode_levels(p, frame, size - 2u, p->words, levels, p->elements, &info);
    free(frame);
    frame = fuzz_block(p->frame_bytes_max, 0);
    if (info.rung < p->tables->rung_count &&
        fuzz_encode_levels(p, info.rung, info.sequence, levels, frame, p->frame_bytes_max,
                           &length) == ISTH_OK &&
        length + 2u <= max_size) {
        memcpy(data + 2, frame, length);
        size = length + 2u;
        if ((seed & 4u) != 0u) {
            size = 2u + LLVMFuzzerMutate(data + 2, length, max_size - 2u);
        }
    }
    free(frame);
    free(levels);
    return size;
}
#endif
