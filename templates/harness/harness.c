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
const void *harness_tensor;

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
    harness_tensor = harness_arena;
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

void harness_front(void) {
#if ISTH_HAS_FRONT
    harness_tensor = isth_front_run(harness_arena);
#else
    harness_tensor = harness_arena;
#endif
}

void harness_encode(void) {
    size_t length = 0;

    harness_status =
        (uint32_t)isth_encode_tensor(&harness_memory, harness_rung, (uint16_t)harness_sequence,
                                     harness_tensor, harness_frame, sizeof harness_frame, &length);
    harness_length = (uint32_t)length;
}

#endif
