/* SPDX-License-Identifier: BSD-3-Clause */
/* The reflector: sends frames with a signature's room in them back, and nothing else (no ARP, no neighbour
 * chatter). */
#include "impair.h"
#include "packet.h"
#include "role.h"

#define PREFETCH_AHEAD 4U

/* Turns frames round in place; puts those that are ours first and returns how many they are. */
static unsigned turn_round(struct io_frame *frames, unsigned n, enum swap swap)
{
    struct io_frame foreign[IO_BURST_MAX];
    unsigned ours = 0;
    unsigned others = 0;

    for (unsigned i = 0; i < n; i++) {
        struct packet packet;

        if (i + PREFETCH_AHEAD < n)
            __builtin_prefetch(frames[i + PREFETCH_AHEAD].data);
        if (__builtin_expect(!packet_find(frames[i].data, frames[i].length, &packet), 0)) {
            foreign[others++] = frames[i];
            continue;
        }
        packet_swap(frames[i].data, packet, swap);
        if (__builtin_expect(others != 0, 0))
            frames[ours] = frames[i];
        ours++;
    }
    for (unsigned i = 0; i < others; i++)
        frames[ours + i] = foreign[i];
    return ours;
}

static unsigned reflect_port(struct role *role, struct impair *impair, unsigned from, unsigned to,
                             enum swap swap)
{
    struct io *io = role->io;
    struct counters *counters = role->counters;
    struct io_frame frames[IO_BURST_MAX];
    unsigned n = io->ops->receive(io, from, frames, IO_BURST_MAX);
    unsigned ours = n;
    unsigned sent;

    if (n == 0)
        return 0;
    counter_add(&counters->rx_frames, n);
    if (!io->payload_only) {
        ours = turn_round(frames, n, swap);
        if (__builtin_expect(ours < n, 0)) {
            io->ops->release(io, from, frames + ours, n - ours);
            counter_add(&counters->foreign, n - ours);
            if (ours == 0)
                return n;
        }
    }
    if (impair != NULL) {
        sent = impair_burst(impair, from, to, frames, ours, clock_now_ns());
    } else {
        sent = io->ops->forward(io, from, to, frames, ours);
        counter_add(&counters->tx_dropped, ours - sent);
    }
    counter_add(&counters->tx_frames, sent);
    return n;
}

static void loop(struct role *role, struct impair *impair, enum swap swap)
{
    struct io *io = role->io;
    struct counters *counters = role->counters;
    const unsigned ports = io->port_count;

    while (!role_stopped(role)) {
        unsigned n = 0;

        if (io->ops->wait != NULL) {
            uint64_t idle = impair ? impair_idle_ns(impair, clock_now_ns(), WAIT_MAX_NS) : WAIT_MAX_NS;

            if (idle > 0)
                io->ops->wait(io, idle);
        }
        for (unsigned port = 0; port < ports; port++)
            n += reflect_port(role, impair, port, ports - 1 - port, swap);
        if (impair != NULL)
            counter_add(&counters->tx_frames, impair_turn(impair, clock_now_ns()));
        if (io->ops->flush != NULL)
            for (unsigned port = 0; port < ports; port++)
                io->ops->flush(io, port);
        counter_add(&counters->polls, 1);
        counter_add(&counters->empty_polls, n == 0);
        if (io->ops->wait != NULL || counters->polls % 1024 == 0)
            role_publish_sometimes(role, clock_now_ns());
    }
}

int reflector_run(struct role *role, const struct reflect_arguments *arguments, void (*started)(void *),
                  void *context, struct error *err)
{
    struct impair *impair = NULL;

    if (arguments->impaired) {
        impair = impair_new(&arguments->impairment, role->io, role->counters, err);
        if (impair == NULL)
            return -1;
    }
    started(context);
    loop(role, impair, arguments->swap);
    impair_free(impair);
    return 0;
}
