/* SPDX-License-Identifier: BSD-3-Clause */
/* Hands test frames to the AF_XDP socket of the queue that they came in on; all
 * else goes to the kernel. */
#include "frame.h"

#define QUEUES_MAX 64

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, QUEUES_MAX);
    __type(key, __u32);
    __type(value, __u32);
} xsks SEC(".maps");

SEC("xdp")
int labkit_xsk(struct xdp_md *ctx)
{
    struct test_frame frame;
    if (!parse_frame(ctx, &frame)) {
        return XDP_PASS;
    }
    return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
