/* SPDX-License-Identifier: BSD-3-Clause */
#include "packet.h"

#include <net/ethernet.h>

#define ETHERTYPE_SERVICE_TAG 0x88a8U /* IEEE 802.1ad: the outer tag of two */
#define TCP_BYTES_MIN 20U
#define ICMP_BYTES 8U

/* Where the IP header starts; 0: too many tags, or no IP. */
static unsigned find_ip(const uint8_t *data, uint8_t *version)
{
    unsigned ip = ETHERNET_BYTES; /* every tag shifts it: the frame is longer than two of them */

    for (unsigned tags = 0;; tags++) {
        uint32_t type = packet_u16(data + ip - 2);

        if (type == ETHERTYPE_IP || type == ETHERTYPE_IPV6) {
            *version = type == ETHERTYPE_IP ? 4 : 6;
            return ip;
        }
        if ((type != ETHERTYPE_VLAN && type != ETHERTYPE_SERVICE_TAG) || tags == VLAN_TAGS_MAX)
            return 0;
        ip += VLAN_TAG_BYTES;
    }
}

/* Bytes of the header at `at`, `left` before the frame's end; 0: none that a signature follows. */
static unsigned header_bytes(uint8_t version, uint8_t protocol, const uint8_t *at, uint32_t left)
{
    if (left < ICMP_BYTES)
        return 0;
    switch (protocol) {
    case IPPROTO_UDP:
        return UDP_BYTES;
    case IPPROTO_TCP: {
        unsigned bytes = left < TCP_BYTES_MIN ? 0 : (at[12] >> 4) * 4U;

        return bytes < TCP_BYTES_MIN ? 0 : bytes;
    }
    case IPPROTO_ICMP: /* echo reply and request; all else is for the kernel */
        return version == 4 && (at[0] == 0 || at[0] == 8) ? ICMP_BYTES : 0;
    case IPPROTO_ICMPV6:
        return version == 6 && (at[0] == 128 || at[0] == 129) ? ICMP_BYTES : 0;
    default:
        return 0;
    }
}

bool packet_find_any(const uint8_t *data, uint32_t length, struct packet *packet)
{
    uint8_t version = 0;
    uint8_t protocol;
    unsigned ip;
    unsigned l4;
    unsigned bytes;

    if (length < ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES + SIGNATURE_BYTES)
        return false;
    ip = find_ip(data, &version);
    if (ip == 0)
        return false;
    if (version == 4) {
        if (data[ip] >> 4 != 4 || (data[ip] & 15U) < IPV4_BYTES / 4)
            return false;
        protocol = data[ip + 9];
        l4 = ip + (data[ip] & 15U) * 4;
    } else {
        protocol = data[ip + 6];
        l4 = ip + IPV6_BYTES;
    }
    if (l4 >= length)
        return false;
    bytes = header_bytes(version, protocol, data + l4, length - l4);
    if (bytes == 0 || length < l4 + bytes + SIGNATURE_BYTES)
        return false;
    *packet = (struct packet){(uint16_t)ip, (uint16_t)l4, (uint16_t)(l4 + bytes), version, protocol};
    return true;
}
