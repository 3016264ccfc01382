/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "role.h"

#ifndef LABKIT_VERSION
#error "LABKIT_VERSION comes from the build"
#endif

static void set_state(struct worker *worker, enum worker_state state)
{
    (void)pthread_mutex_lock(&worker->mutex);
    worker->state = state;
    (void)pthread_cond_broadcast(&worker->changed);
    (void)pthread_mutex_unlock(&worker->mutex);
}

/* Pins the worker and reads back where the kernel says it may run: exactly there. */
static int pin(int core, struct error *err)
{
    cpu_set_t wanted;
    cpu_set_t found;

    if (core < 0)
        return 0;
    if (core >= CPU_SETSIZE) {
        error_set(err, "bad-argument", "core: expected a number below %d, got %d", CPU_SETSIZE, core);
        return -1;
    }
    CPU_ZERO(&wanted);
    CPU_SET((unsigned)core, &wanted);
    if (sched_setaffinity(0, sizeof(wanted), &wanted) != 0) {
        error_set(err, "refused", "sched_setaffinity: core %d: %s", core, strerror(errno));
        return -1;
    }
    if (sched_getaffinity(0, sizeof(found), &found) != 0) {
        error_set(err, "refused", "sched_getaffinity: core %d: %s", core, strerror(errno));
        return -1;
    }
    if (!CPU_EQUAL(&wanted, &found)) {
        error_set(err, "refused", "sched_getaffinity: asked for core %d alone, the kernel gave %d cores",
                  core, CPU_COUNT(&found));
        return -1;
    }
    return 0;
}

static json_t *ports_json(const struct io *io)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < io->port_count; i++) {
        const struct io_port *port = &io->port[i];
        json_t *object =
            json_pack("{s:s, s:I}", "name", port->name, "mtu_bytes", (json_int_t)port->mtu_bytes);

        if (port->has_mac) {
            char mac[18];

            (void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", port->mac[0], port->mac[1],
                           port->mac[2], port->mac[3], port->mac[4], port->mac[5]);
            (void)json_object_set_new(object, "mac", json_string(mac));
        }
        (void)json_array_append_new(list, object);
    }
    return list;
}

static void do_open(struct worker *worker)
{
    const json_t *ports = json_object_get(worker->command.json, "ports");
    const json_t *options = json_object_get(worker->command.json, "options");
    int core = worker->command.core;

    worker->outcome = pin(core, &worker->err);
    if (worker->outcome != 0)
        return;
    memset(&worker->io, 0, sizeof(worker->io));
    worker->io.ops = &io_engine;
    worker->outcome = io_engine.open(&worker->io, ports, options, core, &worker->err);
    if (worker->outcome != 0)
        return;
    /* Some libraries (the EAL) move the thread that calls them. */
    worker->outcome = pin(core, &worker->err);
    if (worker->outcome != 0) {
        worker->io.ops->close(&worker->io);
        return;
    }
    worker->opened = true;
    worker->result =
        json_pack("{s:s, s:s, s:I, s:o, s:{s:s, s:f, s:f}, s:o, s:o}", "engine", io_engine.engine, "version",
                  LABKIT_VERSION, "worker_tid", (json_int_t)syscall(SYS_gettid), "core",
                  core < 0 ? json_null() : json_integer(core), "clock", "source",
                  probe_clock.tsc ? "tsc" : "monotonic_raw", "frequency_hz", probe_clock.frequency_hz,
                  "read_overhead_ns", probe_clock.read_overhead_ns, "ports", ports_json(&worker->io), "proof",
                  worker->io.ops->proof(&worker->io));
}

static const char *role_name(enum command_kind kind)
{
    if (kind == COMMAND_GENERATE)
        return "generate";
    return kind == COMMAND_REFLECT ? "reflect" : "sink";
}

static void role_began(void *context)
{
    struct worker *worker = context;

    worker->outcome = 0;
    set_state(worker, WORKER_ROLE);
}

