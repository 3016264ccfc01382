/* SPDX-License-Identifier: BSD-3-Clause */
/* The three loops that the worker runs. Each returns when it is over or stopped. */
#ifndef LABKIT_ROLE_H
#define LABKIT_ROLE_H

#include <stdbool.h>

#include "clock.h"
#include "command.h"
#include "counters.h"
#include "io.h"
#include "trial.h"

/* A blocked engine looks up this often to see whether it was stopped, should the signal have come too early.
 */
#define WAIT_MAX_NS (50 * NS_PER_MS)

struct role {
    struct io *io;
    const bool *stop; /* set by the control thread */
    struct counters *counters;
    struct usage began;
    uint64_t rx_dropped_before;
    uint64_t published_ns;
};

static inline bool role_stopped(const struct role *role)
{
    return __atomic_load_n(role->stop, __ATOMIC_RELAXED);
}

void role_begin(struct role *role);
/* Shows the worker's CPU time, its context switches and the engine's losses to the control thread. */
void role_publish(struct role *role);
/* The same, once in a few milliseconds. */
void role_publish_sometimes(struct role *role, uint64_t now);

/* Sends the trial's frames, takes them back, fills in the trial. */
void generator_run(struct role *role, const struct generate_arguments *arguments,
                   const struct frame_set *frames, struct trial *trial);
/* Returns -1 with err set when it could not begin; started() is called when it has. */
int reflector_run(struct role *role, const struct reflect_arguments *arguments, void (*started)(void *),
                  void *context, struct error *err);
void sink_run(struct role *role, uint16_t tag, struct sequence *sequence);

#endif
