/*
 * Isthmus: batches of frames for the host, one call (and one release of the GIL) a batch.
 *
 * The coder itself is the runtime of the firmware, unchanged; this file only loops over it.
 */
#include "isth_host.h"

#include "isth_codec.h"

size_t isth_host_decode_batch(const isth_profile *profile, const uint8_t *data,
                              const size_t *offsets, size_t count, uint16_t *contexts,
                              size_t context_count, uint8_t *levels, size_t level_count,
                              isth_slice_info *infos, int32_t *statuses) {
    size_t failures = 0u;
    size_t i;

    for (i = 0; i < count; i++) {
        const uint8_t *frame = data + offsets[i];
        size_t size = offsets[i + 1u] - offsets[i];

        statuses[i] = (int32_t)isth_decode_levels(profile, frame, size, contexts, context_count,
                                                  levels + i * level_count, level_count, &infos[i]);
        failures += statuses[i] != ISTH_OK ? 1u : 0u;
    }
    return failures;
}
