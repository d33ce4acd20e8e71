/*
 * Sealing in the place of harness.c: the unit in, the sealed unit out as the frame.
 *
 *     UNIT_BYTES     bytes of a unit
 *     TAG_BYTES      bytes of the tag; 0 with HASH_ALONE
 *     HASH_ALONE     the compression function over UNIT_BYTES, whole blocks, and nothing else
 *
 * harness_front() takes the key and harness_encode() signs in place, so that each is counted apart.
 */
#include "harness.h"
#include "isth_seal.h"

#define FRAME_BYTES (UNIT_BYTES + ISTH_SEAL_BYTES(TAG_BYTES))

uint8_t harness_frame[FRAME_BYTES] __attribute__((aligned(4)));

const uint32_t harness_layout[5] = {UNIT_BYTES, 4, FRAME_BYTES, 1, 1};
const uint32_t harness_parts = 1;
uint32_t harness_rung;
uint32_t harness_sequence;
uint32_t harness_length;
uint32_t harness_status;
uint32_t harness_part;

void harness_stop(void) {
    for (;;) {
        __asm__ volatile("");
    }
}

void *harness_input(void) {
    return harness_frame + ISTH_SEAL_HEADER_BYTES;
}

const void *harness_tensor(void) {
    return harness_frame;
}

#if defined(HARNESS_EMPTY)

uint8_t harness_memory[4];

void harness_front(void) {
}

void harness_encode(void) {
    harness_status = 0;
    harness_length = 0;
}

#elif defined(HASH_ALONE)

uint32_t harness_memory[8];

void harness_front(void) {
}

void harness_encode(void) {
    isth_sha256_blocks(harness_memory, harness_frame + ISTH_SEAL_HEADER_BYTES, UNIT_BYTES / 64u);
    harness_length = 0;
    harness_status = 0;
}

#else

isth_sealer harness_memory;

static const uint8_t device_key[32] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
};

void harness_front(void) {
    harness_status = isth_seal_init(&harness_memory, device_key, sizeof device_key, 7, 1000,
                                    ISTH_SEAL_COUNTER_END, TAG_BYTES);
}

void harness_encode(void) {
    size_t length = 0;

    harness_status = isth_sign(&harness_memory, harness_frame + ISTH_SEAL_HEADER_BYTES, UNIT_BYTES,
                               harness_frame, sizeof harness_frame, &length);
    harness_length = (uint32_t)length;
}

#endif
