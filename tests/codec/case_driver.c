/*
 * Runs a file of codec cases: every table, tensor, frame and output lies in a heap block of exactly
 * its size, so that a sanitiser sees each byte read or written outside.
 *
 *     case_driver < cases > answers
 *
 * Numbers are 32 bits, little-endian. A case begins with its kind:
 *
 * 1, profile: rows, row elements, slice rows, packet unit, packet bytes, slices, digest[2] as one
 * number, digest CRC, rungs. A rung: levels, classes, suffix bits, rate, bins of a set, contexts,
 * budget start, payload_max; then 0 and initial, or 1 and channels, step, classes, element cost,
 * channel bases, class bins, states, or 2 and channels, symbols, classes, distributions, bits of a
 * level, outside, grids, cells, choices, levels, 0 or 1 and values, own, starts; then 0 or 1 and
 * table; then the number of rows and the thresholds, of f32 and of i16.
 *
 * 2, encode: type (0 i8, 1 i16, 2 f32, 3 levels), rung, sequence, capacity, piece (0: one call),
 * bytes, tensor. Answer: status, length, bytes out (0 unless status 0).
 *
 * 3, decode: bytes, frame. Answer: status, elements, levels (0 unless status 0).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isth_codec.h"

static void fail(const char *what) {
    fprintf(stderr, "case_driver: %s\n", what);
    exit(2);
}

static void *block(size_t size) {
    void *memory = malloc(size);

    if (memory == NULL && size != 0u) {
        fail("no memory");
    }
    return memory;
}

static uint32_t get(void) {
    unsigned char b[4];

    if (fread(b, 1, 4, stdin) != 4) {
        fail("a case ends early");
    }
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void put(uint32_t value) {
    unsigned i;

    for (i = 0; i < 4u; i++) {
        putchar((int)((value >> (8u * i)) & 0xFFu));
    }
}

static uint8_t *get_bytes(size_t size) {
    uint8_t *data = block(size);

    if (size != 0u && fread(data, 1, size, stdin) != size) {
        fail("a case ends early");
    }
    return data;
}

static isth_choice *read_choice(unsigned levels) {
    isth_choice *choice = block(sizeof *choice);
    uint16_t *base;
    uint32_t i;

    choice->channels = get();
    choice->step = get();
    choice->class_count = (uint16_t)get();
    choice->element_cost = (uint16_t)get();
    base = block(choice->channels * sizeof *base);
    for (i = 0; i < choice->channels; i++) {
        base[i] = (uint16_t)get();
    }
    choice->channel_base = base;
    choice->class_bins = get_bytes(levels + 1u);
    return choice;
}

static void free_choice(const isth_choice *choice) {
    if (choice != NULL) {
        free((void *)(uintptr_t)choice->channel_base);
        free((void *)(uintptr_t)choice->class_bins);
        free((void *)(uintptr_t)choice);
    }
}

static uint16_t *get_words(size_t count) {
    uint16_t *words = block(count * sizeof *words);
    size_t i;

    for (i = 0; i < count; i++) {
        words[i] = (uint16_t)get();
    }
    return words;
}

static isth_trained *read_trained(unsigned levels) {
    isth_trained *trained = block(sizeof *trained);
    uint32_t classes;
    uint32_t distributions;

    memset(trained, 0, sizeof *trained);
    trained->channels = get();
    trained->symbols = (uint16_t)get();
    classes = get();
    distributions = get();
    trained->level_bits = (uint8_t)get();
    trained->outside = (uint8_t)get();
    trained->grids = (uint8_t)get();
    trained->cells = get_bytes(256u * classes);
    trained->choices = get_words(32u * trained->channels);
    trained->levels = get_words(levels);
    if (get() != 0u) {
        trained->values = get_words(256u);
    }
    trained->own = get_bytes(trained->symbols);
    trained->starts = get_words(distributions * (trained->symbols + 1u));
    return trained;
}

static void free_trained(const isth_trained *trained) {
    if (trained != NULL) {
        free((void *)(uintptr_t)trained->cells);
        free((void *)(uintptr_t)trained->choices);
        free((void *)(uintptr_t)trained->levels);
        free((void *)(uintptr_t)trained->values);
        free((void *)(uintptr_t)trained->own);
        free((void *)(uintptr_t)trained->starts);
        free((void *)(uintptr_t)trained);
    }
}

static void read_rung(isth_rung *rung) {
    uint32_t *keys;
    int32_t *steps;
    uint32_t kind;
    uint32_t count;
    uint32_t i;

    memset(rung, 0, sizeof *rung);
    rung->levels = (uint16_t)get();
    rung->classes = (uint8_t)get();
    rung->suffix_bits = (uint8_t)get();
    rung->rate = (uint8_t)get();
    rung->set_bins = (uint8_t)get();
    rung->context_count = (uint16_t)get();
    rung->budget_start = get();
    rung->payload_max = get();
    kind = get();
    if (kind == 0u) {
        rung->initial = get_words(rung->context_count);
    } else if (kind == 1u) {
        rung->choice = read_choice(rung->levels);
        rung->states = get_bytes(rung->context_count);
    } else {
        rung->trained = read_trained(rung->levels);
    }
    if (get() != 0u) {
        rung->table_i8 = get_bytes(256u);
    }
    count = get() * (rung->levels - 1u);
    if (count != 0u) {
        keys = block(count * sizeof *keys);
        for (i = 0; i < count; i++) {
            keys[i] = get();
        }
        rung->thresholds_f32 = keys;
    }
    count = get() * (rung->levels - 1u);
    if (count != 0u) {
        steps = block(count * sizeof *steps);
        for (i = 0; i < count; i++) {
            steps[i] = (int32_t)get();
        }
        rung->thresholds_i16 = steps;
    }
}

static void free_profile(isth_profile *profile, isth_rung *rungs) {
    unsigned i;

    for (i = 0; i < profile->rung_count; i++) {
        free((void *)(uintptr_t)rungs[i].initial);
        free((void *)(uintptr_t)rungs[i].states);
        free_choice(rungs[i].choice);
        free_trained(rungs[i].trained);
        free((void *)(uintptr_t)rungs[i].table_i8);
        free((void *)(uintptr_t)rungs[i].thresholds_f32);
        free((void *)(uintptr_t)rungs[i].thresholds_i16);
    }
    free(rungs);
}

static isth_rung *read_profile(isth_profile *profile) {
    isth_rung *rungs;
    uint32_t prefix;
    unsigned i;

    profile->rows = get();
    profile->row_elements = get();
    profile->slice_rows = get();
    profile->packet_unit = get();
    profile->packet_bytes = (uint16_t)get();
    profile->slices = (uint16_t)get();
    prefix = get();
    profile->digest[0] = (uint8_t)(prefix & 0xFFu);
    profile->digest[1] = (uint8_t)(prefix >> 8);
    profile->digest_crc = get();
    profile->rung_count = (uint8_t)get();
    rungs = block(profile->rung_count * sizeof *rungs);
    for (i = 0; i < profile->rung_count; i++) {
        read_rung(&rungs[i]);
    }
    profile->rungs = rungs;
    return rungs;
}

/* One slice after the other in pieces of `piece` elements; the sum of what they take. */
static isth_status encode_pieces(const isth_profile *profile, unsigned rung, uint16_t sequence,
                                 const int8_t *tensor, uint16_t *contexts, size_t count,
                                 uint8_t *out, size_t capacity, size_t piece, size_t *length) {
    isth_status result = ISTH_OK;
    unsigned slice;

    *length = 0u;
    for (slice = 0; slice < profile->slices; slice++) {
        size_t used = *length < capacity ? *length : capacity;
        size_t left = isth_slice_elements(profile, slice);
        size_t size = 0u;
        isth_encoder encoder;
        isth_status status = isth_encoder_begin(&encoder, profile, rung, sequence, slice, contexts,
                                                count, out + used, capacity - used);

        while (status == ISTH_OK && left != 0u) {
            size_t next = left < piece ? left : piece;

            status = isth_encoder_push_i8(&encoder, tensor, next);
            tensor += next;
            left -= next;
        }
        if (status == ISTH_OK) {
            status = isth_encoder_finish(&encoder, &size);
        }
        *length += size;
        if (status == ISTH_E_BUFFER) {
            result = status;
        } else if (status != ISTH_OK) {
            return status;
        }
    }
    return result;
}

