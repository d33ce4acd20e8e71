/*
 * Isthmus: sealing.
 *
 *     out   0x18 | tag bytes | device, 4 bytes LE | counter, 6 bytes LE | unit ... | tag ...
 *
 * The tag is the start of an HMAC over all that is before it.
 */
#include "isth_seal.h"

#define SEAL_MARK 0x18u /* version 1, flag bit 3 */
#define KEY_BYTES_MIN 16u

static void own_mac(const void *context, const uint8_t *data, size_t size,
                    uint8_t tag[ISTH_SHA256_BYTES]) {
    isth_hmac((const isth_hmac_key *)context, data, size, tag);
}

/* The fields that no key or signer takes part in. */
static isth_status set_up(isth_sealer *sealer, uint32_t device, uint64_t first, uint64_t end,
                          unsigned tag_bytes) {
    int tag_fits = tag_bytes == 0u || tag_bytes == 8u || tag_bytes == 12u || tag_bytes == 16u ||
                   tag_bytes == 32u;
    isth_status status = ISTH_OK;

    if (!tag_fits || end > ISTH_SEAL_COUNTER_END || first > end) {
        status = ISTH_E_ARGUMENT;
    }
    sealer->counter = first;
    sealer->counter_end = end;
    sealer->device = device;
    sealer->tag_bytes = (uint8_t)tag_bytes;
    sealer->status = (uint8_t)status;
    return status;
}

isth_status isth_seal_init_mac(isth_sealer *sealer, isth_mac mac, const void *context,
                               uint32_t device, uint64_t first, uint64_t end, unsigned tag_bytes) {
    sealer->mac = mac;
    sealer->context = context;
    return set_up(sealer, device, first, end, tag_bytes);
}

isth_status isth_seal_init(isth_sealer *sealer, const uint8_t *key, size_t key_bytes,
                           uint32_t device, uint64_t first, uint64_t end, unsigned tag_bytes) {
    sealer->mac = own_mac;
    sealer->context = &sealer->key;
    if (set_up(sealer, device, first, end, tag_bytes) == ISTH_OK && tag_bytes != 0u) {
        if (key_bytes < KEY_BYTES_MIN) {
            sealer->status = ISTH_E_ARGUMENT;
        } else {
            isth_hmac_key_init(&sealer->key, key, key_bytes);
        }
    }
    return (isth_status)sealer->status;
}

isth_status isth_seal_extend(isth_sealer *sealer, uint64_t end) {
    if (end < sealer->counter_end || end > ISTH_SEAL_COUNTER_END) {
        return ISTH_E_ARGUMENT;
    }
    sealer->counter_end = end;
    return ISTH_OK;
}

/* Moves `size` bytes, whether or not the two places overlap. */
static void move_bytes(uint8_t *to, const uint8_t *from, size_t size) {
    if ((uintptr_t)to < (uintptr_t)from) {
        size_t i;

        for (i = 0; i < size; i++) {
            to[i] = from[i];
        }
    } else if (to != from) {
        while (size-- != 0u) {
            to[size] = from[size];
        }
    }
}

isth_status isth_sign(isth_sealer *sealer, const uint8_t *unit, size_t unit_bytes, uint8_t *out,
                      size_t capacity, size_t *length) {
    size_t tag_bytes = sealer->tag_bytes;
    uint8_t tag[ISTH_SHA256_BYTES];
    uint32_t low;
    uint32_t high;
    size_t end;
    size_t i;

    *length = 0;
    if (sealer->status != 0u) {
        return (isth_status)sealer->status;
    }
    if (unit_bytes == 0u || unit_bytes > SIZE_MAX - ISTH_SEAL_BYTES(tag_bytes)) {
        return ISTH_E_ARGUMENT;
    }
    if (sealer->counter >= sealer->counter_end) {
        return ISTH_E_STATE;
    }
    end = ISTH_SEAL_HEADER_BYTES + unit_bytes;
    if (capacity < end + tag_bytes) {
        *length = end + tag_bytes;
        return ISTH_E_BUFFER;
    }
    move_bytes(out + ISTH_SEAL_HEADER_BYTES, unit, unit_bytes);
    low = (uint32_t)sealer->counter;
    high = (uint32_t)(sealer->counter >> 32);
    out[0] = (uint8_t)SEAL_MARK;
    out[1] = sealer->tag_bytes;
    for (i = 0; i < 4u; i++) {
        out[2u + i] = (uint8_t)(sealer->device >> (8u * i));
        out[6u + i] = (uint8_t)(low >> (8u * i));
    }
    out[10] = (uint8_t)high;
    out[11] = (uint8_t)(high >> 8);
    sealer->counter++;
    if (tag_bytes != 0u) {
        sealer->mac(sealer->context, out, end, tag);
        for (i = 0; i < tag_bytes; i++) {
            out[end + i] = tag[i];
        }
    }
    *length = end + tag_bytes;
    return ISTH_OK;
}
