/*
 * Isthmus: SHA-256 and HMAC. No table but the 64 round constants, which are read from flash; no
 * branch or address depends on data, so neither does the time on a core without a cache.
 *
 * The message schedule is a ring of 16 words, renewed every sixteen rounds. Eight rounds are
 * written out: the names of the working variables then move, and not their values.
 */
#include "isth_sha256.h"

static const uint32_t initial_state[8] = {
    0x6A09E667u, 0xBB67AE85u, 0x3C6EF372u, 0xA54FF53Au,
    0x510E527Fu, 0x9B05688Cu, 0x1F83D9ABu, 0x5BE0CD19u,
};

#if !defined(ISTH_SHA256_EXTERNAL)

static const uint32_t round_constants[64] = {
    0x428A2F98u, 0x71374491u, 0xB5C0FBCFu, 0xE9B5DBA5u, 0x3956C25Bu, 0x59F111F1u, 0x923F82A4u,
    0xAB1C5ED5u, 0xD807AA98u, 0x12835B01u, 0x243185BEu, 0x550C7DC3u, 0x72BE5D74u, 0x80DEB1FEu,
    0x9BDC06A7u, 0xC19BF174u, 0xE49B69C1u, 0xEFBE4786u, 0x0FC19DC6u, 0x240CA1CCu, 0x2DE92C6Fu,
    0x4A7484AAu, 0x5CB0A9DCu, 0x76F988DAu, 0x983E5152u, 0xA831C66Du, 0xB00327C8u, 0xBF597FC7u,
    0xC6E00BF3u, 0xD5A79147u, 0x06CA6351u, 0x14292967u, 0x27B70A85u, 0x2E1B2138u, 0x4D2C6DFCu,
    0x53380D13u, 0x650A7354u, 0x766A0ABBu, 0x81C2C92Eu, 0x92722C85u, 0xA2BFE8A1u, 0xA81A664Bu,
    0xC24B8B70u, 0xC76C51A3u, 0xD192E819u, 0xD6990624u, 0xF40E3585u, 0x106AA070u, 0x19A4C116u,
    0x1E376C08u, 0x2748774Cu, 0x34B0BCB5u, 0x391C0CB3u, 0x4ED8AA4Au, 0x5B9CCA4Fu, 0x682E6FF3u,
    0x748F82EEu, 0x78A5636Fu, 0x84C87814u, 0x8CC70208u, 0x90BEFFFAu, 0xA4506CEBu, 0xBEF9A3F7u,
    0xC67178F2u,
};

#define ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

static uint32_t load_word(const uint8_t *at) {
    return ((uint32_t)at[0] << 24) | ((uint32_t)at[1] << 16) | ((uint32_t)at[2] << 8) |
           (uint32_t)at[3];
}

/* Word i of the next sixteen rounds; those before it are new already. */
#define NEXT_WORD(w, i)                                                                            \
    w[i] += (ROTATE(w[((i) + 1) & 15], 7) ^ ROTATE(w[((i) + 1) & 15], 18) ^                        \
             (w[((i) + 1) & 15] >> 3)) +                                                           \
            w[((i) + 9) & 15] +                                                                    \
            (ROTATE(w[((i) + 14) & 15], 17) ^ ROTATE(w[((i) + 14) & 15], 19) ^                     \
             (w[((i) + 14) & 15] >> 10))

static void next_words(uint32_t w[16]) {
    NEXT_WORD(w, 0);
    NEXT_WORD(w, 1);
    NEXT_WORD(w, 2);
    NEXT_WORD(w, 3);
    NEXT_WORD(w, 4);
    NEXT_WORD(w, 5);
    NEXT_WORD(w, 6);
    NEXT_WORD(w, 7);
    NEXT_WORD(w, 8);
    NEXT_WORD(w, 9);
    NEXT_WORD(w, 10);
    NEXT_WORD(w, 11);
    NEXT_WORD(w, 12);
    NEXT_WORD(w, 13);
    NEXT_WORD(w, 14);
    NEXT_WORD(w, 15);
}

/*
 * Round i of the eight that begin at `k` and `word`. `bc` is b ^ c and becomes the majority's other
 * half; `ab` is left for the next round, where these are b and c.
 */
#define ROUND(a, b, c, d, e, f, g, h, i, ab, bc)                                                   \
    do {                                                                                           \
        h += k[i] + word[i];                                                                       \
        h += ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25);                                         \
        h += g ^ (e & (f ^ g));                                                                    \
        d += h;                                                                                    \
        h += ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22);                                         \
        ab = a ^ b;                                                                                \
        h += b ^ (ab & bc);                                                                        \
    } while (0)

