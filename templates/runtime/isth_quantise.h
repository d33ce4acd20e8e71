/*
 * Isthmus: values to levels (docs/BITSTREAM.md, chapter 4). Private to the runtime.
 */
#ifndef ISTH_QUANTISE_H
#define ISTH_QUANTISE_H

#include "isth_codec.h"

/* Whether `rung` has the table that values of this kind need. */
int isth_quantisable(const isth_rung *rung, isth_kind kind);

/* The levels of `count` values from index `first` of `values` on, which is of `channel`. */
void isth_quantise(const isth_rung *rung, isth_kind kind, const void *values, size_t first,
                   size_t count, uint32_t channel, uint8_t *levels);

#endif /* ISTH_QUANTISE_H */
