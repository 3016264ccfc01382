/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tester in the kernel: one program makes frames, run again and again by BPF_PROG_TEST_RUN in live-frames
 * mode, and redirects them into a port; another one accounts for what comes back. Pages are used again as the
 * DUT left them, so every byte of every frame is written.
 */
#include "tester.h"
#include "frame.h"

#define MINIMUM_FRAME 60 /* without FCS: written by the program itself, longer ones by a helper */
#define HALF_MAGNITUDE 10
#define SUB_BUCKETS 2048
#define HIGHEST_NS 10000000000ULL
#define SPINS_MAX 32

struct tester tester;

/* The port that frames leave by. */
struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} out SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, TESTER_WORDS);
    __type(key, __u32);
    __type(value, struct tester_word);
} words SEC(".maps");

/* There is no instruction for it. */
static __always_inline __u32 highest_bit(__u64 value)
{
    __u32 bit = 0;
#pragma unroll
    for (int step = 32; step > 0; step /= 2) {
        if (value >> step) {
            value >>= step;
            bit += step;
        }
    }
    return bit;
}

/* As core/histogram.h. */
static __always_inline void record(struct tester_histogram *histogram, __u64 value)
{
    if (value > HIGHEST_NS) {
        histogram->overflow++;
        value = HIGHEST_NS;
    }
    __u32 bucket = highest_bit(value | (SUB_BUCKETS - 1)) - HALF_MAGNITUDE;
    __u32 index = (bucket << HALF_MAGNITUDE) + (__u32)(value >> bucket);

    histogram->n++;
    histogram->sum_ns += value;
    if (value < histogram->min_ns) {
        histogram->min_ns = value;
    }
    if (value > histogram->max_ns) {
        histogram->max_ns = value;
    }
    if (index < TESTER_COUNTS) {
        histogram->counts[index]++;
    }
}

static __always_inline __u32 sum_u64(__u64 value)
{
    return (__u32)(value & 0xffff) + (__u32)((value >> 16) & 0xffff) + (__u32)((value >> 32) & 0xffff) +
           (__u32)(value >> 48);
}

static __always_inline __u16 checksum_of(__u32 sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return bpf_htons((__u16)~sum);
}

static __always_inline void note_stall(struct tester_sending *sending, __u64 now)
{
    if (now > sending->last_run_ns + tester.plan.stall_ns) {
        __u64 gap = now - sending->last_run_ns;
        sending->stall_total_ns += gap;
        if (gap > sending->stall_max_ns) {
            sending->stall_max_ns = gap;
        }
    }
    sending->last_run_ns = now;
}

/* The bytes of the template; 0 where there is no room. */
static __always_inline int write_template(struct xdp_md *ctx, const struct tester_template *template)
{
    __u32 length = template->length;

    if (length != tester.plan.longest &&
        bpf_xdp_adjust_tail(ctx, (int)length - (int)tester.plan.longest) != 0) {
        return 0;
    }
    if (length == MINIMUM_FRAME) {
        __u64 *to = (void *)(long)ctx->data;
        const __u64 *from = (const __u64 *)template->data;
        if ((void *)to + MINIMUM_FRAME > (void *)(long)ctx->data_end) {
            return 0;
        }
#pragma unroll
        for (int i = 0; i < MINIMUM_FRAME / 8; i++) {
            to[i] = from[i];
        }
        *(__u32 *)(to + MINIMUM_FRAME / 8) = *(const __u32 *)(from + MINIMUM_FRAME / 8);
        return 1;
    }
    if (length < MINIMUM_FRAME || length > TESTER_FRAME_MAX) {
        return 0;
    }
    return bpf_xdp_store_bytes(ctx, 0, (void *)template->data, length) == 0;
}

/* A place in the headers, `bytes` long; NULL where the frame ends before. */
static __always_inline void *at_offset(struct xdp_md *ctx, __u32 offset, __u32 bytes)
{
    void *at = (void *)(long)ctx->data + (offset & (TESTER_OFFSETS - 1));

    return at + bytes > (void *)(long)ctx->data_end ? (void *)0 : at;
}

/* Writes the fields of the flow; *sum becomes what they add to the checksum of the UDP, TCP or ICMP header.
 */
