/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The probe's clock: nanoseconds on the scale of CLOCK_MONOTONIC_RAW, read from the TSC where the kernel
 * itself trusts it. One clock a process; only the worker thread reads it while a role runs.
 */
#ifndef LABKIT_CLOCK_H
#define LABKIT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define NS_PER_S 1000000000ULL
#define NS_PER_MS 1000000ULL
#define NS_PER_US 1000ULL

struct clock {
    bool tsc;
    double frequency_hz;
    double read_overhead_ns;
    uint64_t base_ticks;
    uint64_t base_ns;
    uint64_t multiplier; /* ns per tick, 32.32 fixed point */
    uint64_t first_ticks;
    uint64_t first_ns;
};

extern struct clock probe_clock;

/* Chooses the source and calibrates it: takes about 10 ms. */
void clock_init(void);
/* Corrects the frequency by all the time passed since clock_init; call between trials only. */
void clock_refine(void);

static inline uint64_t clock_raw_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_now_ns(void)
{
#if defined(__x86_64__)
    if (probe_clock.tsc) {
        uint64_t ticks = __rdtsc() - probe_clock.base_ticks;

        return probe_clock.base_ns + (uint64_t)(((unsigned __int128)ticks * probe_clock.multiplier) >> 32);
    }
#endif
    return clock_raw_ns();
}

#endif
