/* SPDX-License-Identifier: BSD-3-Clause */
#include "counters.h"

#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "clock.h"

struct usage usage_now(void)
{
    struct rusage usage;
    struct timespec cpu;

    memset(&usage, 0, sizeof(usage));
    (void)getrusage(RUSAGE_THREAD, &usage);
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (struct usage){
        .involuntary_switches = (uint64_t)usage.ru_nivcsw,
        .voluntary_switches = (uint64_t)usage.ru_nvcsw,
        .cpu_ns = (uint64_t)cpu.tv_sec * NS_PER_S + (uint64_t)cpu.tv_nsec,
    };
}

struct usage usage_since(const struct usage *then)
{
    struct usage now = usage_now();

    now.involuntary_switches -= then->involuntary_switches;
    now.voluntary_switches -= then->voluntary_switches;
    now.cpu_ns -= then->cpu_ns;
    return now;
}

static int put(json_t *object, const char *name, const uint64_t *counter)
{
    return json_object_set_new(object, name,
                               json_integer((json_int_t)__atomic_load_n(counter, __ATOMIC_RELAXED)));
}

json_t *counters_json(const struct counters *counters)
{
    json_t *object = json_object();
    int failed = 0;

    failed |= json_object_set_new(object, "role", json_string(counters->role));
    failed |= put(object, "rx_frames", &counters->rx_frames);
    failed |= put(object, "tx_frames", &counters->tx_frames);
    failed |= put(object, "tx_dropped", &counters->tx_dropped);
    failed |= put(object, "impaired_dropped", &counters->impaired_dropped);
    failed |= put(object, "impaired_duplicated", &counters->impaired_duplicated);
    failed |= put(object, "impaired_swapped", &counters->impaired_swapped);
    failed |= put(object, "foreign", &counters->foreign);
    if (counters->knows_rx_dropped)
        failed |= put(object, "rx_dropped", &counters->rx_dropped);
    failed |= put(object, "polls", &counters->polls);
    failed |= put(object, "empty_polls", &counters->empty_polls);
    failed |= put(object, "involuntary_switches", &counters->usage.involuntary_switches);
    failed |= put(object, "cpu_ns", &counters->usage.cpu_ns);
    if (strcmp(counters->role, "sink") == 0) {
        failed |= put(object, "received", &counters->received);
        failed |= put(object, "duplicates", &counters->duplicates);
        failed |= put(object, "reordered", &counters->reordered);
        failed |= put(object, "stale", &counters->stale);
        failed |= put(object, "corrupt", &counters->corrupt);
        failed |= put(object, "first_rx_ns", &counters->first_rx_ns);
        failed |= put(object, "last_rx_ns", &counters->last_rx_ns);
    }
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}
