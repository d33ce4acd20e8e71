#ifndef ISTH_FRONT_H
#define ISTH_FRONT_H

#include <stdint.h>

#define ISTH_FRONT_INPUT_BYTES 192
#define ISTH_FRONT_OUTPUT_BYTES 96
#define ISTH_FRONT_ARENA_BYTES 320

int8_t *isth_front_input(void *arena);
const int8_t *isth_front_run(void *arena);

#endif
