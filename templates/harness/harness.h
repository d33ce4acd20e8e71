/*
 * The test harness around one emitted tree.
 *
 *   input -> harness_front() -> tensor -> harness_encode() -> frame
 *
 * Where the front half gives its tensor row by row, the rows are computed in harness_encode().
 *
 * Unicorn calls the two steps by their symbols; every other tool runs stream.c, which reads inputs
 * and writes records through the five functions of a port. Nothing here is part of the firmware.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of an input, of the tensor, of the longest frame, of an element; 1 where a front is there.
 */
extern const uint32_t harness_layout[5];

/* Set by the caller before harness_encode(). */
extern uint32_t harness_rung;
extern uint32_t harness_sequence;

/* Left by the steps. The tensor may come in parts of equal size, one after the other. */
extern const uint32_t harness_parts;
extern uint8_t harness_frame[];
extern uint32_t harness_length;
extern uint32_t harness_status;

/* Which part harness_tensor() is asked for. */
extern uint32_t harness_part;

void *harness_input(void);
void harness_front(void);
const void *harness_tensor(void);
void harness_encode(void);

/* Where Unicorn stops: the return address of every call it makes. */
void harness_stop(void);

/* Reads inputs, runs the steps, writes records; returns the exit code. */
int harness_main(void);

/* The port: read and write return 0 when all bytes went through. */
int port_read(void *data, size_t bytes);
int port_write(const void *data, size_t bytes);
uint64_t port_ticks(void);
void port_stack_paint(void);
uint32_t port_stack_used(void);
int port_stack_overflowed(void);

#endif