static int prepare(struct worker *worker)
{
    const struct frame_set *frames = worker->command.kind == COMMAND_GENERATE ? worker->frames : NULL;

    if (worker->io.ops->prepare == NULL || (frames != NULL && !worker->frames_changed))
        return 0;
    /* What listens must be made anew before the next trial, too. */
    worker->frames_changed = true;
    if (worker->io.ops->prepare(&worker->io, frames, &worker->err) != 0)
        return -1;
    worker->frames_changed = frames == NULL;
    return 0;
}

/* A trial that lost a connection, or frames that nobody counted, has no result. */
static void answer_trial(struct worker *worker, const struct command *command)
{
    struct io *io = &worker->io;
    json_t *trial;

    if (io->lost.code[0] != '\0') {
        answer_error(&command->id, &io->lost);
        return;
    }
    trial = trial_json(worker->trial, &command->generate);
    if (trial != NULL)
        (void)json_object_set_new(trial, "transport",
                                  io->ops->transport ? io->ops->transport(io) : json_null());
    answer_result(command->id, trial);
}

/* Whether the role runs on its own once it was started, until it is stopped. */
static bool is_elsewhere(const struct io *io, enum command_kind kind)
{
    return io->ops->role_start != NULL && (kind != COMMAND_GENERATE || io->ops->generate == NULL);
}

static void do_role(struct worker *worker)
{
    struct command *command = &worker->command;
    struct role role = {.io = &worker->io, .stop = &worker->stop, .counters = &worker->counters};

    memset(&worker->counters, 0, sizeof(worker->counters));
    worker->counters.role = role_name(command->kind);
    worker->outcome = -1;
    if (is_elsewhere(&worker->io, command->kind)) {
        worker->outcome =
            worker->io.ops->role_start(&worker->io, worker->counters.role, command->json, &worker->err);
        return;
    }
    if (prepare(worker) != 0)
        return;
    clock_refine();
    if (command->kind == COMMAND_GENERATE && worker->io.ops->begin != NULL &&
        worker->io.ops->begin(&worker->io, command->generate.expect_return,
                              command->generate.unpaced && !command->generate.closed, &worker->err) != 0)
        return;
    role_begin(&role);
    if (command->kind == COMMAND_REFLECT) {
        if (reflector_run(&role, &command->reflect, role_began, worker, &worker->err) != 0)
            return;
    } else {
        role_began(worker);
        if (command->kind == COMMAND_SINK) {
            sink_run(&role, command->sink_tag, &worker->trial->sequence);
        } else if (worker->io.ops->generate != NULL) {
            worker->io.ops->generate(&worker->io, &role, &command->generate, worker->frames, worker->trial);
        } else {
            generator_run(&role, &command->generate, worker->frames, worker->trial);
        }
    }
    role_publish(&role);
    if (command->kind == COMMAND_GENERATE) {
        /* Whoever reads the answer may send the next command at once: it must find no role running. */
        set_state(worker, WORKER_ENDING);
        answer_trial(worker, command);
    }
}

static void do_close(struct worker *worker)
{
    if (worker->opened)
        worker->io.ops->close(&worker->io);
    worker->opened = false;
    worker->outcome = 0;
}

static void *work(void *context)
{
    struct worker *worker = context;
    enum worker_job job;

    /* A blocking engine is woken when a frame is due, not up to 50 us later. */
    (void)prctl(PR_SET_TIMERSLACK, 1UL);
    do {
        enum worker_state after = WORKER_IDLE;
        bool elsewhere;

        (void)pthread_mutex_lock(&worker->mutex);
        while (!worker->has_job)
            (void)pthread_cond_wait(&worker->changed, &worker->mutex);
        worker->has_job = false;
        job = worker->job;
        (void)pthread_mutex_unlock(&worker->mutex);

        worker->result = NULL;
        switch (job) {
        case JOB_OPEN:
            do_open(worker);
            break;
        case JOB_ROLE:
            elsewhere = is_elsewhere(&worker->io, worker->command.kind);
            do_role(worker);
            if (worker->outcome == 0 && elsewhere)
                after = WORKER_EXTERNAL;
            break;
        case JOB_EXTERNAL_COUNTERS:
            worker->result = worker->io.ops->role_counters(&worker->io);
            worker->outcome = 0;
            after = WORKER_EXTERNAL;
            break;
        case JOB_EXTERNAL_STOP:
            worker->result = worker->io.ops->role_counters(&worker->io);
            worker->outcome = worker->io.ops->role_stop(&worker->io, &worker->err);
            break;
        case JOB_CLOSE:
            do_close(worker);
            break;
        }
        command_free(&worker->command);
        set_state(worker, after);
    } while (job != JOB_CLOSE);
    return NULL;
}

