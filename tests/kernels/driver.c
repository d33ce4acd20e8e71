/*
 * Runs kernels over records from the port and compares what they write with what is expected.
 *
 * Every array, input, output and scratch is a block of exactly the size that the generator plans:
 * from the heap, for the address sanitiser (default); at the end of a page, with nothing behind it
 * (BLOCKS_PAGES); or in a pool between bytes that are looked at afterwards (BLOCKS_POOL), one of
 * them, if the record asks for it, at the end of the memory (EDGE_END).
 *
 * A record is a count of words and the words, as kernel_driver.py writes them. The answer is five
 * words for each failure, then {END, cases, runs, bytes compared, failures}.
 */
#include "calls.h"
#include "harness.h"

#if defined(BLOCKS_PAGES)
#include <sys/mman.h>
#elif !defined(BLOCKS_POOL)
#include <stdlib.h>
#endif

#define RECORD_WORDS 98304u
#define POOL_BYTES 655360u
#define PAGE 65536u
#define GUARD 32u
#define BLOCKS 16u
#define FAILURES 64u
#define END 0xFFFFFFFFu
#define PATTERN(address) ((uint8_t)(((uintptr_t)(address) * 37u) ^ 0xC3u))

enum { WHOLE, IN_PLACE, OVERLAP, ROWS, STEPS };
enum { DIFFERS = 1, OUTSIDE, INPUT_CHANGED, CONSTANT_CHANGED };
enum { AT_INPUT = 1, AT_ARRAY, AT_OUTPUT, AT_SCRATCH };

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

typedef struct block {
    uint8_t *base;   /* what was allocated */
    uint8_t *start;  /* what the kernel gets */
    uint8_t *before; /* pattern from here to start, and from start + bytes to behind */
    uint8_t *behind;
    size_t bytes;
} block;

static int32_t record[RECORD_WORDS];
static block blocks[BLOCKS];
static unsigned block_count;
static uint32_t failures;
static uint32_t compared;
static uint32_t runs;

/* Where the record is read. */
static const int32_t *next;

static int32_t number(void) {
    return *next++;
}

/* The bytes at the record's place; it moves on to the word behind them. */
static const uint8_t *bytes_of(size_t bytes) {
    const uint8_t *const found = (const uint8_t *)next;

    next += (bytes + 3) / 4;
    return found;
}

static uint32_t case_number;
static uint32_t run_number;

static void fail(uint32_t kind, size_t at, int32_t got) {
    const uint32_t words[5] = {case_number, run_number, kind, (uint32_t)at, (uint32_t)got};

    if (failures++ < FAILURES) {
        (void)port_write(words, sizeof words);
    }
}

#if defined(BLOCKS_POOL)
static uint8_t pool[POOL_BYTES] __attribute__((aligned(16)));
static size_t pool_used;

static void allocate(block *made, int edge) {
    made->base = made->before = pool + pool_used;
    made->start = made->base + GUARD;
    made->behind = made->start + ((made->bytes + 15u) & ~(size_t)15u) + GUARD;
    pool_used = (size_t)(made->behind - pool);
#if defined(EDGE_END)
    if (edge) {
        made->behind = (uint8_t *)(uintptr_t)(EDGE_END);
        made->start = made->behind - ((made->bytes + 3u) & ~(size_t)3u);
        made->before = made->start - GUARD;
    }
#else
    (void)edge;
#endif
}

static void release(const block *gone) {
    pool_used = (size_t)(gone->base - pool);
}
#elif defined(BLOCKS_PAGES)
static void allocate(block *made, int edge) {
    const size_t whole = (made->bytes + 3u) & ~(size_t)3u;
    const size_t pages = (whole + GUARD + PAGE - 1) / PAGE * PAGE;

    (void)edge;
    made->base =
        mmap(NULL, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)mprotect(made->base + pages, PAGE, PROT_NONE);
    made->behind = made->base + pages;
    made->start = made->behind - whole;
    made->before = made->start - GUARD;
}

static void release(const block *gone) {
    (void)munmap(gone->base, (size_t)(gone->behind - gone->base) + PAGE);
}
#else
static void allocate(block *made, int edge) {
    void *found = NULL;

    (void)edge;
    if (posix_memalign(&found, 16, made->bytes) != 0) {
        abort();
    }
    made->base = made->start = made->before = found;
    made->behind = made->start + made->bytes;
}

static void release(const block *gone) {
    free(gone->base);
}
#endif

