/* SPDX-License-Identifier: BSD-3-Clause */
#include "clock.h"

#include <stdio.h>
#include <string.h>

struct clock probe_clock;

#if defined(__x86_64__)

#define CALIBRATION_NS (10 * NS_PER_MS)

static bool cpu_flag(const char *flags, const char *name)
{
    size_t length = strlen(name);
    const char *at = flags;

    while ((at = strstr(at, name)) != NULL) {
        if (at != flags && at[-1] == ' ' && (at[length] == ' ' || at[length] == '\n' || at[length] == '\0'))
            return true;
        at += length;
    }
    return false;
}

/* The TSC is a clock where it ticks at one rate in every power state and the kernel, which watches it, uses
 * it. */
static bool tsc_trusted(void)
{
    char source[32] = "";
    char line[8192];
    bool good = false;
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");

    if (file == NULL)
        return false;
    if (fgets(source, sizeof(source), file) == NULL)
        source[0] = '\0';
    (void)fclose(file);
    if (strcmp(source, "tsc\n") != 0)
        return false;
    file = fopen("/proc/cpuinfo", "re");
    if (file == NULL)
        return false;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "flags", 5) == 0) {
            good = cpu_flag(line, "constant_tsc") && cpu_flag(line, "nonstop_tsc");
            break;
        }
    }
    (void)fclose(file);
    return good;
}

/* One instant on both scales: of several tries, the one that was interrupted least. */
static void pair(uint64_t *ticks, uint64_t *ns)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < 32; i++) {
        uint64_t before = __rdtsc();
        uint64_t raw = clock_raw_ns();
        uint64_t after = __rdtsc();

        if (after - before < best) {
            best = after - before;
            *ticks = before + (after - before) / 2;
            *ns = raw;
        }
    }
}

static void calibrate(void)
{
    uint64_t ticks = 0;
    uint64_t ns = 0;

    pair(&ticks, &ns);
    if (ns <= probe_clock.first_ns)
        return;
    probe_clock.frequency_hz =
        (double)(ticks - probe_clock.first_ticks) * (double)NS_PER_S / (double)(ns - probe_clock.first_ns);
    probe_clock.multiplier = (uint64_t)((double)NS_PER_S / probe_clock.frequency_hz * 4294967296.0);
    probe_clock.base_ticks = ticks;
    probe_clock.base_ns = ns;
}

#endif

static void measure_overhead(void)
{
    uint64_t start = clock_now_ns();
    uint64_t end = start;

    for (int i = 0; i < 1000; i++)
        end = clock_now_ns();
    probe_clock.read_overhead_ns = (double)(end - start) / 1000.0;
}

void clock_init(void)
{
    memset(&probe_clock, 0, sizeof(probe_clock));
    probe_clock.frequency_hz = (double)NS_PER_S;
#if defined(__x86_64__)
    if (tsc_trusted()) {
        struct timespec nap = {.tv_sec = 0, .tv_nsec = CALIBRATION_NS};

        pair(&probe_clock.first_ticks, &probe_clock.first_ns);
        (void)nanosleep(&nap, NULL);
        calibrate();
        probe_clock.tsc = true;
    }
#endif
    measure_overhead();
}

void clock_refine(void)
{
#if defined(__x86_64__)
    if (probe_clock.tsc)
        calibrate();
#endif
}
