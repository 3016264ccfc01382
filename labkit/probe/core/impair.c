/* SPDX-License-Identifier: BSD-3-Clause */
#include "impair.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define HELD_MAX 65536U
/* A frame without a neighbour is let go after this long: within the shortest drain time. */
#define NEIGHBOUR_NS (10 * NS_PER_MS)
/* The bucket of a cap holds what comes in this long: bursts pass, the rate does not. */
#define BUCKET_NS NS_PER_MS
#define BUCKET_MIN 32.0

struct held {
    uint64_t due_ns;
    uint32_t length;
    uint32_t flow;
    unsigned to;
};

struct impair {
    struct impairment what;
    struct io *io;
    struct counters *counters;
    uint64_t countdown; /* frames until the next fault */
    double tokens;
    double bucket;
    uint64_t filled_ns;
    /* A first-in-first-out queue of copies. */
    struct held *held;
    uint8_t *copies;
    uint32_t copy_bytes;
    uint32_t first;
    uint32_t count;
    uint32_t capacity;
};

struct impair *impair_new(const struct impairment *impairment, struct io *io, struct counters *counters,
                          struct error *err)
{
    struct impair *impair = calloc(1, sizeof(*impair));

    if (impair == NULL) {
        error_set(err, "internal", "calloc: impairment");
        return NULL;
    }
    impair->what = *impairment;
    impair->io = io;
    impair->counters = counters;
    impair->countdown = impairment->drop_one_in + impairment->duplicate_one_in;
    impair->bucket = impairment->cap_pps * (double)BUCKET_NS / 1e9;
    if (impair->bucket < BUCKET_MIN)
        impair->bucket = BUCKET_MIN;
    impair->tokens = impair->bucket;
    impair->filled_ns = clock_now_ns();
    impair->copy_bytes = io->port[0].frame_max;
    impair->capacity = impairment->delay_ns > 0 ? HELD_MAX : 1;
    impair->held = calloc(impair->capacity, sizeof(*impair->held));
    impair->copies = malloc((size_t)impair->capacity * impair->copy_bytes);
    if (impair->held == NULL || impair->copies == NULL) {
        error_set(err, "internal", "malloc: %u copies of %u bytes", impair->capacity, impair->copy_bytes);
        impair_free(impair);
        return NULL;
    }
    return impair;
}

void impair_free(struct impair *impair)
{
    if (impair == NULL)
        return;
    free(impair->held);
    free(impair->copies);
    free(impair);
}

static bool hold(struct impair *impair, const struct io_frame *frame, unsigned to, uint64_t due_ns)
{
    uint32_t slot = (impair->first + impair->count) % impair->capacity;

    if (impair->count == impair->capacity || frame->length > impair->copy_bytes) {
        counter_add(&impair->counters->tx_dropped, 1);
        return false;
    }
    impair->held[slot] = (struct held){due_ns, frame->length, frame->flow, to};
    memcpy(impair->copies + (size_t)slot * impair->copy_bytes, frame->data, frame->length);
    impair->count++;
    return true;
}

/* Sends a copy of a frame; what finds no room is dropped. */
static unsigned send_copy(struct impair *impair, unsigned to, const uint8_t *data, uint32_t length,
                          uint32_t flow)
{
    struct io *io = impair->io;
    struct io_frame out;
    unsigned sent = 0;

    if (io->ops->reserve(io, to, &out, 1) == 1) {
        memcpy(out.data, data, length);
        out.length = length;
        out.flow = flow;
        sent = io->ops->commit(io, to, &out, 1, 1);
    }
    if (sent == 0)
        counter_add(&impair->counters->tx_dropped, 1);
    return sent;
}

static unsigned let_go(struct impair *impair)
{
    const struct held *held = &impair->held[impair->first];
    unsigned sent = send_copy(impair, held->to, impair->copies + (size_t)impair->first * impair->copy_bytes,
                              held->length, held->flow);

    impair->first = (impair->first + 1) % impair->capacity;
    impair->count--;
    return sent;
}

static unsigned forward(struct impair *impair, unsigned from, unsigned to, struct io_frame *frames,
                        unsigned n)
{
    unsigned sent = n == 0 ? 0 : impair->io->ops->forward(impair->io, from, to, frames, n);

    counter_add(&impair->counters->tx_dropped, n - sent);
    return sent;
}

