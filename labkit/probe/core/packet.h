/* SPDX-License-Identifier: BSD-3-Clause */
/* What the probe reads and changes in a frame: Ethernet, IPv4 or IPv6, UDP. */
#ifndef LABKIT_PACKET_H
#define LABKIT_PACKET_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "signature.h"

#define ETHERNET_BYTES 14U
#define UDP_BYTES 8U
#define IPV6_BYTES 40U

/* Where the UDP header of a frame with room for a signature starts; 0: not such a frame. */
static inline unsigned packet_udp_offset(const uint8_t *data, uint32_t length)
{
    unsigned udp;

    if (length < ETHERNET_BYTES + 20 + UDP_BYTES + SIGNATURE_BYTES)
        return 0;
    if (data[12] == 0x08 && data[13] == 0x00) {
        if (__builtin_expect(data[14] == 0x45, 1))
            udp = ETHERNET_BYTES + 20;
        else
            udp = ETHERNET_BYTES + (data[14] & 15U) * 4;
        if (data[23] != 17 || (data[14] >> 4) != 4)
            return 0;
    } else if (data[12] == 0x86 && data[13] == 0xdd) {
        if (data[20] != 17)
            return 0;
        udp = ETHERNET_BYTES + IPV6_BYTES;
    } else {
        return 0;
    }
    return length >= udp + UDP_BYTES + SIGNATURE_BYTES ? udp : 0;
}

/* Whether a frame with a UDP header at `udp` has all the bytes that its IP header announces. A driver that
 * copies into buffers too small for it hands on the start of a frame, in which headers and signature are as
 * they were.
 */
static inline bool packet_is_whole(const uint8_t *data, uint32_t length, unsigned udp)
{
    /* IPv4: the total length; IPv6: what follows its header. */
    uint32_t ends = data[12] == 0x08 ? ETHERNET_BYTES + ((uint32_t)data[16] << 8 | data[17])
                                     : udp + ((uint32_t)data[18] << 8 | data[19]);

    return length >= ends;
}

enum swap { SWAP_NONE, SWAP_MAC, SWAP_ALL };

static inline void swap_bytes(uint8_t *a, uint8_t *b, unsigned n)
{
    uint8_t keep[16];

    memcpy(keep, a, n);
    memcpy(a, b, n);
    memcpy(b, keep, n);
}

/* Sends a frame back where it came from. No checksum changes: the sums do not depend on the order. */
static inline void packet_swap(uint8_t *data, unsigned udp, enum swap swap)
{
    if (swap == SWAP_NONE)
        return;
    swap_bytes(data, data + 6, 6);
    if (swap == SWAP_MAC)
        return;
    if (data[12] == 0x08)
        swap_bytes(data + 26, data + 30, 4);
    else
        swap_bytes(data + 22, data + 38, 16);
    swap_bytes(data + udp, data + udp + 2, 2);
}

#endif
