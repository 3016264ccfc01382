/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the BPF programs know of a frame: up to two VLAN tags, IPv4 without
 * options or fragments or IPv6 without extension headers, and UDP, or TCP or
 * an ICMP echo with room for a signature. Anything else is the kernel's
 * business (ARP, neighbours, a TCP handshake) and is passed on.
 */
#ifndef LABKIT_BPF_FRAME_H
#define LABKIT_BPF_FRAME_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV4_PLAIN_HEADER 0x45 /* version 4, five words: no options */
#define SIGNATURE_BYTES 18
#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8
#define ICMPV6_ECHO 128 /* request; the reply is one more */

struct vlan_tag {
    __be16 control;
    __be16 type; /* of what follows */
};

/* Of the UDP, TCP or ICMP header, what is looked at. */
struct l4_header {
    __be16 source; /* ICMP: type and code */
    __be16 dest;
    __be32 more;
};

struct tcp_header {
    struct l4_header ports;
    __be32 acknowledged;
    __u8 words; /* upper half: length of the header */
    __u8 flags;
    __be16 window, checksum, urgent;
};

struct test_frame {
    struct ethhdr *eth;
    int ip_version; /* 4 or 6: says which of the next two is set */
    struct iphdr *ipv4;
    struct ipv6hdr *ipv6;
    int has_ports;
    struct l4_header *l4;
    void *payload;
};

static __always_inline int is_tag(__be16 type)
{
    return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Whether the frame is test traffic; fills `frame`. Everything it points to is
 * inside the packet. */
static __always_inline int parse_frame(struct xdp_md *ctx, struct test_frame *frame)
{
    void *end = (void *)(long)ctx->data_end;
    __u8 protocol;
    frame->eth = (void *)(long)ctx->data;
    void *at = frame->eth + 1;
    if (at > end) {
        return 0;
    }
    __be16 type = frame->eth->h_proto;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (is_tag(type)) {
            struct vlan_tag *tag = at;
            at = tag + 1;
            if (at > end) {
                return 0;
            }
            type = tag->type;
        }
    }
    if (type == bpf_htons(ETH_P_IP)) {
        frame->ip_version = 4;
        frame->ipv4 = at;
        frame->l4 = (void *)(frame->ipv4 + 1);
        frame->payload = frame->l4 + 1;
        if (frame->payload > end || *(__u8 *)frame->ipv4 != IPV4_PLAIN_HEADER ||
            (frame->ipv4->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET))) {
            return 0;
        }
        protocol = frame->ipv4->protocol;
    } else if (type == bpf_htons(ETH_P_IPV6)) {
        frame->ip_version = 6;
        frame->ipv6 = at;
        frame->l4 = (void *)(frame->ipv6 + 1);
        frame->payload = frame->l4 + 1;
        if (frame->payload > end) {
            return 0;
        }
        protocol = frame->ipv6->nexthdr;
    } else {
        return 0;
    }
    frame->has_ports = 1;
    if (protocol == IPPROTO_UDP) {
        return 1;
    }
    if (protocol == IPPROTO_TCP) {
        struct tcp_header *tcp = (void *)frame->l4;
        if ((void *)(tcp + 1) > end) {
            return 0;
        }
        __u64 bytes = (tcp->words >> 4) * 4;
        if (bytes < sizeof(*tcp)) {
            return 0;
        }
        frame->payload = (void *)tcp + bytes;
        return frame->payload + SIGNATURE_BYTES <= end;
    }
    frame->has_ports = 0;
    if (frame->payload + SIGNATURE_BYTES > end) {
        return 0;
    }
    __u8 kind = *(__u8 *)frame->l4;
    if (frame->ip_version == 4) {
        return protocol == IPPROTO_ICMP && (kind == ICMP_ECHO || kind == ICMP_ECHO_REPLY);
    }
    return protocol == IPPROTO_ICMPV6 && (kind & ~1) == ICMPV6_ECHO;
}

#endif
