/* The port of a program with an operating system: standard input and output; counts nothing. */
#include "harness.h"

#include <stdio.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

int port_read(void *data, size_t bytes) {
    return fread(data, 1, bytes, stdin) == bytes ? 0 : -1;
}

int port_write(const void *data, size_t bytes) {
    return fwrite(data, 1, bytes, stdout) == bytes ? 0 : -1;
}

uint64_t port_ticks(void) {
    return 0;
}

void port_stack_paint(void) {
}

uint32_t port_stack_used(void) {
    return 0;
}

int port_stack_overflowed(void) {
    return 0;
}

int main(void) {
#ifdef _WIN32
    (void)_setmode(_fileno(stdin), _O_BINARY);
    (void)_setmode(_fileno(stdout), _O_BINARY);
#endif
    const int code = harness_main();

    return fflush(stdout) == 0 ? code : 4;
}