/* Filled with a pattern, the bytes around it too. */
static int8_t *take(size_t bytes, int edge) {
    block *const made = &blocks[block_count++];
    uint8_t *at;

    made->bytes = bytes;
    allocate(made, edge);
    for (at = made->before; at < made->behind; at++) {
        *at = PATTERN(at);
    }
    return (int8_t *)made->start;
}

static int8_t *copy(const uint8_t *from, size_t bytes, int edge) {
    int8_t *const made = take(bytes, edge);

    memcpy(made, from, bytes);
    return made;
}

/* All but the first blocks, and looks around them. */
static void release_to(unsigned kept) {
    while (block_count > kept) {
        const block *const made = &blocks[--block_count];
        const uint8_t *at;

        for (at = made->before; at < made->behind; at++) {
            if (at == made->start) {
                at += made->bytes;
                if (at == made->behind) {
                    break;
                }
            }
            if (*at != PATTERN(at)) {
                fail(OUTSIDE, (size_t)(at - made->before), *at);
                break;
            }
        }
        release(made);
    }
}

static void compare(const int8_t *got, const uint8_t *wanted, size_t bytes) {
    size_t i;

    compared += (uint32_t)bytes;
    for (i = 0; i < bytes; i++) {
        if (got[i] != (int8_t)wanted[i]) {
            fail(DIFFERS, i, got[i]);
            return;
        }
    }
}

static void unchanged(const void *now, const uint8_t *before, size_t bytes, uint32_t kind) {
    const uint8_t *const seen = now;
    size_t i;

    for (i = 0; i < bytes; i++) {
        if (seen[i] != before[i]) {
            fail(kind, i, seen[i]);
            return;
        }
    }
}

#define MOST 4

/* One case: what its runs have in common. */
typedef struct test_case {
    const int32_t *numbers;
    int32_t arrays;
    size_t array_bytes[MOST];
    const uint8_t *array[MOST];
    int32_t inputs;
    int32_t input_bytes[MOST]; /* below 0: -1 - the array that it is */
    const uint8_t *input[MOST];
    const uint8_t *wanted;
    size_t y_bytes;
    size_t scratch_bytes;
} test_case;

/* One run of it. */
typedef struct test_run {
    int32_t kind;
    int32_t call;
    int edge;
    int32_t input; /* in place of which, or over which */
    size_t distance;
    size_t scratch_bytes;
    size_t row_bytes;
    int32_t parts;
    const int32_t *part; /* ROWS: first and number of rows of each */
    const int32_t *steps;
    const int32_t *numbers;
} test_run;

static void execute(const test_case *of, const test_run *run) {
    void *arrays[MOST] = {0};
    int8_t *x[MOST] = {0};
    int8_t *y = NULL;
    int8_t *scratch;
    int32_t i;

    for (i = 0; i < of->arrays; i++) {
        arrays[i] = copy(of->array[i], of->array_bytes[i], run->edge == AT_ARRAY && i == 0);
    }
    for (i = 0; i < of->inputs; i++) {
        const int32_t bytes = of->input_bytes[i];

        if (bytes < 0) {
            x[i] = arrays[-1 - bytes];
        } else if (run->kind == OVERLAP && i == run->input) {
            const size_t lead = (16u - run->distance % 16u) % 16u;
            const size_t end = lead + run->distance + (size_t)bytes;
            const size_t least = lead + of->y_bytes;

            y = take(end > least ? end : least, 0) + lead;
            x[i] = y + run->distance;
            memcpy(x[i], of->input[i], (size_t)bytes);
        } else {
            x[i] = copy(of->input[i], (size_t)bytes, run->edge == AT_INPUT && i == 0);
            y = run->kind == IN_PLACE && i == run->input ? x[i] : y;
        }
    }
    scratch = take(run->scratch_bytes, run->edge == AT_SCRATCH);
    if (run->kind == ROWS || run->kind == STEPS) {
        const uint8_t *wanted = of->wanted;

        for (i = 0; i < run->parts; i++) {
            const unsigned kept = block_count;
            const int32_t rows = run->kind == ROWS ? run->part[2 * i + 1] : 1;
            const size_t bytes = run->row_bytes * (size_t)rows;
            int32_t first = i;
            int8_t *moved[MOST];
            int32_t n;

            for (n = 0; n < of->inputs; n++) {
                moved[n] = x[n] + (run->kind == STEPS ? run->steps[n] * i : 0);
            }
            if (run->kind == ROWS) {
                first = run->part[2 * i];
                wanted = of->wanted + run->row_bytes * (size_t)first;
            }
            y = take(bytes, 0);
            isth_test_call(run->call, run->numbers, arrays, moved, y, scratch, first, rows);
            compare(y, wanted, bytes);
            wanted += bytes;
            release_to(kept);
        }
    } else {
        if (y == NULL) {
            y = take(of->y_bytes, run->edge == AT_OUTPUT);
        }
        isth_test_call(run->call, run->numbers, arrays, x, y, scratch, 0, 0);
        compare(y, of->wanted, of->y_bytes);
    }
    for (i = 0; i < of->inputs; i++) {
        if (of->input_bytes[i] > 0 && (run->kind == WHOLE || run->kind >= ROWS)) {
            unchanged(x[i], of->input[i], (size_t)of->input_bytes[i], INPUT_CHANGED);
        }
    }
    for (i = 0; i < of->arrays; i++) {
        unchanged(arrays[i], of->array[i], of->array_bytes[i], CONSTANT_CHANGED);
    }
    release_to(0);
}

