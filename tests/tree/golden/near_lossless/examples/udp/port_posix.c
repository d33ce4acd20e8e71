/*
 * Isthmus example: the port for boards with POSIX sockets. Inputs come from standard input, end to
 * end; datagrams go to the address that ISTH_LINK names, such as 192.0.2.7:8082; what the host says
 * goes to standard output, a line a frame: status, sequence, then index=value, largest first.
 */
#define _POSIX_C_SOURCE 200112L

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "isth_port.h"

#define ANSWER_MS 2000

static int link_socket = -1;

int isth_port_init(void) {
    const char *name = getenv("ISTH_LINK");
    const char *colon = name == NULL ? NULL : strrchr(name, ':');
    char host[256];
    struct addrinfo wanted;
    struct addrinfo *found = NULL;
    int status = -1;

    if (colon == NULL || (size_t)(colon - name) >= sizeof host) {
        fputs("ISTH_LINK names the host as address:port\n", stderr);
        return -1;
    }
    memcpy(host, name, (size_t)(colon - name));
    host[colon - name] = '\0';
    memset(&wanted, 0, sizeof wanted);
    wanted.ai_socktype = SOCK_DGRAM;
    if (getaddrinfo(host, colon + 1, &wanted, &found) == 0) {
        link_socket = socket(found->ai_family, SOCK_DGRAM, 0);
        /* Connected: datagrams of others are not taken for answers. */
        if (link_socket >= 0) {
            status = connect(link_socket, found->ai_addr, found->ai_addrlen);
        }
        freeaddrinfo(found);
    }
    return status;
}

size_t isth_port_receive(void *data, size_t size) {
    return fread(data, 1u, size, stdin);
}

int isth_port_send(const void *data, size_t size) {
    return send(link_socket, data, size, 0) == (ssize_t)size ? 0 : -1;
}

size_t isth_port_wait(void *data, size_t capacity) {
    struct pollfd ready;
    ssize_t size;

    ready.fd = link_socket;
    ready.events = POLLIN;
    ready.revents = 0;
    if (poll(&ready, 1u, ANSWER_MS) != 1) {
        return 0u;
    }
    size = recv(link_socket, data, capacity, 0);
    return size > 0 ? (size_t)size : 0u;
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
