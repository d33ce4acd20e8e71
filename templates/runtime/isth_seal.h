/*
 * Isthmus: sealed units (docs/BITSTREAM.md, chapter 12). A frame, or one slice or packet of it,
 * with the device's number, a counter that no two units share, and a tag that only its key makes.
 *
 *     static isth_sealer sealer;
 *     isth_seal_init(&sealer, device_key, sizeof device_key, 7, first, end, 8);
 *     ...
 *     s = isth_encode_tensor(&memory, 0, sequence++, tensor, buffer + ISTH_SEAL_HEADER_BYTES,
 *                            ISTH_FRAME_BYTES_MAX, &length);
 *     if (s == ISTH_OK) {
 *         s = isth_sign(&sealer, buffer + ISTH_SEAL_HEADER_BYTES, length, buffer, sizeof buffer,
 *                       &length);
 *     }
 *     if (s == ISTH_OK) { send(buffer, length); }
 *
 * with `buffer` of ISTH_FRAME_BYTES_MAX + ISTH_SEAL_BYTES(8) bytes. Nothing of this is linked into
 * a program that does not call it.
 */
#ifndef ISTH_SEAL_H
#define ISTH_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "isth_sha256.h"
#include "isth_status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ISTH_SEAL_HEADER_BYTES 12
#define ISTH_SEAL_BYTES(tag_bytes) (ISTH_SEAL_HEADER_BYTES + (tag_bytes)) /* what a seal adds */
#define ISTH_SEAL_COUNTER_END ((uint64_t)1 << 48) /* no counter is this large */

/* HMAC-SHA256 of `size` bytes under a key that `context` knows. */
typedef void (*isth_mac)(const void *context, const uint8_t *data, size_t size,
                         uint8_t tag[ISTH_SHA256_BYTES]);

/*
 * What a device signs with. Yours to place, and to leave there: a copy does not sign. Fields are
 * private, and as secret as the key.
 */
typedef struct isth_sealer {
    isth_hmac_key key;
    isth_mac mac;
    const void *context;
    uint64_t counter;     /* of the next unit */
    uint64_t counter_end; /* the first that may not be used */
    uint32_t device;
    uint8_t tag_bytes;
    uint8_t status; /* what isth_seal_init refused; isth_sign gives it back */
} isth_sealer;

/*
 * Takes the device's key (16 bytes or more; `isthmus key` prints 32), its number, and the counters
 * that it may use: first .. end - 1. No counter may ever be used twice under one key, so a device
 * that cannot write flash for every unit writes `end` before it uses the counters below it, and
 * starts there after a reset: see docs/firmware.md. `tag_bytes` is 8, 12, 16 or 32, or 0 for a unit
 * that names its device and is not signed (the key is then not read).
 *
 * ISTH_E_ARGUMENT where an argument is out of its range; isth_sign then says the same, so that the
 * status need not be looked at twice.
 */
isth_status isth_seal_init(isth_sealer *sealer, const uint8_t *key, size_t key_bytes,
                           uint32_t device, uint64_t first, uint64_t end, unsigned tag_bytes);

/*
 * The same with a signer of your own, such as a secure element that keeps the key: `mac` is called
 * once a unit, with `context`. Of SHA-256 nothing is then linked.
 */
isth_status isth_seal_init_mac(isth_sealer *sealer, isth_mac mac, const void *context,
                               uint32_t device, uint64_t first, uint64_t end, unsigned tag_bytes);

/* Allows the counters up to `end` - 1. ISTH_E_ARGUMENT where `end` goes back or is too large. */
isth_status isth_seal_extend(isth_sealer *sealer, uint64_t end);

/*
 * Seals `unit` of `unit_bytes` bytes into `out`, with the next counter. `unit` may lie anywhere, in
 * `out` too: at out + ISTH_SEAL_HEADER_BYTES it stays where it is, elsewhere it is moved or copied.
 *
 * ISTH_E_BUFFER and the size needed in *length where `capacity` is less; the counter is not used
 * and `out` not written. ISTH_E_ARGUMENT where there are no bytes, as after an encoder's error.
 * ISTH_E_STATE where the counters are used up. *length is 0 after any error but ISTH_E_BUFFER.
 */
isth_status isth_sign(isth_sealer *sealer, const uint8_t *unit, size_t unit_bytes, uint8_t *out,
                      size_t capacity, size_t *length);

#ifdef __cplusplus
}
#endif

#endif /* ISTH_SEAL_H */