static void run_encode(const isth_profile *profile) {
    uint32_t type = get();
    uint32_t rung = get();
    uint16_t sequence = (uint16_t)get();
    size_t capacity = get();
    size_t piece = get();
    size_t bytes = get();
    uint8_t *tensor = get_bytes(bytes);
    uint8_t *out = block(capacity);
    size_t count = rung < profile->rung_count ? isth_workspace_words(profile, rung) : 0u;
    uint16_t *contexts = block(count * sizeof *contexts);
    size_t length = 0u;
    isth_encoder encoder;
    isth_status status;

    if (type == 0u && piece != 0u) {
        status = encode_pieces(profile, rung, sequence, (const int8_t *)tensor, contexts, count,
                               out, capacity, piece, &length);
    } else if (type == 0u) {
        status = isth_encode_i8(&encoder, profile, rung, sequence, (const int8_t *)tensor, contexts,
                                count, out, capacity, &length);
    } else if (type == 1u) {
        status = isth_encode_i16(&encoder, profile, rung, sequence,
                                 (const int16_t *)(const void *)tensor, contexts, count, out,
                                 capacity, &length);
    } else if (type == 2u) {
        status =
            isth_encode_f32(&encoder, profile, rung, sequence, (const float *)(const void *)tensor,
                            contexts, count, out, capacity, &length);
    } else {
        status = isth_encode_levels(&encoder, profile, rung, sequence, tensor, contexts, count, out,
                                    capacity, &length);
    }
    put((uint32_t)status);
    put((uint32_t)length);
    put(status == ISTH_OK ? (uint32_t)length : 0u);
    if (status == ISTH_OK) {
        fwrite(out, 1, length, stdout);
    }
    free(contexts);
    free(out);
    free(tensor);
}

