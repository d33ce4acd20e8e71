/* What the start-up code and the port of a bare processor share; the symbols are image.ld's. */
#ifndef BOOT_H
#define BOOT_H

#include <stdint.h>

#define BOOT_EXIT_FAULT 101

extern uint32_t harness_stack_limit[];
extern uint32_t harness_stack_top[];
extern uint32_t harness_data_start[];
extern uint32_t harness_data_end[];
extern const uint32_t harness_data_load[];
extern uint32_t harness_bss_start[];
extern uint32_t harness_bss_end[];

void harness_reset(void);
void boot_main(void);
void boot_exit(int code);
uint64_t boot_ticks(void);

#endif
