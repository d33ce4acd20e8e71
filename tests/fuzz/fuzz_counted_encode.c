/* The runtime's encoder, each bin that it writes counted. */
#include "isth_bins.h"
#include "fuzz_harness.h"

size_t fuzz_bins_written;

#define isth_write_zero(w, c) (fuzz_bins_written++, isth_write_zero((w), (c)))
#define isth_write_one(w, c) (fuzz_bins_written++, isth_write_one((w), (c)))
#define isth_code_zero(w, p) (fuzz_bins_written++, isth_code_zero((w), (p)))
#define isth_code_one(w, p) (fuzz_bins_written++, isth_code_one((w), (p)))

#include "isth_encode.c"