static test_run read_run(const test_case *of) {
    test_run run = {0};

    run.kind = number();
    run.call = number();
    run.edge = number();
    run.scratch_bytes = of->scratch_bytes;
    run.numbers = of->numbers;
    if (run.kind == IN_PLACE || run.kind == OVERLAP) {
        run.input = number();
        run.distance = (size_t)number();
    } else if (run.kind == ROWS) {
        run.scratch_bytes = (size_t)number();
        run.row_bytes = (size_t)number();
        run.parts = number();
        run.part = next;
        next += 2 * run.parts;
    } else if (run.kind == STEPS) {
        run.scratch_bytes = (size_t)number();
        run.row_bytes = (size_t)number();
        run.parts = number();
        run.steps = next;
        next += of->inputs;
        run.numbers = next + 1;
        next += 1 + *next;
    }
    return run;
}

static void run_case(void) {
    test_case of = {0};
    const int32_t *samples;
    int32_t sample_count;
    int32_t count;
    int32_t i;

    case_number = (uint32_t)number();
    of.numbers = next + 1;
    next += 1 + *next;
    of.arrays = number();
    for (i = 0; i < of.arrays; i++) {
        of.array_bytes[i] = (size_t)number();
        of.array[i] = bytes_of(of.array_bytes[i]);
    }
    of.y_bytes = (size_t)number();
    of.scratch_bytes = (size_t)number();
    of.inputs = number();
    for (i = 0; i < of.inputs; i++) {
        of.input_bytes[i] = number();
    }
    sample_count = number();
    count = number();
    samples = next;
    while (sample_count-- > 0) {
        next = samples;
        for (i = 0; i < of.inputs; i++) {
            of.input[i] = of.input_bytes[i] > 0 ? bytes_of((size_t)of.input_bytes[i]) : NULL;
        }
        of.wanted = bytes_of(of.y_bytes);
        samples = next;
        /* The runs lie behind all samples; the record says how far. */
        next = record + record[0];
        for (run_number = 0; run_number < (uint32_t)count; run_number++) {
            const test_run run = read_run(&of);

            execute(&of, &run);
            runs++;
        }
    }
}

#if defined(BLOCKS_POOL)
void harness_stop(void) {
    for (;;) {
        __asm__ volatile("");
    }
}
#endif

/* Whether the kernels are of the tier that the program is meant to run. */
static int right_tier(void) {
    static const char chosen[] = ISTH_K_TIER;
    static const char expected[] = EXPECTED_TIER;
    size_t i;

    for (i = 0; i < sizeof chosen && i < sizeof expected; i++) {
        if (chosen[i] != expected[i]) {
            return 0;
        }
    }
    return sizeof chosen == sizeof expected;
}

int harness_main(void) {
    uint32_t words[5] = {END};
    uint32_t cases = 0;
    int32_t count;

    if (!right_tier()) {
        return 9;
    }
    while (port_read(&count, sizeof count) == 0 && count > 0) {
        if ((uint32_t)count > RECORD_WORDS || port_read(record, 4u * (uint32_t)count) != 0) {
            return 3;
        }
        next = record + 1;
        run_case();
        cases++;
    }
    words[1] = cases;
    words[2] = runs;
    words[3] = compared;
    words[4] = failures;
    return port_write(words, sizeof words) == 0 ? 0 : 4;
}
