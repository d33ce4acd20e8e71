/*
 * Isthmus: frames on a byte stream, such as a serial line, and the answers that come back
 * (docs/links.md).
 *
 *     one frame on the line:  COBS( kind | payload | CRC-16 )  0
 *
 * Up go units (a frame, or one of its slices or packets; sealed or not), down come compact answers.
 * A program that calls nothing of this is linked without it.
 *
 *     isth_link_write(put, user, ISTH_LINK_UNIT, slice, length);
 *
 *     static uint8_t buffer[ISTH_LINK_BUFFER_BYTES(ISTH_ANSWER_BYTES(5))];
 *     static isth_link_reader reader;
 *     isth_link_reader_begin(&reader, buffer, sizeof buffer);
 *     while (a byte came) {
 *         if (isth_link_read(&reader, byte) && reader.kind == ISTH_LINK_ANSWER &&
 *             isth_answer_parse(reader.payload, reader.length, &answer) == ISTH_OK) { ... }
 *     }
 */
#ifndef ISTH_LINK_H
#define ISTH_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "isth_status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ISTH_LINK_UNIT 0x01u   /* kind: a unit, board to host */
#define ISTH_LINK_ANSWER 0x81u /* kind: a compact answer, host to board */

#define ISTH_LINK_FRAMING_BYTES 3u /* kind and CRC-16 */

/*
 * Bytes that no frame with a payload of `length` bytes exceeds, its 0 included. With n = length +
 * 3: a code byte either replaces a 0, which costs nothing, or ends a run of 254 bytes, of which
 * there are at most n / 254, or is the last one; and where the last one is not the end of such a
 * run, at least one byte is outside of them. So there are at most ceil(n / 254) more bytes, and the
 * 0.
 */
#define ISTH_LINK_BYTES_MAX(length)                                                                \
    ((size_t)(length) + ISTH_LINK_FRAMING_BYTES +                                                  \
     ((size_t)(length) + ISTH_LINK_FRAMING_BYTES + 253u) / 254u + 1u)

/* Bytes of an answer with `values` values, and of a reader's buffer for payloads of `length`. */
#define ISTH_ANSWER_BYTES(values) (5u + 6u * (size_t)(values))
#define ISTH_LINK_BUFFER_BYTES(length) ((size_t)(length) + ISTH_LINK_FRAMING_BYTES)

/* Takes bytes for the line; they are gone after the call. Zero when all is well. */
typedef int (*isth_link_put)(void *user, const uint8_t *data, size_t size);

/*
 * Frames `length` bytes at `data` and hands them to `put`, piece by piece, without a buffer: two
 * calls for each 0 in them and for each 254 bytes, and six more at most. What `put` returned if it
 * was not 0, else 0. A frame that was broken off is dropped by the reader at the next 0.
 */
int isth_link_write(isth_link_put put, void *user, uint8_t kind, const uint8_t *data,
                    size_t length);

/*
 * The same into `out`. ISTH_LINK_BYTES_MAX(length) bytes are always enough; with less,
 * ISTH_E_BUFFER and the size needed in *size.
 */
isth_status isth_link_encode(uint8_t kind, const uint8_t *data, size_t length, uint8_t *out,
                             size_t capacity, size_t *size);

/* Reads frames byte by byte into a buffer of yours. */
typedef struct isth_link_reader {
    uint8_t *buffer;
    size_t capacity;
    size_t fill;
    const uint8_t *payload; /* of the last frame, until the next byte is read */
    size_t length;
    uint32_t dropped; /* frames that were damaged or too long */
    uint8_t kind;     /* of the last frame */
    uint8_t code;     /* of the run that is being read; 0 before the first */
    uint8_t left;     /* bytes of it still to come */
    uint8_t bad;
} isth_link_reader;

/* `buffer` of ISTH_LINK_BUFFER_BYTES(n) holds payloads of n bytes; longer ones are dropped. */
void isth_link_reader_begin(isth_link_reader *r, uint8_t *buffer, size_t capacity);

/* Takes one byte from the line; 1 if it ends a good frame: kind, payload and length are set. */
int isth_link_read(isth_link_reader *r, uint8_t byte);

/* A compact answer. */
typedef struct isth_answer {
    const uint8_t *values; /* read them with isth_answer_value */
    uint16_t sequence;     /* of the frame; 0 in a refusal that does not know it */
    uint8_t status;        /* 0, or why the frame was refused: an error's number */
    uint8_t count;         /* of values, largest first */
} isth_answer;

/* Reads an answer from a link's payload or a datagram; ISTH_E_TRUNCATED, _VERSION or _TRAILING. */
isth_status isth_answer_parse(const uint8_t *data, size_t size, isth_answer *answer);

/*
 * Value number `i` < count: the output's index, and the bits of an IEEE 754 single, which a memcpy
 * makes a number.
 */
void isth_answer_value(const isth_answer *answer, unsigned i, uint16_t *index, uint32_t *bits);

/* CRC-16/CCITT-FALSE continued from register `crc`, which starts as 0xFFFF. */
uint16_t isth_crc16(uint16_t crc, const uint8_t *data, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* ISTH_LINK_H */
