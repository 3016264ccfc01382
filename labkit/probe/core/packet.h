/* SPDX-License-Identifier: BSD-3-Clause */
/* What the probe reads and changes in a frame: Ethernet, up to two VLAN tags, IPv4 or IPv6, UDP, TCP or an
 * ICMP echo. */
#ifndef LABKIT_PACKET_H
#define LABKIT_PACKET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "signature.h"

#define ETHERNET_BYTES 14U
#define VLAN_TAGS_MAX 2U
#define VLAN_TAG_BYTES 4U
#define IPV4_BYTES 20U
#define IPV6_BYTES 40U
#define UDP_BYTES 8U

/* A frame with room for a signature: where its headers stand. */
struct packet {
    uint16_t ip;
    uint16_t l4;      /* UDP, TCP or ICMP */
    uint16_t payload; /* what follows that header: the signature */
    uint8_t version;  /* 4 or 6 */
    uint8_t protocol; /* of the IP header */
};

/* Any frame, see packet_find. */
bool packet_find_any(const uint8_t *data, uint32_t length, struct packet *packet);

/* Whether it is such a frame. UDP over IPv4 without tags and options is found at once. */
static inline bool packet_find(const uint8_t *data, uint32_t length, struct packet *packet)
{
    const unsigned payload = ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES;

    if (length < payload + SIGNATURE_BYTES)
        return false;
    if (__builtin_expect(data[12] != 0x08 || data[13] != 0x00 || data[14] != 0x45 || data[23] != IPPROTO_UDP,
                         0))
        return packet_find_any(data, length, packet);
    *packet = (struct packet){ETHERNET_BYTES, ETHERNET_BYTES + IPV4_BYTES, payload, 4, IPPROTO_UDP};
    return true;
}

static inline uint32_t packet_u16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* Where the checksum of the UDP, TCP or ICMP header stands. */
static inline uint32_t packet_checksum_offset(struct packet packet)
{
    if (packet.protocol == IPPROTO_UDP)
        return packet.l4 + 6U;
    return packet.l4 + (packet.protocol == IPPROTO_TCP ? 16U : 2U);
}

/* Whether a frame has all the bytes that its IP header announces. A driver that copies into buffers too small
 * for it hands on the start of a frame, in which headers and signature are as they were.
 */
static inline bool packet_is_whole(const uint8_t *data, uint32_t length, struct packet packet)
{
    /* IPv4: the total length; IPv6: what follows its header. */
    uint32_t ends = packet.version == 4 ? packet.ip + packet_u16(data + packet.ip + 2)
                                        : packet.ip + IPV6_BYTES + packet_u16(data + packet.ip + 4);

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

/* Sends a frame back where it came from; an echo stays a request. No checksum changes: the sums do not depend
 * on the order. */
static inline void packet_swap(uint8_t *data, struct packet packet, enum swap swap)
{
    uint8_t *ip = data + packet.ip;

    if (swap == SWAP_NONE)
        return;
    swap_bytes(data, data + 6, 6);
    if (swap == SWAP_MAC)
        return;
    if (packet.version == 4)
        swap_bytes(ip + 12, ip + 16, 4);
    else
        swap_bytes(ip + 8, ip + 24, 16);
    if (__builtin_expect(packet.protocol == IPPROTO_UDP || packet.protocol == IPPROTO_TCP, 1))
        swap_bytes(data + packet.l4, data + packet.l4 + 2, 2);
}

#endif
