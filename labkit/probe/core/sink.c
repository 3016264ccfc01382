/* SPDX-License-Identifier: BSD-3-Clause */
/* The sink: takes frames in and accounts for one tag's, without an answer. */
#include "packet.h"
#include "role.h"

static void account(struct counters *counters, struct sequence *sequence, uint16_t tag,
                    const struct io_frame *frames, unsigned n, bool payload_only)
{
    for (unsigned i = 0; i < n; i++) {
        struct packet packet = {.payload = 0};
        struct signature signature;

        if (payload_only ? frames[i].length < SIGNATURE_BYTES
                         : !packet_find(frames[i].data, frames[i].length, &packet)) {
            counter_add(&counters->foreign, 1);
            continue;
        }
        signature = signature_read(frames[i].data + packet.payload);
        if (signature.tag != tag)
            counter_add(&counters->stale, 1);
        else if (signature.sequence >= SEQUENCE_CAPACITY)
            counter_add(&counters->corrupt, 1);
        else
            (void)sequence_arrived(sequence, signature.sequence);
    }
    counter_set(&counters->received, sequence->received);
    counter_set(&counters->duplicates, sequence->duplicates);
    counter_set(&counters->reordered, sequence->reordered);
}

void sink_run(struct role *role, uint16_t tag, struct sequence *sequence)
{
    struct io *io = role->io;
    struct counters *counters = role->counters;
    struct io_frame frames[IO_BURST_MAX];

    sequence_clear(sequence);
    while (!role_stopped(role)) {
        unsigned got = 0;

        if (io->ops->wait != NULL)
            io->ops->wait(io, WAIT_MAX_NS);
        for (unsigned port = 0; port < io->port_count; port++) {
            unsigned n = io->ops->receive(io, port, frames, IO_BURST_MAX);

            if (n == 0)
                continue;
            got += n;
            account(counters, sequence, tag, frames, n, io->payload_only);
            io->ops->release(io, port, frames, n);
        }
        counter_add(&counters->polls, 1);
        counter_add(&counters->empty_polls, got == 0);
        if (got > 0) {
            uint64_t now = clock_now_ns();

            counter_add(&counters->rx_frames, got);
            if (counters->first_rx_ns == 0)
                counter_set(&counters->first_rx_ns, now);
            counter_set(&counters->last_rx_ns, now);
        }
        if (io->ops->flush != NULL)
            for (unsigned port = 0; port < io->port_count; port++)
                io->ops->flush(io, port);
        if (io->ops->wait != NULL || counters->polls % 1024 == 0)
            role_publish_sometimes(role, clock_now_ns());
    }
}
