/*
 * Isthmus kernels: two operands that stretch to a common shape.
 *
 * The generator merges neighbouring axes that stretch alike, so at most four loops are left: a run
 * of consecutive results, and three around it. Operand a moves on within a run; b moves on too, or
 * is one value for the whole run. The generator swaps the operands where it must be so.
 */
#ifndef ISTH_K_BROADCAST_H
#define ISTH_K_BROADCAST_H

#include "isth_k_common.h"

#if defined(ISTH_K_MVE)
#include <arm_mve.h>
#endif

/* How far an operand moves from the start of one run to the start of the next, in elements: within
 * the innermost loop around the runs, where that one ends, and where the one around it ends. */
typedef struct isth_k_steps {
    int32_t inner;
    int32_t middle;
    int32_t outer;
} isth_k_steps;

typedef struct isth_k_broadcast {
    int32_t runs;         /* in all */
    int32_t length;       /* of a run */
    int32_t single;       /* 1: b is one value for the whole run */
    int32_t inner_count;  /* runs of the innermost loop */
    int32_t middle_count; /* turns of the loop around it */
} isth_k_broadcast;

/* Where a run's operands and results begin. */
typedef struct isth_k_walk {
    const int8_t *a;
    const int8_t *b;
    int8_t *y;
    int32_t runs; /* left, this one included */
    int32_t inner;
    int32_t middle;
} isth_k_walk;

ISTH_K_INLINE isth_k_walk isth_k_first_run(const isth_k_broadcast *shape, const int8_t *a,
                                           const int8_t *b, int8_t *y) {
    const isth_k_walk walk = {a, b, y, shape->runs, shape->inner_count, shape->middle_count};

    return walk;
}

#if defined(ISTH_K_MVE)
/* isth_k_finish_doubled of four doubled accumulators, stored. */
ISTH_K_INLINE void isth_k_store_fast(int32x4_t value, const isth_k_filter *scale, int8_t *y) {
    value = vrmulhq_s32(value, vdupq_n_s32(scale->multiplier));
    value = vaddq_n_s32(vaddq_s32(value, vshrq_n_s32(value, 31)), scale->offset);
    value = vshlq_r_s32(value, -scale->right);
    value = vminq_s32(vmaxq_s32(value, vdupq_n_s32(INT8_MIN)), vdupq_n_s32(INT8_MAX));
    vstrbq_s32(y, value);
}
#endif

/* Moves on; 0 after the last run. */
ISTH_K_INLINE int isth_k_next_run(isth_k_walk *walk, const isth_k_broadcast *shape,
                                  const isth_k_steps *a, const isth_k_steps *b) {
    if (--walk->runs == 0) {
        return 0;
    }
    walk->y += shape->length;
    if (--walk->inner > 0) {
        walk->a += a->inner;
        walk->b += b->inner;
        return 1;
    }
    walk->inner = shape->inner_count;
    if (--walk->middle > 0) {
        walk->a += a->middle;
        walk->b += b->middle;
        return 1;
    }
    walk->middle = shape->middle_count;
    walk->a += a->outer;
    walk->b += b->outer;
    return 1;
}

#endif
