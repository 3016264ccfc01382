/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-kernel datapath: one small program a role and a way of swapping, so
 * that nothing is decided per frame. The engine swaps programs under a standing
 * link.
 */
#include "datapath.h"
#include "frame.h"

enum swap { SWAP_NONE, SWAP_MAC, SWAP_ALL };

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct datapath_counters);
} counters SEC(".maps");

/* Where frames go that came in on port 0 and on port 1: key 0 for port 0. */
struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u32);
} other_port SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct sink_state);
} sink_state SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, SINK_WORDS);
    __type(key, __u32);
    __type(value, struct sink_word);
} sink_words SEC(".maps");

static __always_inline struct datapath_counters *own_counters(void)
{
    __u32 key = 0;
    return bpf_map_lookup_elem(&counters, &key);
}

static __always_inline void swap_addresses(struct test_frame *frame, enum swap how)
{
    if (how == SWAP_NONE) {
        return;
    }
    __u16 *mac = (__u16 *)frame->eth; /* destination, source: three words each */
    for (int i = 0; i < 3; i++) {
        __u16 word = mac[i];
        mac[i] = mac[i + 3];
        mac[i + 3] = word;
    }
    if (how == SWAP_MAC) {
        return;
    }
    /* Swapping words leaves their ones' complement sums, and with them all
     * checksums, as they were. */
    if (frame->ip_version == 4) {
        __be32 address = frame->ipv4->daddr;
        frame->ipv4->daddr = frame->ipv4->saddr;
        frame->ipv4->saddr = address;
    } else {
        struct in6_addr address = frame->ipv6->daddr;
        frame->ipv6->daddr = frame->ipv6->saddr;
        frame->ipv6->saddr = address;
    }
    if (frame->has_ports) {
        __be16 port = frame->l4->dest;
        frame->l4->dest = frame->l4->source;
        frame->l4->source = port;
    }
}

/* Parses, counts and swaps; whether the frame is ours to send. */
static __always_inline int take(struct xdp_md *ctx, enum swap how)
{
    struct test_frame frame;
    struct datapath_counters *own = own_counters();
    if (!own) {
        return 0;
    }
    if (!parse_frame(ctx, &frame)) {
        own->foreign++;
        return 0;
    }
    own->rx_frames++;
    own->tx_frames++;
    swap_addresses(&frame, how);
    return 1;
}

SEC("xdp")
int idle(struct xdp_md *ctx)
{
    return XDP_PASS;
}

#define REFLECT(name, how)                                                                                   \
    SEC("xdp") int name(struct xdp_md *ctx)                                                                  \
    {                                                                                                        \
        return take(ctx, how) ? XDP_TX : XDP_PASS;                                                           \
    }
REFLECT(reflect_none, SWAP_NONE)
REFLECT(reflect_mac, SWAP_MAC)
REFLECT(reflect_all, SWAP_ALL)

#define REDIRECT(name, how, from)                                                                            \
    SEC("xdp") int name(struct xdp_md *ctx)                                                                  \
    {                                                                                                        \
        return take(ctx, how) ? bpf_redirect_map(&other_port, from, XDP_DROP) : XDP_PASS;                    \
    }
REDIRECT(redirect0_none, SWAP_NONE, 0)
REDIRECT(redirect0_mac, SWAP_MAC, 0)
REDIRECT(redirect0_all, SWAP_ALL, 0)
REDIRECT(redirect1_none, SWAP_NONE, 1)
REDIRECT(redirect1_mac, SWAP_MAC, 1)
REDIRECT(redirect1_all, SWAP_ALL, 1)

static __always_inline void sink_account(struct datapath_counters *own, struct sink_state *state,
                                         __u64 sequence)
{
    __u64 stretch = sequence / 64 + 1;
    __u32 slot = (sequence / 64) % SINK_WORDS;
    struct sink_word *word = bpf_map_lookup_elem(&sink_words, &slot);
    if (!word) {
        return;
    }
    __u64 bit = 1ULL << (sequence % 64);
    if (word->stretch < stretch) {
        word->stretch = stretch;
        word->seen = 0;
    }
    if (word->stretch == stretch) {
        if (word->seen & bit) {
            own->duplicates++;
            return;
        }
        word->seen |= bit;
    }
    own->received++;
    if (sequence < state->next) {
        own->reordered++;
    } else {
        state->next = sequence + 1;
    }
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
    struct test_frame frame;
    __u32 key = 0;
    struct datapath_counters *own = own_counters();
    struct sink_state *state = bpf_map_lookup_elem(&sink_state, &key);
    if (!own || !state) {
        return XDP_PASS;
    }
    if (!parse_frame(ctx, &frame)) {
        own->foreign++;
        return XDP_PASS;
    }
    own->rx_frames++;
    __u8 *signature = frame.payload;
    if ((void *)(signature + SIGNATURE_BYTES) > (void *)(long)ctx->data_end) {
        own->foreign++;
        return XDP_DROP;
    }
    __be16 tag;
    __be64 sequence;
    __builtin_memcpy(&tag, signature, sizeof(tag));
    __builtin_memcpy(&sequence, signature + sizeof(tag), sizeof(sequence));
    if (bpf_ntohs(tag) != state->tag) {
        own->stale++;
        return XDP_DROP;
    }
    __u64 now_ns = bpf_ktime_get_ns();
    if (!state->first_rx_ns) {
        state->first_rx_ns = now_ns;
    }
    state->last_rx_ns = now_ns;
    sink_account(own, state, bpf_be64_to_cpu(sequence));
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