void isth_sha256_blocks(uint32_t state[8], const uint8_t *data, size_t blocks) {
    uint32_t w[16];

    for (; blocks != 0u; blocks--) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        const uint32_t *k = round_constants;
        uint32_t x, y = b ^ c;
        unsigned i;

        for (i = 0; i < 16u; i++, data += 4) {
            w[i] = load_word(data);
        }
        for (;;) {
            const uint32_t *word;

            for (word = w; word != w + 16; word += 8, k += 8) {
                ROUND(a, b, c, d, e, f, g, h, 0, x, y);
                ROUND(h, a, b, c, d, e, f, g, 1, y, x);
                ROUND(g, h, a, b, c, d, e, f, 2, x, y);
                ROUND(f, g, h, a, b, c, d, e, 3, y, x);
                ROUND(e, f, g, h, a, b, c, d, 4, x, y);
                ROUND(d, e, f, g, h, a, b, c, 5, y, x);
                ROUND(c, d, e, f, g, h, a, b, 6, x, y);
                ROUND(b, c, d, e, f, g, h, a, 7, y, x);
            }
            if (k == round_constants + 64) {
                break;
            }
            next_words(w);
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
        state[5] += f;
        state[6] += g;
        state[7] += h;
    }
}

#endif /* ISTH_SHA256_EXTERNAL */

static void store_words(const uint32_t state[8], uint8_t *out) {
    unsigned i;

    for (i = 0; i < 8u; i++) {
        out[4u * i] = (uint8_t)(state[i] >> 24);
        out[4u * i + 1u] = (uint8_t)(state[i] >> 16);
        out[4u * i + 2u] = (uint8_t)(state[i] >> 8);
        out[4u * i + 3u] = (uint8_t)state[i];
    }
}

static void copy_state(uint32_t *to, const uint32_t *from) {
    unsigned i;

    for (i = 0; i < 8u; i++) {
        to[i] = from[i];
    }
}

/* `state` to the end of a message of `blocks` blocks, gone by, and `size` bytes more. */
static void finish(uint32_t state[8], size_t blocks, const uint8_t *data, size_t size,
                   uint8_t *digest) {
    uint8_t block[ISTH_SHA256_BLOCK_BYTES];
    size_t whole = size / ISTH_SHA256_BLOCK_BYTES;
    size_t rest = size % ISTH_SHA256_BLOCK_BYTES;
    /* 64 bits long, as two words that a shift of size_t cannot overrun */
    size_t bytes = blocks * ISTH_SHA256_BLOCK_BYTES + size;
    uint32_t high = (uint32_t)(bytes >> 16 >> 13);
    uint32_t low = (uint32_t)(bytes << 3);
    size_t i;

    if (whole != 0u) {
        isth_sha256_blocks(state, data, whole);
        data += whole * ISTH_SHA256_BLOCK_BYTES;
    }
    for (i = 0; i < rest; i++) {
        block[i] = data[i];
    }
    block[i++] = 0x80u;
    if (i > ISTH_SHA256_BLOCK_BYTES - 8u) {
        for (; i < ISTH_SHA256_BLOCK_BYTES; i++) {
            block[i] = 0u;
        }
        isth_sha256_blocks(state, block, 1u);
        i = 0;
    }
    for (; i < ISTH_SHA256_BLOCK_BYTES - 8u; i++) {
        block[i] = 0u;
    }
    for (; i < ISTH_SHA256_BLOCK_BYTES; i++) {
        uint32_t word = i < ISTH_SHA256_BLOCK_BYTES - 4u ? high : low;

        block[i] = (uint8_t)(word >> (24u - 8u * (i & 3u)));
    }
    isth_sha256_blocks(state, block, 1u);
    store_words(state, digest);
}

void isth_sha256(const uint8_t *data, size_t size, uint8_t digest[ISTH_SHA256_BYTES]) {
    uint32_t state[8];

    copy_state(state, initial_state);
    finish(state, 0u, data, size, digest);
}

void isth_hmac_key_init(isth_hmac_key *key, const uint8_t *bytes, size_t size) {
    uint8_t block[ISTH_SHA256_BLOCK_BYTES];
    size_t i = 0;

    if (size > ISTH_SHA256_BLOCK_BYTES) {
        isth_sha256(bytes, size, block);
        i = ISTH_SHA256_BYTES;
    } else {
        for (; i < size; i++) {
            block[i] = bytes[i];
        }
    }
    for (; i < ISTH_SHA256_BLOCK_BYTES; i++) {
        block[i] = 0u;
    }
    for (i = 0; i < ISTH_SHA256_BLOCK_BYTES; i++) {
        block[i] ^= 0x36u;
    }
    copy_state(key->inner, initial_state);
    isth_sha256_blocks(key->inner, block, 1u);
    for (i = 0; i < ISTH_SHA256_BLOCK_BYTES; i++) {
        block[i] ^= 0x36u ^ 0x5Cu;
    }
    copy_state(key->outer, initial_state);
    isth_sha256_blocks(key->outer, block, 1u);
}

void isth_hmac(const isth_hmac_key *key, const uint8_t *data, size_t size,
               uint8_t tag[ISTH_SHA256_BYTES]) {
    uint32_t state[8];

    copy_state(state, key->inner);
    finish(state, 1u, data, size, tag);
    copy_state(state, key->outer);
    finish(state, 1u, tag, ISTH_SHA256_BYTES, tag);
}
