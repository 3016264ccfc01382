/* SPDX-License-Identifier: BSD-3-Clause */
#include "role.h"

#define PUBLISH_NS (5 * NS_PER_MS)

void role_publish(struct role *role, uint64_t now)
{
    struct usage usage;

    if (now - role->published_ns < PUBLISH_NS)
        return;
    role->published_ns = now;
    usage = usage_since(&role->began);
    counter_set(&role->counters->usage.involuntary_switches, usage.involuntary_switches);
    counter_set(&role->counters->usage.voluntary_switches, usage.voluntary_switches);
    counter_set(&role->counters->usage.cpu_ns, usage.cpu_ns);
}
