/*
 * Isthmus: the coder of feature tensors (docs/BITSTREAM.md, version 1.0).
 *
 * Eight lines of use, with the tables and sizes of the generated isth.h:
 *
 *     static isth_encoder_memory memory;
 *     static uint8_t frame[ISTH_FRAME_BYTES_MAX];
 *     size_t length;
 *     isth_status s = isth_encode_tensor(&memory, 0, sequence++, tensor, frame, sizeof frame,
 *                                        &length);
 *     if (s == ISTH_OK) { send(frame, length); }
 *
 * All memory is the caller's. Nothing here allocates, recurses, prints or keeps state of its own,
 * so one profile may serve any number of encoders at once. Integers only, 32 bits wide.
 */
#ifndef ISTH_CODEC_H
#define ISTH_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "isth_status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ISTH_ABI 1
#define ISTH_HEADER_BYTES 12       /* a slice's header */
#define ISTH_SLICED_HEADER_BYTES 14 /* the same where a frame has more than one slice */

/* One quantiser of the profile's ladder. */
typedef struct isth_rung {
    uint16_t levels;                /* N, 2..256 */
    uint8_t classes;                /* unary classes H, 2..16 */
    uint8_t suffix_bits;            /* bits after the unary part, 0 for N <= 16 */
    uint8_t rate;                   /* adaptation shift, 5..7 */
    uint8_t context_count;          /* contexts the rung needs */
    uint32_t payload_max;           /* bytes no payload of one slice can exceed */
    const uint16_t *initial;        /* [context_count] P(bin = 1) at a slice's start, /65536 */
    const uint8_t *table_i8;        /* [256] level of int8 value v at v + 128; or NULL */
    const uint32_t *thresholds_f32; /* [levels - 1] ordered keys of float32; or NULL */
    const int32_t *thresholds_i16;  /* [levels - 1] int16 thresholds; or NULL */
} isth_rung;

typedef struct isth_profile {
    uint32_t rows;         /* rows of the tensor */
    uint32_t row_elements; /* elements of a row */
    uint32_t slice_rows;   /* rows of a slice; the last one may have fewer */
    uint16_t slices;       /* slices of a frame, 1..256 */
    uint8_t rung_count;    /* rungs of the ladder, 1..8 */
    uint8_t digest[2];     /* first bytes of the profile's SHA-256 */
    uint32_t digest_crc;   /* CRC-32 register after the whole digest */
    const isth_rung *rungs;
} isth_profile;

/* An encoder of one slice. Fields are private; the sizes are part of ABI 1. */
typedef struct isth_encoder {
    const isth_profile *profile;
    const isth_rung *rung;
    uint16_t *contexts;
    uint8_t *out;
    size_t capacity;
    size_t position; /* bytes produced, header included; runs on past capacity */
    uint32_t low;
    uint32_t range;
    uint32_t remaining; /* elements of the slice still to come */
    uint16_t sequence;
    uint8_t rung_index;
    uint8_t state;
    uint16_t slice;
} isth_encoder;

/* What a slice's header says. */
typedef struct isth_slice_info {
    uint32_t payload_bytes;
    uint32_t header_bytes;
    uint32_t checksum;
    uint16_t sequence;
    uint16_t slice;
    uint16_t slices;
    uint8_t rung;
} isth_slice_info;

/* Elements of slice `slice` (0 where there is no such slice). */
uint32_t isth_slice_elements(const isth_profile *profile, unsigned slice);

/*
 * Begins slice `slice` of a frame. `contexts` holds `context_count` entries, at least the rung's
 * context_count; `out` holds `capacity` bytes. Sequence numbers are the caller's.
 */
isth_status isth_encoder_begin(isth_encoder *e, const isth_profile *profile, unsigned rung,
                               uint16_t sequence, unsigned slice, uint16_t *contexts,
                               size_t context_count, uint8_t *out, size_t capacity);

/* Adds `count` elements, in row-major order; rows may come one at a time or in pieces. */
isth_status isth_encoder_push_i8(isth_encoder *e, const int8_t *values, size_t count);
isth_status isth_encoder_push_i16(isth_encoder *e, const int16_t *values, size_t count);
isth_status isth_encoder_push_f32(isth_encoder *e, const float *values, size_t count);
/* The same for values that are levels already; ISTH_E_LEVEL where one is not below N. */
isth_status isth_encoder_push_levels(isth_encoder *e, const uint8_t *values, size_t count);

/*
 * Ends the slice: flush, header, checksum. *length becomes the slice's size in bytes. Where the
 * buffer was too small the result is ISTH_E_BUFFER and *length a size that is large enough; after
 * any other error it is 0.
 */
isth_status isth_encoder_finish(isth_encoder *e, size_t *length);

/* Whole frames, every slice after the other with the one encoder `e`; *length as in
 * isth_encoder_finish. */
isth_status isth_encode_i8(isth_encoder *e, const isth_profile *profile, unsigned rung,
                           uint16_t sequence, const int8_t *tensor, uint16_t *contexts,
                           size_t context_count, uint8_t *out, size_t capacity, size_t *length);
isth_status isth_encode_i16(isth_encoder *e, const isth_profile *profile, unsigned rung,
                            uint16_t sequence, const int16_t *tensor, uint16_t *contexts,
                            size_t context_count, uint8_t *out, size_t capacity, size_t *length);
isth_status isth_encode_f32(isth_encoder *e, const isth_profile *profile, unsigned rung,
                            uint16_t sequence, const float *tensor, uint16_t *contexts,
                            size_t context_count, uint8_t *out, size_t capacity, size_t *length);
isth_status isth_encode_levels(isth_encoder *e, const isth_profile *profile, unsigned rung,
                               uint16_t sequence, const uint8_t *levels, uint16_t *contexts,
                               size_t context_count, uint8_t *out, size_t capacity, size_t *length);

/* Reads and checks the header of the slice at `data`, its checksum too. */
isth_status isth_slice_parse(const isth_profile *profile, const uint8_t *data, size_t size,
                             isth_slice_info *info);

/*
 * Decodes one slice that isth_slice_parse accepted. `levels` takes isth_slice_elements() bytes;
 * `contexts` as for the encoder.
 */
isth_status isth_slice_decode(const isth_profile *profile, const isth_slice_info *info,
                              const uint8_t *data, uint16_t *contexts, size_t context_count,
                              uint8_t *levels);

/* Decodes a whole frame: every slice once, in order, and nothing after the last. */
isth_status isth_decode_levels(const isth_profile *profile, const uint8_t *frame, size_t size,
                               uint16_t *contexts, size_t context_count, uint8_t *levels,
                               size_t level_count, isth_slice_info *info);

/* CRC-32 (IEEE 802.3, reflected) continued from register `crc` over `size` bytes. */
uint32_t isth_crc32(uint32_t crc, const uint8_t *data, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* ISTH_CODEC_H */
