/*
 * Isthmus: the coder of feature tensors (docs/BITSTREAM.md, version 1.3).
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

#define ISTH_ABI 3
#define ISTH_HEADER_BYTES 12       /* a slice's header */
#define ISTH_SLICED_HEADER_BYTES 14 /* the same where a frame has more than one slice */
#define ISTH_GUESSES 4u            /* guesses for each symbol of a near-lossless decoder */

/*
 * Which context set an element uses in scheme "neighbour": that of its channel's cluster, of the
 * class of the level above it and of the class of the level to its left.
 */
typedef struct isth_choice {
    const uint16_t *channel_base; /* [channels] number of the first context of a channel */
    const uint8_t *class_bins;    /* [levels + 1] class of a level, times the bins of a set; the
                                     last entry is that of a place outside the slice */
    uint32_t channels;            /* element i of a row is of channel i % channels */
    uint32_t step;                /* elements between an element and the one to its left */
    uint16_t class_count;         /* classes of a neighbour */
    uint16_t element_cost;        /* bits of an element in equally long codes, times 32 */
} isth_choice;

/*
 * What codes the levels of a near-lossless rung: each is a symbol of the distribution that its
 * channel and its neighbourhood choose. The frequencies of a distribution have the sum 65535, and
 * symbol 0 is the escape, of at most 256.
 */
typedef struct isth_trained {
    const uint8_t *cells; /* cell of a neighbourhood, at 256 up + 16 up-left + left (classes) */
    const uint16_t *choices; /* [channels][32] where the distribution of each cell begins in
                                `starts` */
    const uint16_t *levels; /* [levels] 256 times the symbol of a level, plus its class */
    const uint16_t *values; /* [256] the same of int8 value v at v + 128; NULL without int8 */
    const uint8_t *own; /* [symbols] level of a symbol */
    const uint16_t *starts; /* [distributions][symbols + 1] sum of the frequencies before each
                               symbol, and of all */
    uint32_t channels; /* element i of a row is of channel i % channels */
    uint16_t symbols; /* symbols with the escape, 2..256 */
    uint8_t outside; /* 17 times the class of a place outside the slice */
    uint8_t level_bits; /* bits of a level that is sent as it is, 1..8 */
    uint8_t grids; /* whether thresholds are [channels][levels - 1], a grid for each channel */
    const uint8_t *guesses; /* [distributions][ISTH_GUESSES (symbols + 1)] the symbol at the start
                               of each of so many equal parts of 65536, which makes a decoder
                               faster; or NULL */
} isth_trained;

/* One quantiser of the profile's ladder. */
typedef struct isth_rung {
    uint16_t levels; /* N, 2..256 */
    uint8_t classes; /* unary classes H, 2..16 */
    uint8_t suffix_bits; /* bits after the unary part, 0 for N <= 16 */
    uint8_t rate; /* adaptation shift, 5..7 */
    uint8_t set_bins; /* contexts of one set */
    uint16_t context_count; /* contexts of all sets */
    uint32_t budget_start; /* bytes from which on a budget begins with this rung */
    uint32_t payload_max; /* bytes no payload of one slice can exceed */
    const uint16_t *initial; /* [context_count] P(bin = 1) at a slice's start, /65536;
                                NULL where `states` holds them */
    const uint8_t *states; /* [context_count] the same as 256 b + 128; or NULL */
    const isth_choice *choice; /* NULL in scheme "paper", which has one set */
    const isth_trained *trained; /* of the near-lossless codec, which has no contexts; or NULL */
    const uint16_t *size_ratios; /* [rungs] frames of each rung beside this one's, times 4096,
                                    at most; or NULL */
    const uint8_t *table_i8; /* [256] level of int8 value v at v + 128; or NULL */
    const uint32_t *thresholds_f32; /* [levels - 1] ordered keys of float32; or NULL */
    const int32_t *thresholds_i16; /* [levels - 1] int16 thresholds; or NULL */
} isth_rung;

typedef struct isth_profile {
    uint32_t rows; /* rows of the tensor */
    uint32_t row_elements; /* elements of a row */
    uint32_t slice_rows; /* rows of a slice; the last one may have fewer */
    uint32_t packet_unit; /* elements that a packet never parts */
    uint16_t packet_bytes; /* bytes no packet exceeds; 0 where frames are not cut into packets */
    uint16_t slices; /* slices of a frame, 1..256 */
    uint8_t rung_count; /* rungs of the ladder, 1..8 */
    uint8_t digest[2]; /* first bytes of the profile's SHA-256 */
    uint32_t digest_crc; /* CRC-32 register after the whole digest */
    const isth_rung *rungs;
} isth_profile;

/* An encoder of one slice, or of a frame of packets. Fields are private; the sizes are part of
 * ABI 3. */