static __always_inline int write_fields(struct xdp_md *ctx, const struct tester_template *template,
                                        __u32 flow, __u32 *sum)
{
    const struct tester_plan *plan = &tester.plan;

    if (plan->plain) {
        __u16 value = plan->plain_first + flow;
        __be16 *at = at_offset(ctx, plan->field[0].offset, sizeof(*at));
        if (!at) {
            return 0;
        }
        *at = bpf_htons(value);
        *sum = value;
        return 1;
    }
    const struct tester_flow *values = &tester.flow[flow & (TESTER_FLOWS - 1)];
#pragma unroll
    for (__u32 i = 0; i < TESTER_FIELDS; i++) {
        if (i < plan->field_count) {
            if (plan->field[i].bytes == 2) {
                __u16 *at = at_offset(ctx, plan->field[i].offset, sizeof(*at));
                if (!at) {
                    return 0;
                }
                *at = values->value[i];
            } else {
                __u32 *at = at_offset(ctx, plan->field[i].offset, sizeof(*at));
                if (!at) {
                    return 0;
                }
                *at = values->value[i];
            }
        }
    }
    if (plan->in_ip) {
        __u16 *at = at_offset(ctx, template->ip + 10, sizeof(*at));
        if (!at) {
            return 0;
        }
        *at = checksum_of(template->ip_checksum_base + values->ip_sum);
    }
    *sum = values->sum;
    return 1;
}

/* One whole frame, as frames_stamp of core/frames.h writes it. */
static __always_inline int write_frame(struct xdp_md *ctx, const struct tester_sending *sending,
                                       __u64 time_ns)
{
    __u16 tag = tester.plan.tag;
    __u64 sequence = sending->sequence;
    __u32 which = tester.order[sending->order & (TESTER_ORDER - 1)];
    const struct tester_template *template = &tester.template[which & (TESTER_TEMPLATES - 1)];
    __u32 sum = 0;

    if (!write_template(ctx, template) || !write_fields(ctx, template, sending->flow, &sum)) {
        return 0;
    }
    __u8 *signature = at_offset(ctx, template->signature, SIGNATURE_BYTES);
    if (!signature) {
        return 0;
    }
    *(__be16 *)signature = bpf_htons(tag);
    *(__be64 *)(signature + 2) = bpf_cpu_to_be64(sequence);
    *(__be64 *)(signature + 10) = bpf_cpu_to_be64(time_ns);
    if (template->checksum) {
        __u16 *at = at_offset(ctx, template->checksum, sizeof(*at));
        if (!at) {
            return 0;
        }
        __u16 checksum =
            checksum_of(template->checksum_base + sum + tag + sum_u64(sequence) + sum_u64(time_ns));
        *at = checksum == 0 && template->udp ? 0xffff : checksum;
    }
    return 1;
}

static __always_inline void advance(struct tester_sending *sending)
{
    const struct tester_plan *plan = &tester.plan;

    sending->sequence++;
    if (++sending->flow >= plan->flows) {
        sending->flow = 0;
    }
    if (++sending->order >= plan->order_count) {
        sending->order = 0;
    }
    if (plan->paced) {
        __u64 fraction = (__u64)sending->next_fraction + plan->interval_fraction;
        sending->next_ns += plan->interval_ns + (fraction >> 32);
        sending->next_fraction = (__u32)fraction;
    }
}

