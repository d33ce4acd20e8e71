/*
 * Isthmus example: the port for a program on Linux. Inputs come from standard input, end to end;
 * slices go to standard output, each after its length as four bytes, least significant first.
 */
#include <stdio.h>
#include <time.h>

#include "isth_port.h"

int isth_port_init(void) {
    return 0;
}

size_t isth_port_receive(void *data, size_t size) {
    return fread(data, 1u, size, stdin);
}

int isth_port_send(const void *data, size_t size) {
    uint8_t prefix[4];
    size_t sent;

    prefix[0] = (uint8_t)(size & 0xFFu);
    prefix[1] = (uint8_t)((size >> 8) & 0xFFu);
    prefix[2] = (uint8_t)((size >> 16) & 0xFFu);
    prefix[3] = (uint8_t)((size >> 24) & 0xFFu);
    sent = fwrite(prefix, 1u, sizeof prefix, stdout);
    sent += fwrite(data, 1u, size, stdout);
    return sent == sizeof prefix + size && fflush(stdout) == 0 ? 0 : -1;
}

uint32_t isth_port_ticks(void) {
    return (uint32_t)clock();
}
