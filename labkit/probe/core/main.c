/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread: reads commands, checks that they fit the state, answers. PROTOCOL.md is its contract.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "answer.h"
#include "clock.h"
#include "line_reader.h"
#include "worker.h"

static int require(bool holds, struct error *err, const char *message)
{
    if (!holds)
        error_set(err, "state", "%s", message);
    return holds ? 0 : -1;
}

static int do_frames(struct worker *worker, struct command *command, struct error *err)
{
    uint32_t most = worker->io.port[0].frame_max;
    uint32_t longest = command->frames->longest;

    if (!io_engine.can_generate) {
        error_set(err, "state", "frames: the %s engine has no generator", io_engine.engine);
        return -1;
    }
    if (!worker->io.payload_only && longest > most) {
        error_set(err, "bad-argument", "templates: %s takes frames of up to %u bytes without FCS, got %u",
                  worker->io.port[0].name, most, longest);
        return -1;
    }
    frames_free(worker->frames);
    worker->frames = command->frames;
    worker->frames_changed = true;
    command->frames = NULL;
    return 0;
}

static int do_generate(struct worker *worker, struct command *command, struct error *err)
{
    if (require(io_engine.can_generate, err, "generate: this engine has no generator") ||
        require(worker->frames != NULL, err, "generate: expected frames first"))
        return -1;
    return worker_do(worker, JOB_ROLE, command, NULL, err);
}

static int do_counters(struct worker *worker, json_t **result, struct error *err)
{
    if (worker_state(worker) == WORKER_EXTERNAL)
        return worker_do(worker, JOB_EXTERNAL_COUNTERS, NULL, result, err);
    if (require(worker->counters.role != NULL, err, "counters: no role has run yet"))
        return -1;
    *result = worker_counters(worker);
    return 0;
}

static int do_stop(struct worker *worker, json_t **result, struct error *err)
{
    if (require(worker->counters.role != NULL, err, "stop: no role has run yet"))
        return -1;
    return worker_stop_role(worker, result, err);
}

/* Answers one command; returns false when it was the last. */
static bool execute(struct worker *worker, struct command *command)
{
    const json_int_t id = command->id;
    const enum command_kind kind = command->kind;
    const bool idle = worker_state(worker) == WORKER_IDLE;
    struct error err;
    json_t *result = NULL;
    int outcome = 0;

    if (kind == COMMAND_QUIT) {
        answer_result(id, json_object());
        return false;
    }
    if (kind == COMMAND_OPEN)
        outcome = require(!worker->opened, &err, "open: already open");
    else
        outcome = require(worker->opened, &err, "expected open first");
    if (outcome == 0 && kind != COMMAND_COUNTERS && kind != COMMAND_PROOF && kind != COMMAND_STOP)
        outcome = require(idle, &err, "a role is running: expected counters, proof, stop or quit");
    if (outcome == 0) {
        switch (kind) {
        case COMMAND_OPEN:
            outcome = worker_do(worker, JOB_OPEN, command, &result, &err);
            break;
        case COMMAND_FRAMES:
            outcome = do_frames(worker, command, &err);
            result = json_object();
            break;
        case COMMAND_GENERATE:
            outcome = do_generate(worker, command, &err);
            if (outcome == 0)
                return true; /* the worker answers, when the trial is over */
            break;
        case COMMAND_REFLECT:
        case COMMAND_SINK:
            outcome = worker_do(worker, JOB_ROLE, command, NULL, &err);
            result = json_object();
            break;
        case COMMAND_COUNTERS:
            outcome = do_counters(worker, &result, &err);
            break;
        case COMMAND_PROOF:
            result = worker->io.ops->proof(&worker->io);
            break;
        case COMMAND_STOP:
            outcome = do_stop(worker, &result, &err);
            break;
        case COMMAND_QUIT:
            break;
        }
    }
    if (outcome == 0) {
        answer_result(id, result);
    } else {
        json_decref(result);
        answer_error(&id, &err);
    }
    return true;
}

static int serve(struct worker *worker, struct line_reader *reader)
{
    const char *line;
    size_t length;
    bool more = true;

    while (more) {
        struct command command;
        struct error err;

        switch (line_reader_next(reader, &line, &length)) {
        case LINE_READY:
            if (command_parse(line, length, &command, &err) == 0)
                more = execute(worker, &command);
            else
                answer_error(command.has_id ? &command.id : NULL, &err);
            command_free(&command);
            break;
        case LINE_TOO_LONG:
            error_set(&err, "bad-json", "line: expected at most %u bytes", COMMAND_LINE_MAX);
            answer_error(NULL, &err);
            break;
        case LINE_END:
            return 0;
        case LINE_ERROR:
            (void)fprintf(stderr, "labkit-probe: read: stdin: %s\n", strerror(errno));
            return 1;
        }
    }
    return 0;
}

/* Nobody may outlive the program that started it: it could not be stopped any more. */
static int die_with_parent(void)
{
    pid_t parent = getppid();

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        perror("labkit-probe: prctl: PR_SET_PDEATHSIG");
        return -1;
    }
    /* A parent that died before the call sends no signal; if it died even before this function, stdin has
     * ended. */
    return getppid() == parent ? 0 : -1;
}

int main(void)
{
    struct worker worker;
    struct line_reader reader;
    struct error err;
    json_t *counters = NULL;
    int status;

    if (die_with_parent() != 0)
        return 1;
    (void)signal(SIGPIPE, SIG_IGN);
    clock_init();
    if (line_reader_init(&reader, STDIN_FILENO, COMMAND_LINE_MAX) != 0 || worker_start(&worker, &err) != 0) {
        (void)fprintf(stderr, "labkit-probe: cannot start: %s\n",
                      reader.buffer ? err.message : "out of memory");
        return 1;
    }
    status = serve(&worker, &reader);
    (void)worker_stop_role(&worker, &counters, &err);
    json_decref(counters);
    worker_end(&worker);
    line_reader_free(&reader);
    return status;
}
