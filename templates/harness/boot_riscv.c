/* Start-up of a 32-bit RISC-V core; counts with the core's own instruction counter. */
#include "boot.h"

void boot_riscv_c(void);
void boot_riscv_trap(void);

__asm__(".section .isth_boot, \"ax\"\n"
        ".option push\n"
        ".option arch, +zicsr\n"
        ".globl harness_reset\n"
        ".type harness_reset, @function\n"
        "harness_reset:\n"
        "    la sp, harness_stack_top\n"
        "    la t0, boot_riscv_trap\n"
        "    csrw mtvec, t0\n"
        "    call boot_riscv_c\n"
        "1:  j 1b\n"
        ".option pop\n"
        ".text\n");

/* mtvec holds its mode in the two low bits, hence the alignment */
__attribute__((aligned(4), used)) void boot_riscv_trap(void) {
    boot_exit(BOOT_EXIT_FAULT);
}

__attribute__((used)) void boot_riscv_c(void) {
    const volatile uint32_t *from = harness_data_load;

    for (volatile uint32_t *to = harness_data_start; to < harness_data_end; to++) {
        *to = *from++;
    }
    for (volatile uint32_t *to = harness_bss_start; to < harness_bss_end; to++) {
        *to = 0;
    }
    boot_main();
}

uint64_t boot_ticks(void) {
    uint32_t high;
    uint32_t low;
    uint32_t again;

    do {
        __asm__ volatile(".option push\n"
                         ".option arch, +zicsr\n"
                         "csrr %0, minstreth\n"
                         "csrr %1, minstret\n"
                         "csrr %2, minstreth\n"
                         ".option pop\n"
                         : "=r"(high), "=r"(low), "=r"(again));
    } while (high != again);
    return ((uint64_t)high << 32) | low;
}
