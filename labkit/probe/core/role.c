/* SPDX-License-Identifier: BSD-3-Clause */
#include "role.h"

#define PUBLISH_NS (5 * NS_PER_MS)

void role_begin(struct role *role)
{
    const struct io *io = role->io;

    role->began = usage_now();
    role->counters->knows_rx_dropped = io->ops->rx_dropped != NULL;
    if (io->ops->rx_dropped != NULL)
        role->rx_dropped_before = io->ops->rx_dropped(role->io);
}

void role_publish(struct role *role)
{
    struct io *io = role->io;
    struct usage usage = usage_since(&role->began);

    counter_set(&role->counters->usage.involuntary_switches, usage.involuntary_switches);
    counter_set(&role->counters->usage.voluntary_switches, usage.voluntary_switches);
    counter_set(&role->counters->usage.cpu_ns, usage.cpu_ns);
    if (io->ops->rx_dropped != NULL)
        counter_set(&role->counters->rx_dropped, io->ops->rx_dropped(io) - role->rx_dropped_before);
}

void role_publish_sometimes(struct role *role, uint64_t now)
{
    if (now - role->published_ns < PUBLISH_NS)
        return;
    role->published_ns = now;
    role_publish(role);
}
