/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the worker has done in the role that runs, readable by the control thread while it runs: one writer,
 * whole words, no order between them.
 */
#ifndef LABKIT_COUNTERS_H
#define LABKIT_COUNTERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct usage {
    uint64_t involuntary_switches;
    uint64_t voluntary_switches;
    uint64_t cpu_ns;
};

struct counters {
    const char *role; /* NULL: there was none yet */
    uint64_t rx_frames;
    uint64_t tx_frames;
    uint64_t tx_dropped;
    uint64_t impaired_dropped;
    uint64_t impaired_duplicated;
    uint64_t impaired_swapped;
    uint64_t foreign;
    bool knows_rx_dropped;
    uint64_t rx_dropped; /* before the engine could take them; renewed with the usage */
    uint64_t polls;
    uint64_t empty_polls;
    /* Of a sink. */
    uint64_t received;
    uint64_t duplicates;
    uint64_t reordered;
    uint64_t stale;
    uint64_t corrupt;
    uint64_t first_rx_ns;
    uint64_t last_rx_ns;
    struct usage usage; /* since the role began; renewed every few milliseconds */
};

static inline void counter_set(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

static inline void counter_add(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, *counter + value, __ATOMIC_RELAXED);
}

/* Of the calling thread, since it began. */
struct usage usage_now(void);
struct usage usage_since(const struct usage *then);
/* The object of PROTOCOL.md; NULL when out of memory. */
json_t *counters_json(const struct counters *counters);

#endif
