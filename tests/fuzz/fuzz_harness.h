/*
 * What the two fuzzers share: the table of profiles, blocks of exact size, counted bins, and a
 * repair that puts header and checksum of a damaged frame right.
 */
#ifndef FUZZ_HARNESS_H
#define FUZZ_HARNESS_H

#include <stddef.h>
#include <stdint.h>

#include "isth_codec.h"

typedef enum fuzz_kind { FUZZ_I8, FUZZ_I16, FUZZ_F32 } fuzz_kind;

/* One profile of fuzz_profiles.py, with the calls of its emitted isth.h. */
typedef struct fuzz_profile {
    const isth_profile *tables;
    fuzz_kind kind;
    size_t element_bytes;
    size_t elements;
    size_t words; /* ISTH_WORKSPACE_WORDS */
    size_t frame_bytes_max;
    size_t slice_bytes_max;
    size_t bins_max;     /* the most bins of one element; 0 where symbols are coded */
    size_t memory_bytes; /* sizeof(isth_encoder_memory) */
    isth_status (*encode)(void *memory, unsigned rung, uint16_t sequence, const void *tensor,
                          uint8_t *out, size_t capacity, size_t *length);
    isth_status (*budget)(void *memory, uint16_t sequence, const void *tensor, uint8_t *out,
                          size_t budget, size_t *length, unsigned *rung);
    isth_status (*begin)(void *memory, unsigned rung, uint16_t sequence, unsigned slice,
                         uint8_t *out, size_t capacity);
    isth_status (*push)(void *memory, const void *values, size_t count);
    isth_status (*finish)(void *memory, size_t *length);
} fuzz_profile;

extern const fuzz_profile *const fuzz_profiles[];
extern const size_t fuzz_profile_count;

/* The profile that byte `choice` of an input means: the last one, which is slow, is a rare one. */
const fuzz_profile *fuzz_choose(uint8_t choice);

/* Bins coded since they were last set to 0 (fuzz_counted_*.c). */
extern size_t fuzz_bins_written;
extern size_t fuzz_bins_read;

/* A property that does not hold ends the program, so that the fuzzer keeps its input. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fuzz_fail(__FILE__, __LINE__, #condition);                                             \
        }                                                                                          \
    } while (0)

void fuzz_fail(const char *file, int line, const char *what);

/* A heap block of exactly `size` bytes, filled with `fill`; free() gives it back. */
void *fuzz_block(size_t size, int fill);
void *fuzz_copy(const void *data, size_t size);

/* Levels coded as a whole frame into a block of exactly `capacity` bytes. */
isth_status fuzz_encode_levels(const fuzz_profile *p, unsigned rung, uint16_t sequence,
                               const uint8_t *levels, uint8_t *out, size_t capacity,
                               size_t *length);

/* A frame decoded in a workspace of exactly `words` words. */
isth_status fuzz_decode_levels(const fuzz_profile *p, const uint8_t *frame, size_t size,
                               size_t words, uint8_t *levels, size_t count, isth_slice_info *info);

/*
 * Puts a frame right, slice by slice: 0 nothing, 1 the digest's prefix and the checksums, 2 and 3
 * every field, so that the payloads are reached.
 */
void fuzz_repair(const fuzz_profile *p, unsigned how, uint8_t *frame, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* FUZZ_HARNESS_H */