typedef struct isth_encoder {
    const isth_profile *profile;
    const isth_rung *rung;
    uint16_t *contexts;
    uint8_t *row; /* classes: step of them outside, then the row last coded at each place;
                     near-lossless: plus 16 times those above it */
    uint8_t *unit; /* levels of a packet's unit that is not complete */
    uint8_t *out;
    size_t capacity;
    size_t start; /* where the slice or packet begins in out */
    size_t position; /* bytes produced; runs on past capacity */
    uint32_t low;
    uint32_t range;
    uint32_t remaining; /* elements of the slice, or of the frame of packets, still to come */
    uint32_t column; /* place of the next element in its row */
    uint32_t channel; /* channel of the next element */
    uint32_t allowed; /* bytes the payload may have before the rest is coded flat, times 256 */
    uint32_t unit_fill; /* levels in `unit` */
    uint32_t first; /* first unit of the packet */
    uint16_t units; /* units of the packet */
    uint16_t sequence;
    uint16_t slice;
    uint8_t rung_index;
    uint8_t state;
    uint8_t flat; /* one context set, as in scheme "paper" */
    uint8_t flags;
} isth_encoder;

/* What the header of a slice or packet says. */
typedef struct isth_slice_info {
    uint32_t payload_bytes;
    uint32_t header_bytes;
    uint32_t checksum;
    uint32_t first; /* its first element */
    uint32_t elements; /* and how many it has */
    uint16_t sequence;
    uint16_t slice; /* 0 in a packet */
    uint16_t slices;
    uint8_t rung;
    uint8_t flat; /* a packet that is coded flat from its start */
} isth_slice_info;

/*
 * Words of 16 bits that encoder and decoder work in: contexts, a row of the tensor and a packet's
 * unit. `rung` is an index below rung_count; of several rungs take the largest.
 */
size_t isth_workspace_words(const isth_profile *profile, unsigned rung);

/* Elements of slice `slice` (0 where there is no such slice). */
uint32_t isth_slice_elements(const isth_profile *profile, unsigned slice);

/*
 * Begins slice `slice` of a frame (0 for a frame of packets). `workspace` holds `words` entries, at
 * least isth_workspace_words(); `out` holds `capacity` bytes. Sequence numbers are the caller's.
 */
isth_status isth_encoder_begin(isth_encoder *e, const isth_profile *profile, unsigned rung,
                               uint16_t sequence, unsigned slice, uint16_t *workspace, size_t words,
                               uint8_t *out, size_t capacity);

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
                           uint16_t sequence, const int8_t *tensor, uint16_t *workspace,
                           size_t words, uint8_t *out, size_t capacity, size_t *length);
isth_status isth_encode_i16(isth_encoder *e, const isth_profile *profile, unsigned rung,
                            uint16_t sequence, const int16_t *tensor, uint16_t *workspace,
                            size_t words, uint8_t *out, size_t capacity, size_t *length);
isth_status isth_encode_f32(isth_encoder *e, const isth_profile *profile, unsigned rung,
                            uint16_t sequence, const float *tensor, uint16_t *workspace,
                            size_t words, uint8_t *out, size_t capacity, size_t *length);
isth_status isth_encode_levels(isth_encoder *e, const isth_profile *profile, unsigned rung,
                               uint16_t sequence, const uint8_t *levels, uint16_t *workspace,
                               size_t words, uint8_t *out, size_t capacity, size_t *length);

/*
 * Bytes at the start of the frame that are complete packets: send them while the rest is still
 * being pushed. Call isth_packet_length on each to part them.
 */
size_t isth_encoder_ready(const isth_encoder *e);

/* Bytes of the packet that starts at `data`, which an encoder made. */
size_t isth_packet_length(const uint8_t *data);

/*
 * The best rung whose frame fits `budget` bytes, in at most two passes: first the rung that the
 * budget suggests (budget_start); then, where another is better or the first did not fit, the best
 * that can be expected to (size_ratios). *rung says which one it is. ISTH_E_BUFFER where that one
 * does not fit: send nothing. `kind` says what `tensor` points to. `out` holds `budget` bytes.
 */
typedef enum isth_kind { ISTH_I8, ISTH_I16, ISTH_F32, ISTH_LEVELS } isth_kind;
isth_status isth_encode_within(isth_encoder *e, const isth_profile *profile, uint16_t sequence,
                               isth_kind kind, const void *tensor, uint16_t *workspace,
                               size_t words, uint8_t *out, size_t budget, size_t *length,
                               unsigned *rung);

/* Reads and checks the header of the slice or packet at `data`, its checksum too. */
isth_status isth_slice_parse(const isth_profile *profile, const uint8_t *data, size_t size,
                             isth_slice_info *info);

/*
 * Decodes one slice or packet that isth_slice_parse accepted. `levels` takes info->elements bytes;
 * `workspace` as for the encoder.
 */
isth_status isth_slice_decode(const isth_profile *profile, const isth_slice_info *info,
                              const uint8_t *data, uint16_t *workspace, size_t words,
                              uint8_t *levels);

/* Decodes a whole frame: every slice once, in order, and nothing after the last. */
isth_status isth_decode_levels(const isth_profile *profile, const uint8_t *frame, size_t size,
                               uint16_t *workspace, size_t words, uint8_t *levels,
                               size_t level_count, isth_slice_info *info);

/* CRC-32 (IEEE 802.3, reflected) continued from register `crc` over `size` bytes. */
uint32_t isth_crc32(uint32_t crc, const uint8_t *data, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* ISTH_CODEC_H */
