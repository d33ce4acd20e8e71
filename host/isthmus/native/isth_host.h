#ifndef ISTH_HOST_H
#define ISTH_HOST_H

#include "isth_codec.h"

/*
 * Decodes `count` frames; frame i is data[offsets[i] .. offsets[i + 1]). Levels, headers and
 * statuses are written per frame; the result is the number of frames that failed.
 */
size_t isth_host_decode_batch(const isth_profile *profile, const uint8_t *data,
                              const size_t *offsets, size_t count, uint16_t *contexts,
                              size_t context_count, uint8_t *levels, size_t level_count,
                              isth_slice_info *infos, int32_t *statuses);

#endif /* ISTH_HOST_H */
