/*
 * The front half alone, in the place of harness.c, for what each layer takes. The frame that it
 * hands to stream.c holds readings of the counter, 64 bits each, low byte first: one before each
 * layer, one after the last, one after PROBES more probes with nothing between them.
 */
#include "harness.h"
#include "isth_front.h"

#define PROBES 64u
#define READINGS (ISTH_FRONT_LAYERS + 2u)

const uint32_t harness_layout[5] = {ISTH_FRONT_INPUT_BYTES, ISTH_FRONT_OUTPUT_BYTES, 8u * READINGS,
                                    1, 1};

uint8_t harness_arena[ISTH_FRONT_ARENA_BYTES] __attribute__((aligned(16)));
uint8_t harness_frame[8u * READINGS];

uint32_t harness_rung;
uint32_t harness_sequence;
uint32_t harness_length;
uint32_t harness_status;
uint32_t harness_part;
const uint32_t harness_parts = 1;

static const void *tensor;

const void *harness_tensor(void) {
    return tensor;
}

void harness_stop(void) {
    for (;;) {
        __asm__ volatile("");
    }
}

void *harness_input(void) {
#ifdef HARNESS_EMPTY
    return harness_arena;
#else
    return isth_front_input(harness_arena);
#endif
}

#ifdef HARNESS_PROBE

static uint64_t readings[READINGS];

#ifdef HARNESS_COUNT
/* Unicorn, which has no timer, writes what it counted here before each call of harness_layer. */
volatile uint64_t harness_count;

static uint64_t reading(void) {
    return harness_count;
}
#else
static uint64_t reading(void) {
    return port_ticks();
}
#endif

void harness_layer(uint32_t index);

/* What ISTH_FRONT_LAYER calls. */
__attribute__((noinline)) void harness_layer(uint32_t index) {
    readings[index] = reading();
}

void harness_front(void) {
    tensor = isth_front_run(harness_arena);
    for (uint32_t i = 0; i < PROBES; i++) {
        harness_layer(ISTH_FRONT_LAYERS + 1u);
    }
}

void harness_encode(void) {
    for (uint32_t i = 0; i < READINGS; i++) {
        for (uint32_t byte = 0; byte < 8; byte++) {
            harness_frame[8 * i + byte] = (uint8_t)((readings[i] >> (8 * byte)) & 0xffu);
        }
    }
    harness_status = 0;
    harness_length = sizeof harness_frame;
}

#else

/* For the sizes: with the call of the front half, and (HARNESS_EMPTY) without. */
void harness_front(void) {
#ifdef HARNESS_EMPTY
    tensor = harness_arena;
#else
    tensor = isth_front_run(harness_arena);
#endif
}

void harness_encode(void) {
    harness_status = 0;
    harness_length = 0;
}

#endif
