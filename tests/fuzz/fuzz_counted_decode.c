/* The runtime's decoder, each bin that it reads counted. */
#include "isth_bins.h"
#include "fuzz_harness.h"

size_t fuzz_bins_read;

#define isth_read_bin(r, c) (fuzz_bins_read++, isth_read_bin((r), (c)))

#include "isth_decode.c"
