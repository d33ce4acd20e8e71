/*
 * Inputs in, records out. All numbers are 32-bit words in the order of the processor.
 *
 *   in:  magic, count, bytes of one input, 0;         then for each input: rung, sequence, bytes
 *   out: magic, bytes of a tensor, 0, 0;             then for each input eight words (status,
 *        frame length, ticks of the front low and high, ticks of the coder low and high, deepest
 *        stack in bytes, 0), the tensor, and the frame where the status is 0
 */
#include "harness.h"

#define MAGIC 0x48545349u /* "ISTH" */

enum { EXIT_DONE = 0, EXIT_READ = 2, EXIT_INPUT = 3, EXIT_WRITE = 4, EXIT_STACK = 6 };

static void put64(uint32_t *words, uint64_t value) {
    words[0] = (uint32_t)(value & 0xffffffffu);
    words[1] = (uint32_t)(value >> 32);
}

static int one(uint64_t overhead) {
    uint32_t head[2];
    uint32_t record[8] = {0};

    if (port_read(head, sizeof head) != 0 || port_read(harness_input(), harness_layout[0]) != 0) {
        return EXIT_READ;
    }
    harness_rung = head[0];
    harness_sequence = head[1];
    port_stack_paint();
    const uint64_t begin = port_ticks();
    harness_front();
    const uint64_t middle = port_ticks();
    harness_encode();
    const uint64_t end = port_ticks();
    record[6] = port_stack_used();
    if (port_stack_overflowed()) {
        return EXIT_STACK;
    }

    const uint64_t front = middle - begin;
    const uint64_t encode = end - middle;
    record[0] = harness_status;
    record[1] = harness_length;
    put64(&record[2], front > overhead ? front - overhead : 0);
    put64(&record[4], encode > overhead ? encode - overhead : 0);
    if (port_write(record, sizeof record) != 0) {
        return EXIT_WRITE;
    }
    for (harness_part = 0; harness_part < harness_parts; harness_part++) {
        if (port_write(harness_tensor(), harness_layout[1] / harness_parts) != 0) {
            return EXIT_WRITE;
        }
    }
    if (harness_status == 0 && port_write(harness_frame, harness_length) != 0) {
        return EXIT_WRITE;
    }
    return EXIT_DONE;
}

int harness_main(void) {
    uint32_t head[4];
    uint32_t reply[4] = {MAGIC, harness_layout[1], 0, 0};

    if (port_read(head, sizeof head) != 0) {
        return EXIT_READ;
    }
    if (head[0] != MAGIC || head[2] != harness_layout[0]) {
        return EXIT_INPUT;
    }
    if (port_write(reply, sizeof reply) != 0) {
        return EXIT_WRITE;
    }
    /* what reading the counter costs by itself, taken off every figure */
    const uint64_t before = port_ticks();
    const uint64_t overhead = port_ticks() - before;

    for (uint32_t i = 0; i < head[1]; i++) {
        const int code = one(overhead);

        if (code != EXIT_DONE) {
            return code;
        }
    }
    return EXIT_DONE;
}
