/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread that touches packets: pinned, the only one that calls the engine. The control thread hands it
 * one job at a time and waits until the job is done or, for a role, until the role has begun.
 */
#ifndef LABKIT_WORKER_H
#define LABKIT_WORKER_H

#include <pthread.h>
#include <stdbool.h>

#include "command.h"
#include "counters.h"
#include "io.h"
#include "trial.h"

enum worker_state {
    WORKER_IDLE,
    WORKER_BUSY,     /* has a job, the control thread waits */
    WORKER_ROLE,     /* runs a role until stopped */
    WORKER_ENDING,   /* the role is over: its answer is being written, and then the worker is idle */
    WORKER_EXTERNAL, /* the engine runs a role elsewhere (in the kernel) */
};

enum worker_job { JOB_OPEN, JOB_ROLE, JOB_EXTERNAL_COUNTERS, JOB_EXTERNAL_STOP, JOB_CLOSE };

struct worker {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum worker_state state;
    enum worker_job job;
    bool has_job;
    bool stop;

    struct command command; /* of the job; the worker owns it while it runs */
    int outcome;            /* of the last job: 0, or -1 with err set */
    struct error err;
    json_t *result;

    struct io io;
    bool opened;
    struct frame_set *frames;
    bool frames_changed; /* since the engine last prepared for them */
    struct trial *trial;
    struct counters counters;
};

int worker_start(struct worker *worker, struct error *err);
/* Closes the engine, ends the thread. A running role must have been stopped. */
void worker_end(struct worker *worker);
/* Counters of the running or last role, and what the engine's transport says. New reference; NULL: no memory.
 */
json_t *worker_counters(struct worker *worker);
/* Takes over the command's content. Returns the job's outcome; *result (may be NULL) is the caller's. */
int worker_do(struct worker *worker, enum worker_job job, struct command *command, json_t **result,
              struct error *err);
enum worker_state worker_state(struct worker *worker);
/* Ends the running role, whichever kind; its counters stay readable. */
int worker_stop_role(struct worker *worker, json_t **result, struct error *err);

#endif
