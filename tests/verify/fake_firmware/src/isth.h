/* A stand-in for an emitted tree: the same calls, a front and a code simple enough to restate. */
#ifndef ISTH_H
#define ISTH_H

#include <stddef.h>
#include <stdint.h>

#define ISTH_ELEMENTS 96u
#define ISTH_RUNGS 2
#define ISTH_FRAME_BYTES_MAX 104
#define ISTH_SLICES 1
#ifndef ISTH_HAS_FRONT
#define ISTH_HAS_FRONT 1
#endif

typedef enum { ISTH_OK = 0, ISTH_E_RUNG = 5, ISTH_E_BUFFER = 14 } isth_status;

typedef int8_t isth_element;

typedef struct {
    uint32_t sum;
    uint16_t contexts[8];
} isth_encoder_memory;

isth_status isth_encode_tensor(isth_encoder_memory *m, unsigned rung, uint16_t sequence,
                               const isth_element *tensor, uint8_t *out, size_t capacity,
                               size_t *length);

#endif
