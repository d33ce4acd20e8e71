/*
 * Isthmus example: the functions a board gives the program that sends over a serial line.
 */
#ifndef ISTH_PORT_H
#define ISTH_PORT_H

#include <stddef.h>
#include <stdint.h>

#include "isth_link.h"

/* Clocks, pins, the line: whatever has to happen once. Zero when all is well. */
int isth_port_init(void);

/* Fills `size` bytes from the sensor; the number read, 0 when there is no more. */
size_t isth_port_receive(void *data, size_t size);

/* Puts bytes on the line, all of them. Zero when all is well. `user` is what isth_link_write was
 * given. */
int isth_port_write(void *user, const uint8_t *data, size_t size);

/* One byte from the line: 1, or 0 when none came for as long as an answer may take. */
int isth_port_read(uint8_t *byte);

/* What the host said to the frame: do what the board is for. NULL when no answer came. */
void isth_port_answer(const isth_answer *answer);

#endif /* ISTH_PORT_H */