/* Whether the loop is closed and the last frame is still out. */
static __always_inline int is_awaited(const struct tester_sending *sending, __u64 now)
{
    return tester.plan.closed && sending->sequence > 0 &&
           *(volatile __u64 *)&tester.arrived.awaited != sending->sequence &&
           now - sending->sent_ns < tester.plan.closed_timeout_ns;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
    const struct tester_plan *plan = &tester.plan;
    struct tester_sending *sending = &tester.sending;
    __u32 key = 0;

    /* Where it is attached so that a run is cheap, frames are none of its business. */
    if (ctx->ingress_ifindex != plan->ifindex) {
        return XDP_PASS;
    }
    __u64 now = bpf_ktime_get_ns();
    sending->runs++;
    if (now < plan->start_ns) {
        return XDP_DROP;
    }
    note_stall(sending, now);
    if (is_awaited(sending, now)) {
        sending->idle++;
        return XDP_DROP;
    }
    if (sending->sequence >= plan->limit || now >= plan->until_ns) {
        if (!sending->over_ns) {
            sending->over_ns = now;
        }
        return XDP_DROP;
    }
    __u64 time_ns = now;
    if (plan->paced) {
        __u32 spins = plan->spins;
        for (__u32 i = 0; i < SPINS_MAX; i++) {
            if (now >= sending->next_ns || i >= spins) {
                break;
            }
            now = bpf_ktime_get_ns();
        }
        if (now < sending->next_ns) {
            sending->idle++;
            return XDP_DROP;
        }
        if (plan->closed) {
            /* The next one keeps its distance from this one, not from a schedule that was missed. */
            sending->next_ns = time_ns = now;
        } else {
            time_ns = sending->next_ns;
        }
        __u64 lag = now - sending->next_ns;
        record(&tester.lag, lag);
        tester.lag_ns[sending->sequence % TESTER_LAGS] = lag > 0xffffffff ? 0xffffffff : (__u32)lag;
    }
    if (!write_frame(ctx, sending, time_ns)) {
        sending->refused++;
        sending->over_ns = now;
        return XDP_DROP;
    }
    sending->sent_ns = now;
    advance(sending);
    return bpf_redirect_map(&out, key, 0);
}

/* A frame took its time, and `missing` ones before it have not come: lost, or overtaken, they are not in
 * time. */
static __always_inline void note_run(struct tester_arrived *arrived, __u64 missing, int above)
{
    arrived->above_run += missing + above;
    if (arrived->above_run > arrived->longest_above) {
        arrived->longest_above = arrived->above_run;
    }
    if (!above) {
        arrived->above_run = 0;
    }
}

/* One arrival; 0: it was a duplicate. */
static __always_inline int take_number(struct tester_arrived *arrived, __u64 sequence)
{
    __u64 stretch = tester.plan.stretch + sequence / 64;
    __u32 slot = stretch & (TESTER_WORDS - 1);
    struct tester_word *word = bpf_map_lookup_elem(&words, &slot);
    if (!word) {
        return 0;
    }
    __u64 bit = 1ULL << (sequence % 64);
    if (word->stretch < stretch) {
        word->stretch = stretch;
        word->seen = 0;
    } else if (word->stretch > stretch) {
        arrived->forgotten++;
        return 0;
    }
    if (word->seen & bit) {
        arrived->duplicates++;
        return 0;
    }
    word->seen |= bit;
    arrived->received++;
    if (sequence < arrived->next) {
        arrived->reordered++;
    } else {
        arrived->next = sequence + 1;
    }
    return 1;
}

/* Whether a frame is one of ours by its port; replies have it as source or destination. */
static __always_inline int has_port(const struct test_frame *frame)
{
    const struct tester_plan *plan = &tester.plan;

    return ((frame->l4->source ^ plan->port) & plan->port_mask) == 0 ||
           ((frame->l4->dest ^ plan->port) & plan->port_mask) == 0;
}

/* Whether all bytes that the IP header announces are there. */
static __always_inline int is_whole(const struct xdp_md *ctx, const struct test_frame *frame)
{
    __u64 length = ctx->data_end - ctx->data;
    __u64 before =
        frame->ip_version == 4
            ? (__u64)((void *)frame->ipv4 - (void *)frame->eth) + bpf_ntohs(frame->ipv4->tot_len)
            : (__u64)((void *)(frame->ipv6 + 1) - (void *)frame->eth) + bpf_ntohs(frame->ipv6->payload_len);

    return length >= before;
}

static __always_inline int has_its_tags(const struct xdp_md *ctx, const struct test_frame *frame,
                                        const struct tester_template *sent)
{
    __u32 ip = frame->ip_version == 4 ? (__u32)((void *)frame->ipv4 - (void *)frame->eth)
                                      : (__u32)((void *)frame->ipv6 - (void *)frame->eth);
    void *data = (void *)(long)ctx->data;

    if (ip != sent->ip) {
        return 0;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        __u32 at = 12 + 4 * i;
        if (at + 6 <= ip) {
            if (data + at + 4 > (void *)(long)ctx->data_end ||
                *(__u32 *)(data + at) != *(const __u32 *)(sent->data + at)) {
                return 0;
            }
        }
    }
    return 1;
}