static void woken(int signal_number)
{
    (void)signal_number; /* its only use is EINTR */
}

int worker_start(struct worker *worker, struct error *err)
{
    struct sigaction action = {.sa_handler = woken};
    int failed;

    memset(worker, 0, sizeof(*worker));
    (void)sigaction(SIGUSR1, &action, NULL);
    worker->trial = trial_new(err);
    if (worker->trial == NULL)
        return -1;
    (void)pthread_mutex_init(&worker->mutex, NULL);
    (void)pthread_cond_init(&worker->changed, NULL);
    failed = pthread_create(&worker->thread, NULL, work, worker);
    if (failed != 0) {
        error_set(err, "refused", "pthread_create: worker: %s", strerror(failed));
        return -1;
    }
    return 0;
}

int worker_do(struct worker *worker, enum worker_job job, struct command *command, json_t **result,
              struct error *err)
{
    int outcome;

    (void)pthread_mutex_lock(&worker->mutex);
    if (command != NULL) {
        worker->command = *command;
        memset(command, 0, sizeof(*command));
    }
    worker->job = job;
    worker->has_job = true;
    worker->state = WORKER_BUSY;
    __atomic_store_n(&worker->stop, false, __ATOMIC_RELAXED);
    (void)pthread_cond_broadcast(&worker->changed);
    while (worker->state == WORKER_BUSY)
        (void)pthread_cond_wait(&worker->changed, &worker->mutex);
    outcome = worker->outcome;
    if (outcome != 0)
        *err = worker->err;
    if (result != NULL)
        *result = worker->result;
    else
        json_decref(worker->result);
    worker->result = NULL;
    (void)pthread_mutex_unlock(&worker->mutex);
    return outcome;
}

enum worker_state worker_state(struct worker *worker)
{
    enum worker_state state;

    (void)pthread_mutex_lock(&worker->mutex);
    while (worker->state == WORKER_ENDING)
        (void)pthread_cond_wait(&worker->changed, &worker->mutex);
    state = worker->state;
    (void)pthread_mutex_unlock(&worker->mutex);
    return state;
}

int worker_stop_role(struct worker *worker, json_t **result, struct error *err)
{
    if (worker_state(worker) == WORKER_EXTERNAL)
        return worker_do(worker, JOB_EXTERNAL_STOP, NULL, result, err);
    (void)pthread_mutex_lock(&worker->mutex);
    __atomic_store_n(&worker->stop, true, __ATOMIC_RELAXED);
    while (worker->state == WORKER_ROLE) {
        struct timespec until;

        /* The signal may come just before the worker blocks: send it again until it was heard. */
        (void)pthread_kill(worker->thread, SIGUSR1);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 2000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        (void)pthread_cond_timedwait(&worker->changed, &worker->mutex, &until);
    }
    while (worker->state == WORKER_ENDING) /* the role's own answer comes first */
        (void)pthread_cond_wait(&worker->changed, &worker->mutex);
    (void)pthread_mutex_unlock(&worker->mutex);
    *result = worker->counters.role ? worker_counters(worker) : NULL;
    return 0;
}

json_t *worker_counters(struct worker *worker)
{
    json_t *counters = counters_json(&worker->counters);

    if (counters != NULL && worker->io.ops->transport != NULL)
        (void)json_object_set_new(counters, "transport", worker->io.ops->transport(&worker->io));
    return counters;
}

void worker_end(struct worker *worker)
{
    struct error ignored;

    (void)worker_do(worker, JOB_CLOSE, NULL, NULL, &ignored);
    (void)pthread_join(worker->thread, NULL);
    frames_free(worker->frames);
    trial_free(worker->trial);
}
