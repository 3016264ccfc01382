/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a trial leaves for the next one: frames that have not come back when it ends. A DUT with deep buffers
 * still has them, and they would take their part of its capacity in the next trial. Pure.
 */
#ifndef LABKIT_LEFTOVER_H
#define LABKIT_LEFTOVER_H

#include "clock.h"
#include "trial.h"

/* Most frames that are out when a trial ends are lost: nothing comes for this long. */
#define LEFTOVER_QUIET_NS (5 * NS_PER_MS)
/* From a DUT that has held frames back before, the rest is waited for. */
#define LEFTOVER_HELD_NS NS_PER_S

struct leftover {
    uint64_t frames; /* that have not come back */
    bool held;       /* some came in the trial after theirs */
};

/* For how long nothing may come before the next trial begins. */
static inline uint64_t leftover_quiet_ns(const struct leftover *left)
{
    if (left->frames == 0)
        return 0;
    return left->held ? LEFTOVER_HELD_NS : LEFTOVER_QUIET_NS;
}

/* `received`: of those that came back, all, counted once. */
static inline void leftover_note(struct leftover *left, const struct trial *trial, bool expect_return)
{
    left->frames =
        expect_return && trial->sent > trial->sequence.received ? trial->sent - trial->sequence.received : 0;
    left->held = trial->stale > 0;
}

#endif
