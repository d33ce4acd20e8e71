/*
 * Isthmus example: the functions a board gives the program that sends datagrams.
 */
#ifndef ISTH_PORT_H
#define ISTH_PORT_H

#include <stddef.h>
#include <stdint.h>

#include "isth_link.h"

/* Clocks, the network, the socket: whatever has to happen once. Zero when all is well. */
int isth_port_init(void);

/* Fills `size` bytes from the sensor; the number read, 0 when there is no more. */
size_t isth_port_receive(void *data, size_t size);

/* Sends one datagram to the host. Zero when all is well, though it may still be lost. */
int isth_port_send(const void *data, size_t size);

/* The next datagram from the host, cut off at `capacity` bytes: its size, or 0 when none came for
 * as long as an answer may take. */
size_t isth_port_wait(void *data, size_t capacity);

/* What the host said to the frame: do what the board is for. NULL when no answer came. */
void isth_port_answer(const isth_answer *answer);

#endif /* ISTH_PORT_H */