/* Words for whatever rung a frame names. */
static size_t most_words(const isth_profile *profile) {
    size_t most = 0u;
    unsigned i;

    for (i = 0; i < profile->rung_count; i++) {
        size_t words = isth_workspace_words(profile, i);

        most = words > most ? words : most;
    }
    return most;
}

static void run_decode(const isth_profile *profile) {
    size_t bytes = get();
    uint8_t *frame = get_bytes(bytes);
    size_t elements = (size_t)profile->rows * profile->row_elements;
    uint8_t *levels = block(elements);
    size_t count = most_words(profile);
    uint16_t *contexts = block(count * sizeof *contexts);
    isth_slice_info info;
    isth_status status =
        isth_decode_levels(profile, frame, bytes, contexts, count, levels, elements, &info);

    put((uint32_t)status);
    put(status == ISTH_OK ? (uint32_t)elements : 0u);
    if (status == ISTH_OK) {
        fwrite(levels, 1, elements, stdout);
    }
    free(contexts);
    free(levels);
    free(frame);
}

int main(void) {
    isth_profile profile = {0};
    isth_rung *rungs = NULL;
    int next;

    while ((next = getchar()) != EOF) {
        if (next == 1) {
            free_profile(&profile, rungs);
            rungs = read_profile(&profile);
        } else if (next == 2) {
            run_encode(&profile);
        } else if (next == 3) {
            run_decode(&profile);
        } else {
            fail("not a case");
        }
    }
    free_profile(&profile, rungs);
    return ferror(stdout) != 0 ? 3 : 0;
}
