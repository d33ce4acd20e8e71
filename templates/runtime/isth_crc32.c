/*
 * Isthmus: CRC-32 (IEEE 802.3, reflected, polynomial 0xEDB88320), four bits at a time.
 *
 * Sixteen entries keep the table at 64 bytes of flash. A slice is summed once, at its end, so the
 * table's size matters more than the two look-ups a byte. The register is the caller's: it starts
 * as profile->digest_crc (which holds the usual initial inversion) and is inverted at the end by
 * the code that writes or checks it.
 */
#include "isth_codec.h"

static const uint32_t nibble_table[16] = {
    0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
    0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
    0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
};

static uint32_t one_byte(uint32_t crc) {
    crc = (crc >> 4) ^ nibble_table[crc & 15u];
    return (crc >> 4) ^ nibble_table[crc & 15u];
}

uint32_t isth_crc32(uint32_t crc, const uint8_t *data, size_t size) {
    for (; size >= 4u; data += 4, size -= 4u) {
        crc ^= (uint32_t)data[0] | ((uint32_t)data[1] << 8) | ((uint32_t)data[2] << 16) |
               ((uint32_t)data[3] << 24);
        crc = one_byte(one_byte(one_byte(one_byte(crc))));
    }
    for (; size != 0u; size--) {
        crc = one_byte(crc ^ *data++);
    }
    return crc;
}
