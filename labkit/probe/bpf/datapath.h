/* SPDX-License-Identifier: BSD-3-Clause */
/* What the in-kernel datapath and the engine that loads it share. */
#ifndef LABKIT_BPF_DATAPATH_H
#define LABKIT_BPF_DATAPATH_H

#include <linux/types.h>

/* One per CPU; the engine adds them up. */
struct datapath_counters {
    __u64 rx_frames;
    __u64 tx_frames; /* verdicts XDP_TX or XDP_REDIRECT: what the driver then
                        dropped stands in its own statistics */
    __u64 foreign;   /* passed to the kernel, or (sink) without a signature */
    __u64 stale;     /* another tag */
    __u64 received;  /* sink: unique frames of this tag */
    __u64 duplicates;
    __u64 reordered;
};

/* The sink's memory of sequence numbers: a ring of 64-bit words, each
 * remembering which stretch it stands for. */
#define SINK_WORDS 4096 /* 262144 sequence numbers back */

struct sink_word {
    __u64 stretch; /* sequence / 64 + 1; 0: never used */
    __u64 seen;    /* one bit a sequence number */
};

struct sink_state {
    __u64 next; /* highest sequence seen + 1 */
    __u64 first_rx_ns;
    __u64 last_rx_ns; /* CLOCK_MONOTONIC */
    __u32 tag;
    __u32 unused;
};

#endif
