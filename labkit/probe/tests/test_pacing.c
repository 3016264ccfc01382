/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>

#include "check.h"
#include "clock.h"
#include "pacing.h"

static void a_million_departures_are_where_they_should_be(double load_pps)
{
    struct pacing pacing;
    const uint64_t start = 123456789;

    pacing_start(&pacing, load_pps, start);
    for (uint64_t k = 0; k < 1000000; k++) {
        double ideal = (double)k * 1e9 / load_pps;
        bool on_time = fabs((double)(pacing.next_ns - start) - ideal) <= 1.5;

        CHECK(on_time);
        if (!on_time)
            return;
        pacing_advance(&pacing);
    }
}

static void due_is_never_too_few(void)
{
    const double loads[] = {0.5, 1000, 99999.7, 1e6, 14.88e6, 1e9};

    for (unsigned i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        struct pacing pacing;
        uint64_t now = 1000000;

        pacing_start(&pacing, loads[i], now);
        CHECK_EQUAL(pacing_due(&pacing, now - 1, 32), 0);
        CHECK_EQUAL(pacing_due(&pacing, now, 32), 1);
        for (unsigned turn = 0; turn < 10000; turn++) {
            unsigned due = pacing_due(&pacing, now, 64);
            unsigned really = 0;
            struct pacing ahead = pacing;

            while (really < 64 && ahead.next_ns <= now) {
                really++;
                pacing_advance(&ahead);
            }
            CHECK(due >= really);
            CHECK(due <= really + 1);
            pacing = ahead;
            now += 37 + turn % 501;
        }
    }
}

static void the_clock_keeps_time_with_the_kernel(void)
{
    struct timespec nap = {.tv_nsec = 50000000};
    uint64_t ours;
    uint64_t theirs;

    clock_init();
    ours = clock_now_ns();
    theirs = clock_raw_ns();
    (void)nanosleep(&nap, NULL);
    clock_refine();
    ours = clock_now_ns() - ours;
    theirs = clock_raw_ns() - theirs;
    /* A thousandth of what passed, and 20 us for being interrupted between two readings. */
    CHECK(fabs((double)ours - (double)theirs) < 20000 + (double)theirs / 1000);
    CHECK(probe_clock.read_overhead_ns > 0);
}

int main(void)
{
    const double loads[] = {1, 9000, 100000, 333333.3, 1e6, 14880952.38, 1e9};

    for (unsigned i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
        a_million_departures_are_where_they_should_be(loads[i]);
    due_is_never_too_few();
    the_clock_keeps_time_with_the_kernel();
    return CHECKS_DONE();
}
