/* The two steps, over memory that the caller of the emitted tree owns. */
#include "harness.h"

#include "isth.h"
#if ISTH_HAS_FRONT
#include "isth_front.h"
#define INPUT_BYTES ISTH_FRONT_INPUT_BYTES
#define ARENA_BYTES ISTH_FRONT_ARENA_BYTES
#else
#define INPUT_BYTES TENSOR_BYTES
#define ARENA_BYTES (TENSOR_BYTES + sizeof(isth_element)) /* never of no bytes */
#endif
#define TENSOR_BYTES (ISTH_ELEMENTS * sizeof(isth_element))

const uint32_t harness_layout[5] = {INPUT_BYTES, TENSOR_BYTES, ISTH_FRAME_BYTES_MAX,
                                    sizeof(isth_element), ISTH_HAS_FRONT};

uint8_t harness_arena[ARENA_BYTES] __attribute__((aligned(16)));
isth_encoder_memory harness_memory;
uint8_t harness_frame[ISTH_FRAME_BYTES_MAX];

uint32_t harness_rung;
uint32_t harness_sequence;
uint32_t harness_length;
uint32_t harness_status;
uint32_t harness_part;

#ifdef ISTH_FRONT_ROWS
const uint32_t harness_parts = ISTH_FRONT_ROWS;
#else
const uint32_t harness_parts = 1;
#ifndef HARNESS_EMPTY
static const void *tensor;
#endif
#endif

void harness_stop(void) {
    for (;;) {
        __asm__ volatile("");
    }
}

#ifdef HARNESS_EMPTY

/* The baseline of the size figures: the same memory, and no call into the tree. */
void *harness_input(void) {
    return harness_arena;
}

void harness_front(void) {
}

const void *harness_tensor(void) {
    return harness_arena;
}

void harness_encode(void) {
    __asm__ volatile("" : : "r"(&harness_memory), "r"(harness_frame) : "memory");
    harness_status = 0;
    harness_length = 0;
}

#else

void *harness_input(void) {
#if ISTH_HAS_FRONT
    return isth_front_input(harness_arena);
#else
    return harness_arena;
#endif
}

#ifdef ISTH_FRONT_ROWS

void harness_front(void) {
    isth_front_begin(harness_arena);
}

const void *harness_tensor(void) {
    return isth_front_row(harness_arena, harness_part);
}

void harness_encode(void) {
    size_t length = 0;

    harness_status = (uint32_t)isth_encode_rows(&harness_memory, harness_arena, harness_rung,
                                                (uint16_t)harness_sequence, harness_frame,
                                                sizeof harness_frame, &length);
    harness_length = (uint32_t)length;
}

#else

void harness_front(void) {
#if ISTH_HAS_FRONT
    tensor = isth_front_run(harness_arena);
#else
    tensor = harness_arena;
#endif
}

const void *harness_tensor(void) {
    return tensor;
}

void harness_encode(void) {
    size_t length = 0;

    harness_status =
        (uint32_t)isth_encode_tensor(&harness_memory, harness_rung, (uint16_t)harness_sequence,
                                     tensor, harness_frame, sizeof harness_frame, &length);
    harness_length = (uint32_t)length;
}

#endif

#endif
