/*
 * Isthmus example: the port for a program on Linux. Inputs come from standard input, end to end;
 * the line is the device that ISTH_LINK names (such as /dev/ttyUSB0), at 115200 baud; what the host
 * says goes to standard output, a line a frame: status, sequence, then index=value, largest first.
 */
#define _DEFAULT_SOURCE /* cfmakeraw */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "isth_port.h"

#define ANSWER_MS 2000

static int line = -1;

int isth_port_init(void) {
    const char *name = getenv("ISTH_LINK");
    struct termios mode;

    if (name == NULL) {
        fputs("ISTH_LINK names the serial device\n", stderr);
        return -1;
    }
    line = open(name, O_RDWR | O_NOCTTY);
    if (line < 0 || tcgetattr(line, &mode) != 0) {
        perror(name);
        return -1;
    }
    cfmakeraw(&mode);
    cfsetispeed(&mode, B115200);
    cfsetospeed(&mode, B115200);
    mode.c_cflag |= CLOCAL | CREAD;
    return tcsetattr(line, TCSANOW, &mode);
}

size_t isth_port_receive(void *data, size_t size) {
    return fread(data, 1u, size, stdin);
}

int isth_port_write(void *user, const uint8_t *data, size_t size) {
    (void)user;
    while (size != 0u) {
        ssize_t written = write(line, data, size);

        if (written <= 0) {
            return -1;
        }
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

int isth_port_read(uint8_t *byte) {
    struct pollfd ready;

    ready.fd = line;
    ready.events = POLLIN;
    ready.revents = 0;
    return poll(&ready, 1u, ANSWER_MS) == 1 && read(line, byte, 1u) == 1;
}

void isth_port_answer(const isth_answer *answer) {
    unsigned i;

    if (answer == NULL) {
        puts("none");
    } else {
        printf("%u %u", answer->status, answer->sequence);
        for (i = 0u; i < answer->count; i++) {
            uint16_t index;
            uint32_t bits;
            float value;

            isth_answer_value(answer, i, &index, &bits);
            memcpy(&value, &bits, sizeof value);
            printf(" %u=%.9g", index, (double)value);
        }
        putchar('\n');
    }
    fflush(stdout);
}
