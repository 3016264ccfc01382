/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the in-kernel tester's programs and the engine that runs them share: one struct in the programs'
 * memory, mapped by the engine. The engine writes the plan and the frames before a trial; each program writes
 * its own part.
 */
#ifndef LABKIT_BPF_TESTER_H
#define LABKIT_BPF_TESTER_H

#include <linux/types.h>

#define TESTER_TEMPLATES 256
#define TESTER_FRAME_MAX 3408 /* what a page has room for in live-frames mode, seen on Linux 6.18 */
#define TESTER_SEEN 4096      /* a power of two that a frame fits into */
#define TESTER_ORDER 65536
#define TESTER_FLOWS 32768
#define TESTER_FIELDS 4
#define TESTER_LAGS 65536
#define TESTER_COUNTS 25600 /* of a histogram: see core/histogram.h */
#define TESTER_OFFSETS 256  /* headers and signature end before this byte */
#define TESTER_CLOCK_READS 1000
/* The memory of sequence numbers: a ring of 64-bit words, each of which knows the stretch that it stands for.
 */
#define TESTER_WORDS (1 << 20)

struct tester_word {
    __u64 stretch; /* of this process: no trial's is another's; 0: never used */
    __u64 seen;    /* one bit a sequence number */
};

struct tester_template {
    __u8 data[TESTER_FRAME_MAX];
    __u32 length;
    __u16 signature;
    __u16 checksum; /* offset; 0: none */
    __u32 checksum_base;
    __u32 ip_checksum_base;
    __u16 ip;
    __u16 udp; /* whether a checksum of zero is written as 0xffff */
};

struct tester_field {
    __u16 offset;
    __u16 bytes;
};

struct tester_flow {
    __u32 value[TESTER_FIELDS]; /* as they stand in the frame: network byte order */
    __u32 sum;                  /* what the fields add to the checksum of UDP, TCP or ICMP */
    __u32 ip_sum;
};

struct tester_plan {
    __u32 ifindex; /* whose frames the generator makes; elsewhere it passes all */
    __u32 flows;
    __u32 order_count;
    __u32 longest;
    __u32 plain;       /* one field of 16 bits that counts up from flow to flow */
    __u32 plain_first; /* from this value */
    __u32 field_count;
    __u32 in_ip; /* whether fields of IPv4 headers differ */
    struct tester_field field[TESTER_FIELDS];
    __u64 limit; /* frames to send at most */
    __u64 start_ns, until_ns;
    __u64 interval_ns;
    __u32 interval_fraction;
    __u32 spins; /* looks at the clock within one call, at most */
    __u64 closed_timeout_ns;
    __u64 above_ns; /* 0: not counted */
    __u64 stall_ns; /* a gap longer than this is a stall */
    __u64 stretch;  /* of sequence number 0 */
    __u16 tag;
    __u16 port, port_mask; /* in network order, see core/frames.h */
    __u8 paced, closed, verify, expect_return;
    __u8 tagged;
};

/* Written by the generator. */
struct tester_sending {
    __u64 sequence; /* frames made: each was handed to the driver */
    __u64 next_ns;  /* when the next one is due */
    __u32 next_fraction;
    __u32 flow;
    __u32 order;
    __u32 unused;
    __u64 sent_ns; /* when the last one was made */
    __u64 over_ns; /* when sending was seen to be over; 0: it is not */
    __u64 runs, idle;
    __u64 last_run_ns;
    __u64 stall_max_ns, stall_total_ns;
    __u64 refused; /* frames that the kernel had no room to change: never seen, a trial with one is invalid */
};

struct tester_histogram {
    __u64 n, min_ns, max_ns, sum_ns, overflow;
    __u64 counts[TESTER_COUNTS];
};

/* Written by the receiver. */
struct tester_arrived {
    __u64 frames; /* all that were for the tester */
    __u64 next, received, duplicates, reordered;
    __u64 stale, foreign, corrupt, late;
    __u64 above_run, longest_above;
    __u64 forgotten; /* came so late that the ring of words no longer knows them */
    __u64 awaited;   /* closed loop: sequence + 1 of the last that came */
    __u64 last_ns;
};

struct tester {
    struct tester_plan plan __attribute__((aligned(64)));
    __u64 late_from_ns; /* written by the engine when sending is over */
    struct tester_sending sending __attribute__((aligned(64)));
    struct tester_arrived arrived __attribute__((aligned(64)));
    struct tester_histogram rtt __attribute__((aligned(64)));
    struct tester_histogram service __attribute__((aligned(64)));
    struct tester_histogram lag __attribute__((aligned(64)));
    __u32 lag_ns[TESTER_LAGS];
    __u8 seen[TESTER_SEEN]; /* a frame that is compared */
    __u16 order[TESTER_ORDER];
    struct tester_flow flow[TESTER_FLOWS];
    struct tester_template template[TESTER_TEMPLATES];
};

#endif
