/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the BPF programs know of a frame: a UDP datagram over IPv4 without
 * options or fragments, or over IPv6 without extension headers. Anything else
 * is the kernel's business (ARP, ICMPv6) and is passed on.
 */
#ifndef LABKIT_BPF_FRAME_H
#define LABKIT_BPF_FRAME_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV4_PLAIN_HEADER 0x45 /* version 4, five words: no options */

struct udp_frame {
    struct ethhdr *eth;
    int ip_version; /* 4 or 6: says which of the next two is set */
    struct iphdr *ipv4;
    struct ipv6hdr *ipv6;
    struct udphdr *udp;
    void *payload;
};

/* Whether the frame is test traffic; fills `frame`. Everything it points to is
 * inside the packet. */
static __always_inline int parse_udp(struct xdp_md *ctx, struct udp_frame *frame)
{
    void *end = (void *)(long)ctx->data_end;
    frame->eth = (void *)(long)ctx->data;
    if ((void *)(frame->eth + 1) > end) {
        return 0;
    }
    if (frame->eth->h_proto == bpf_htons(ETH_P_IP)) {
        frame->ip_version = 4;
        frame->ipv4 = (void *)(frame->eth + 1);
        frame->udp = (void *)(frame->ipv4 + 1);
        frame->payload = frame->udp + 1;
        return frame->payload <= end && *(__u8 *)frame->ipv4 == IPV4_PLAIN_HEADER &&
               frame->ipv4->protocol == IPPROTO_UDP &&
               !(frame->ipv4->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET));
    }
    if (frame->eth->h_proto == bpf_htons(ETH_P_IPV6)) {
        frame->ip_version = 6;
        frame->ipv6 = (void *)(frame->eth + 1);
        frame->udp = (void *)(frame->ipv6 + 1);
        frame->payload = frame->udp + 1;
        return frame->payload <= end && frame->ipv6->nexthdr == IPPROTO_UDP;
    }
    return 0;
}

#endif
