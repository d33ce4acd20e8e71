/*
 * The port of a bare processor under QEMU: files by semihosting, instructions by the core's timer.
 * in.bin and out.bin are opened in the folder QEMU was started in.
 */
#include "harness.h"
#include "boot.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { MODE_READ_BINARY = 1, MODE_WRITE_BINARY = 5 };

#define STOPPED_APPLICATION_EXIT 0x20026u
#define PAINT 0xa5a5a5a5u
#define PAINT_MARGIN 64u

static uintptr_t input_file;
static uintptr_t output_file;
static uintptr_t stack_base;

#if defined(__arm__)

static uintptr_t semihost(uintptr_t operation, const void *argument) {
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uintptr_t stack_pointer(void) {
    uintptr_t value;

    __asm__ volatile("mov %0, sp" : "=r"(value));
    return value;
}

#else

static uintptr_t semihost(uintptr_t operation, const void *argument) {
    register uintptr_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;

    /* the three instructions are a signature: uncompressed and in one page */
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     ".balign 16\n"
                     "slli x0, x0, 0x1f\n"
                     "ebreak\n"
                     "srai x0, x0, 7\n"
                     ".option pop\n"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}

static uintptr_t stack_pointer(void) {
    uintptr_t value;

    __asm__ volatile("mv %0, sp" : "=r"(value));
    return value;
}

#endif

static uintptr_t open_file(const char *name, uintptr_t name_length, uintptr_t mode) {
    const uintptr_t block[3] = {(uintptr_t)name, mode, name_length};

    return semihost(SYS_OPEN, block);
}

/* Both calls return the number of bytes that did NOT go through. */
int port_read(void *data, size_t bytes) {
    const uintptr_t block[3] = {input_file, (uintptr_t)data, (uintptr_t)bytes};

    return bytes == 0 || semihost(SYS_READ, block) == 0 ? 0 : -1;
}

int port_write(const void *data, size_t bytes) {
    const uintptr_t block[3] = {output_file, (uintptr_t)data, (uintptr_t)bytes};

    return bytes == 0 || semihost(SYS_WRITE, block) == 0 ? 0 : -1;
}

uint64_t port_ticks(void) {
    return boot_ticks();
}

/* The stack grows down to harness_stack_limit; what a step used is where the paint is gone. */
void port_stack_paint(void) {
    const uintptr_t end = stack_pointer() - PAINT_MARGIN;

    stack_base = stack_pointer();
    for (volatile uint32_t *word = harness_stack_limit; (uintptr_t)word < end; word++) {
        *word = PAINT;
    }
}

uint32_t port_stack_used(void) {
    const volatile uint32_t *word = harness_stack_limit;

    while ((uintptr_t)word < stack_base && *word == PAINT) {
        word++;
    }
    return (uint32_t)(stack_base - (uintptr_t)word);
}

/* Not every machine faults below the stack. */
int port_stack_overflowed(void) {
    return *(volatile uint32_t *)harness_stack_limit != PAINT;
}

void boot_exit(int code) {
    const uintptr_t block[2] = {STOPPED_APPLICATION_EXIT, (uintptr_t)code};

    (void)semihost(SYS_EXIT_EXTENDED, block);
    harness_stop();
}

void boot_main(void) {
    input_file = open_file("in.bin", 6, MODE_READ_BINARY);
    output_file = open_file("out.bin", 7, MODE_WRITE_BINARY);
    if (input_file == UINTPTR_MAX || output_file == UINTPTR_MAX) {
        boot_exit(5);
    }
    boot_exit(harness_main());
}
