/* SPDX-License-Identifier: BSD-3-Clause */
/* When a trial's sending is over, and when its drain is: the same for every generator. Pure. */
#ifndef LABKIT_GOAL_H
#define LABKIT_GOAL_H

#include <math.h>

#include "clock.h"
#include "command.h"
#include "sequence.h"

#define STALL_NS (100 * NS_PER_US)
#define CLOSED_TIMEOUT_NS (100 * NS_PER_MS)
#define NO_PROGRESS_NS NS_PER_S
/* After all came back the loop stays this long, so that a duplicate behind the last frame is seen. */
#define LINGER_NS (2 * NS_PER_MS)
/* A stall at the very end may be caught up on, by a thousandth of the duration at most. */
#define GRACE_MAX_NS (5 * NS_PER_MS)

struct goal {
    uint64_t limit; /* frames to send at most */
    uint64_t send_until_ns;
};

static inline struct goal goal_of(const struct generate_arguments *arguments, uint64_t start_ns)
{
    struct goal goal = {SEQUENCE_CAPACITY, start_ns + arguments->duration_ns};
    uint64_t grace = arguments->duration_ns / 1000;

    grace = grace < GRACE_MAX_NS ? grace : GRACE_MAX_NS;
    if (arguments->counted) {
        goal.limit = arguments->count;
        goal.send_until_ns = UINT64_MAX;
        if (!arguments->unpaced) {
            uint64_t ideal_ns = (uint64_t)((double)arguments->count / arguments->load_pps * 1e9);

            goal.send_until_ns = start_ns + ideal_ns + NO_PROGRESS_NS;
        }
    } else if (!arguments->unpaced && !arguments->closed) {
        goal.limit = (uint64_t)llround(arguments->load_pps * ((double)arguments->duration_ns / 1e9));
        goal.send_until_ns += grace;
    }
    return goal;
}

/* How many frames the trial was to send, when `sent` were. */
static inline uint64_t goal_intended(const struct generate_arguments *arguments, struct goal goal,
                                     uint64_t sent)
{
    return !arguments->counted && (arguments->unpaced || arguments->closed) ? sent : goal.limit;
}

/* Whether nothing more can be expected back: `outstanding` frames are, since `from_ns` none is sent any more,
 * and since `quiet_from_ns` none came. */
static inline bool goal_drained(const struct generate_arguments *arguments, uint64_t outstanding,
                                uint64_t from_ns, uint64_t quiet_from_ns, uint64_t now)
{
    if (now - from_ns >= arguments->drain_max_ns)
        return true;
    return now - quiet_from_ns >= (outstanding == 0 ? LINGER_NS : arguments->drain_quiet_ns);
}

#endif
