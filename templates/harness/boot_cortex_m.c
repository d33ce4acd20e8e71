/* Start-up of any Cortex-M: vectors, memory, floating point, SysTick as a counter. */
#include "boot.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define SYST_CSR REGISTER(0xe000e010u)
#define SYST_RVR REGISTER(0xe000e014u)
#define SYST_CVR REGISTER(0xe000e018u)
#define CPACR REGISTER(0xe000ed88u)
#define TICKS_OF_A_WRAP 0x01000000u

static volatile uint32_t wraps;

static void fault(void) {
    boot_exit(BOOT_EXIT_FAULT);
}

static void systick(void) {
    wraps++;
}

typedef void (*handler)(void);

typedef struct {
    uint32_t *stack;
    handler reset;
    handler exceptions[14];
} vector_table;

extern const vector_table boot_vectors;

__attribute__((section(".isth_boot"), used)) const vector_table boot_vectors = {
    harness_stack_top,
    harness_reset,
    {fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
     systick},
};

void harness_reset(void) {
    const volatile uint32_t *from = harness_data_load;

    /* volatile, so that no compiler turns the loops into calls of memcpy and memset */
    for (volatile uint32_t *to = harness_data_start; to < harness_data_end; to++) {
        *to = *from++;
    }
    for (volatile uint32_t *to = harness_bss_start; to < harness_bss_end; to++) {
        *to = 0;
    }
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    CPACR |= 0x00f00000u;
    __asm__ volatile("dsb\n\tisb" : : : "memory");
#endif
    SYST_RVR = TICKS_OF_A_WRAP - 1u;
    SYST_CVR = 0;
    SYST_CSR = 7u; /* processor clock, interrupt at every wrap, on */
    boot_main();
}

uint64_t boot_ticks(void) {
    uint32_t high;
    uint32_t low;

    /* again where a wrap fell between the two readings */
    do {
        high = wraps;
        low = TICKS_OF_A_WRAP - 1u - SYST_CVR;
    } while (high != wraps);
    return (uint64_t)high * TICKS_OF_A_WRAP + low;
}
