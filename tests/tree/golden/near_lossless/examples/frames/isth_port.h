/*
 * Isthmus example: the four functions a board gives the example program.
 */
#ifndef ISTH_PORT_H
#define ISTH_PORT_H

#include <stddef.h>
#include <stdint.h>

/* Clocks, pins, the link: whatever has to happen once. Zero when all is well. */
int isth_port_init(void);

/* Fills `size` bytes from the sensor or the link; the number read, 0 when there is no more. */
size_t isth_port_receive(void *data, size_t size);

/* Sends one slice, a packet or a message of the link. Zero when all is well. */
int isth_port_send(const void *data, size_t size);

/* A counter that only goes up and wraps at 2^32: cycles, microseconds, what the board has. The
 * example times the front half and the coder with it. */
uint32_t isth_port_ticks(void);

#endif /* ISTH_PORT_H */
