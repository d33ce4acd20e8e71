/*
 * The four functions a freestanding compiler may call on its own. Built without builtins, so that
 * none is turned into a call of itself.
 */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *left, const void *right, size_t bytes);

typedef uint32_t __attribute__((may_alias)) word;

static int words_apart(const void *left, const void *right) {
    return (((uintptr_t)left | (uintptr_t)right) & 3u) == 0;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
    uint8_t *out = to;
    const uint8_t *in = from;

    if (words_apart(to, from)) {
        word *out_word = to;
        const word *in_word = from;

        for (; bytes >= sizeof(word); bytes -= sizeof(word)) {
            *out_word++ = *in_word++;
        }
        out = (uint8_t *)out_word;
        in = (const uint8_t *)in_word;
    }
    while (bytes-- > 0) {
        *out++ = *in++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t bytes) {
    uint8_t *out = to;
    const uint8_t *in = from;

    if ((uintptr_t)to - (uintptr_t)from >= bytes) {
        return memcpy(to, from, bytes);
    }
    while (bytes-- > 0) {
        out[bytes] = in[bytes];
    }
    return to;
}

void *memset(void *to, int value, size_t bytes) {
    uint8_t *out = to;
    const uint32_t byte = (uint32_t)value & 0xffu;

    while (bytes > 0 && ((uintptr_t)out & 3u) != 0) {
        *out++ = (uint8_t)byte;
        bytes--;
    }
    word *out_word = (word *)(void *)out;

    for (; bytes >= sizeof(word); bytes -= sizeof(word)) {
        *out_word++ = byte * 0x01010101u;
    }
    out = (uint8_t *)out_word;
    while (bytes-- > 0) {
        *out++ = (uint8_t)byte;
    }
    return to;
}

int memcmp(const void *left, const void *right, size_t bytes) {
    const uint8_t *a = left;
    const uint8_t *b = right;

    for (size_t i = 0; i < bytes; i++) {
        if (a[i] != b[i]) {
            return a[i] < b[i] ? -1 : 1;
        }
    }
    return 0;
}