struct comparison {
    const struct tester_template *sent;
    __u32 from; /* the first byte in the template */
    int same;
};

static long compare(__u32 index, struct comparison *comparison)
{
    __u32 at = comparison->from + index;

    if (at >= TESTER_FRAME_MAX) {
        return 1;
    }
    comparison->same = tester.seen[index & (TESTER_SEEN - 1)] == comparison->sent->data[at];
    return !comparison->same;
}

/* Whether what follows the signature is as it was sent: byte for byte, which is slow, and only on demand. */
static __always_inline int has_its_payload(struct xdp_md *ctx, __u32 offset,
                                           const struct tester_template *sent)
{
    struct comparison comparison = {sent, sent->signature + SIGNATURE_BYTES, 1};
    __u64 bytes = sent->length - comparison.from;

    if (bytes == 0) {
        return 1;
    }
    /* For the verifier, which knows 1 to TESTER_SEEN so. */
    bytes = ((bytes - 1) & (TESTER_SEEN - 1)) + 1;
    asm volatile("" : "+r"(bytes));
    if (bpf_xdp_load_bytes(ctx, offset + SIGNATURE_BYTES, tester.seen, bytes) != 0) {
        return 0;
    }
    bpf_loop(bytes, compare, &comparison, 0);
    return comparison.same;
}

static __always_inline int is_as_sent(struct xdp_md *ctx, const struct test_frame *frame, __u64 sequence)
{
    const struct tester_plan *plan = &tester.plan;
    __u32 which = 0;

    if (plan->order_count > 1) {
        which = tester.order[(sequence % plan->order_count) & (TESTER_ORDER - 1)];
    } else {
        which = tester.order[0];
    }
    const struct tester_template *sent = &tester.template[which & (TESTER_TEMPLATES - 1)];
    if (!is_whole(ctx, frame) || ctx->data_end - ctx->data < sent->length) {
        return 0;
    }
    if (!has_its_tags(ctx, frame, sent)) {
        return 0;
    }
    return !plan->verify || has_its_payload(ctx, frame->payload - (void *)frame->eth, sent);
}

SEC("xdp")
int receive(struct xdp_md *ctx)
{
    const struct tester_plan *plan = &tester.plan;
    struct tester_arrived *arrived = &tester.arrived;
    struct test_frame frame;

    if (!parse_frame(ctx, &frame)) {
        return XDP_PASS;
    }
    __u64 now = bpf_ktime_get_ns();
    arrived->frames++;
    arrived->last_ns = now;
    __u8 *signature = frame.payload;
    if ((void *)(signature + SIGNATURE_BYTES) > (void *)(long)ctx->data_end || !has_port(&frame)) {
        arrived->foreign++;
        return XDP_DROP;
    }
    if (*(__be16 *)signature != bpf_htons(plan->tag)) {
        arrived->stale++;
        return XDP_DROP;
    }
    __u64 sequence = bpf_be64_to_cpu(*(__be64 *)(signature + 2));
    __u64 rtt = now - bpf_be64_to_cpu(*(__be64 *)(signature + 10));
    if (sequence >= *(volatile __u64 *)&tester.sending.sequence || rtt > now - plan->start_ns ||
        !is_as_sent(ctx, &frame, sequence)) {
        arrived->corrupt++;
        return XDP_DROP;
    }
    __u64 next = arrived->next;
    if (!take_number(arrived, sequence)) {
        return XDP_DROP;
    }
    if (plan->above_ns > 0 && sequence >= next) {
        note_run(arrived, sequence - next, rtt > plan->above_ns);
    }
    record(&tester.rtt, rtt);
    if (plan->paced && !plan->closed && tester.sending.sequence - sequence <= TESTER_LAGS) {
        record(&tester.service, rtt - tester.lag_ns[sequence % TESTER_LAGS]);
    }
    if (now >= *(volatile __u64 *)&tester.late_from_ns) {
        arrived->late++;
    }
    arrived->awaited = sequence + 1;
    return XDP_DROP;
}

/* What one look at the clock costs: the kernel says how long a run takes. */
SEC("xdp")
int read_clock(struct xdp_md *ctx)
{
    __u64 last = 0;

    for (int i = 0; i < TESTER_CLOCK_READS; i++) {
        last |= bpf_ktime_get_ns();
    }
    return last ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