static unsigned drop(struct impair *impair, unsigned from, unsigned to, struct io_frame *frames, unsigned n)
{
    struct io_frame dropped[IO_BURST_MAX];
    unsigned kept = 0;
    unsigned lost = 0;

    for (unsigned i = 0; i < n; i++) {
        if (--impair->countdown == 0) {
            impair->countdown = impair->what.drop_one_in;
            dropped[lost++] = frames[i];
        } else {
            frames[kept++] = frames[i];
        }
    }
    if (lost > 0)
        impair->io->ops->release(impair->io, from, dropped, lost);
    counter_add(&impair->counters->impaired_dropped, lost);
    return forward(impair, from, to, frames, kept);
}

static unsigned duplicate(struct impair *impair, unsigned from, unsigned to, struct io_frame *frames,
                          unsigned n)
{
    unsigned sent = 0;
    unsigned begin = 0;

    for (unsigned i = 0; i < n; i++) {
        if (--impair->countdown != 0)
            continue;
        impair->countdown = impair->what.duplicate_one_in;
        /* The copy goes first: once forwarded, the original is no longer ours to read. */
        sent += forward(impair, from, to, frames + begin, i - begin);
        sent += send_copy(impair, to, frames[i].data, frames[i].length, frames[i].flow);
        counter_add(&impair->counters->impaired_duplicated, 1);
        begin = i;
    }
    return sent + forward(impair, from, to, frames + begin, n - begin);
}

static unsigned swap(struct impair *impair, unsigned from, unsigned to, struct io_frame *frames, unsigned n,
                     uint64_t now)
{
    unsigned begin = 0;
    unsigned pairs;
    unsigned sent = 0;

    if (impair->count > 0) {
        sent += forward(impair, from, to, frames, 1);
        sent += let_go(impair);
        counter_add(&impair->counters->impaired_swapped, 1);
        begin = 1;
    }
    pairs = (n - begin) / 2;
    for (unsigned i = begin; i + 1 < n; i += 2) {
        struct io_frame keep = frames[i];

        frames[i] = frames[i + 1];
        frames[i + 1] = keep;
    }
    counter_add(&impair->counters->impaired_swapped, pairs);
    sent += forward(impair, from, to, frames + begin, 2 * pairs);
    if (begin + 2 * pairs < n) {
        (void)hold(impair, &frames[n - 1], to, now + NEIGHBOUR_NS);
        impair->io->ops->release(impair->io, from, &frames[n - 1], 1);
    }
    return sent;
}

static unsigned delay(struct impair *impair, unsigned from, unsigned to, struct io_frame *frames, unsigned n,
                      uint64_t now)
{
    for (unsigned i = 0; i < n; i++)
        (void)hold(impair, &frames[i], to, now + impair->what.delay_ns);
    impair->io->ops->release(impair->io, from, frames, n);
    return 0;
}

static unsigned cap(struct impair *impair, unsigned from, unsigned to, struct io_frame *frames, unsigned n,
                    uint64_t now)
{
    unsigned pass;

    impair->tokens += (double)(now - impair->filled_ns) * impair->what.cap_pps / 1e9;
    impair->filled_ns = now;
    if (impair->tokens > impair->bucket)
        impair->tokens = impair->bucket;
    pass = impair->tokens >= (double)n ? n : (unsigned)impair->tokens;
    impair->tokens -= (double)pass;
    if (pass < n)
        impair->io->ops->release(impair->io, from, frames + pass, n - pass);
    counter_add(&impair->counters->impaired_dropped, n - pass);
    return forward(impair, from, to, frames, pass);
}

unsigned impair_burst(struct impair *impair, unsigned from, unsigned to, struct io_frame *frames, unsigned n,
                      uint64_t now)
{
    if (impair->what.drop_one_in != 0)
        return drop(impair, from, to, frames, n);
    if (impair->what.duplicate_one_in != 0)
        return duplicate(impair, from, to, frames, n);
    if (impair->what.swap_neighbours)
        return swap(impair, from, to, frames, n, now);
    if (impair->what.delay_ns != 0)
        return delay(impair, from, to, frames, n, now);
    return cap(impair, from, to, frames, n, now);
}

unsigned impair_turn(struct impair *impair, uint64_t now)
{
    unsigned sent = 0;

    for (unsigned i = 0; i < IO_BURST_MAX && impair->count > 0 && impair->held[impair->first].due_ns <= now;
         i++)
        sent += let_go(impair);
    return sent;
}

uint64_t impair_idle_ns(const struct impair *impair, uint64_t now, uint64_t most)
{
    uint64_t due;

    if (impair->count == 0)
        return most;
    due = impair->held[impair->first].due_ns;
    if (due <= now)
        return 0;
    return due - now < most ? due - now : most;
}
