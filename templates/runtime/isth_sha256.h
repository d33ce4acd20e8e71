/*
 * Isthmus: SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104), for sealed units.
 *
 * A key is taken once: isth_hmac_key holds what is left of it after its two blocks, 64 bytes, so
 * that a message costs only its own blocks and one more.
 *
 * With ISTH_SHA256_EXTERNAL, for all files, isth_sha256_blocks() is yours: an accelerator's or
 * another library's compression function takes its place, and the rest stays as it is.
 */
#ifndef ISTH_SHA256_H
#define ISTH_SHA256_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ISTH_SHA256_BYTES 32
#define ISTH_SHA256_BLOCK_BYTES 64

/* A key, ready for use. As secret as the key itself. */
typedef struct isth_hmac_key {
    uint32_t inner[8]; /* the state after the key XOR 36..36 */
    uint32_t outer[8]; /* the state after the key XOR 5c..5c */
} isth_hmac_key;

/*
 * The compression function: `state` after `blocks` more blocks of 64 bytes. The state's words are
 * numbers of this machine, the first is H0 of FIPS 180-4; `data` may lie at any address.
 */
void isth_sha256_blocks(uint32_t state[8], const uint8_t *data, size_t blocks);

/* The hash of `size` bytes. */
void isth_sha256(const uint8_t *data, size_t size, uint8_t digest[ISTH_SHA256_BYTES]);

/* Takes a key of any length; one of more than 64 bytes is hashed first. */
void isth_hmac_key_init(isth_hmac_key *key, const uint8_t *bytes, size_t size);

/* The HMAC of `size` bytes. */
void isth_hmac(const isth_hmac_key *key, const uint8_t *data, size_t size,
               uint8_t tag[ISTH_SHA256_BYTES]);

#ifdef __cplusplus
}
#endif

#endif /* ISTH_SHA256_H */
