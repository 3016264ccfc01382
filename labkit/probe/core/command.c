/* SPDX-License-Identifier: BSD-3-Clause */
#include "command.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "clock.h"
#include "sequence.h"

#define LOAD_MAX_PPS 1e9
#define DURATION_MAX_S 86400.0
#define DRAIN_MAX_MS 60000.0
#define ABOVE_MAX_US 1e7 /* what a histogram holds */
/* Faster than any engine goes: bounds the sequence numbers of an unpaced trial. */
#define UNPACED_BOUND_PPS 4e7

static int number(const json_t *object, const char *name, double low_exclusive, double high, double *value,
                  struct error *err)
{
    const json_t *found = json_object_get(object, name);

    if (!json_is_number(found) || !(json_number_value(found) > low_exclusive) ||
        json_number_value(found) > high) {
        char *text = found ? json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

        error_set(err, "bad-argument", "%s: expected a number > %g and <= %g, got %.80s", name, low_exclusive,
                  high, text ? text : "nothing");
        free(text);
        return -1;
    }
    *value = json_number_value(found);
    return 0;
}

static int drain_time(const json_t *object, const char *name, double *value_ms, struct error *err)
{
    if (json_object_get(object, name) == NULL)
        return 0;
    return number(object, name, 0, DRAIN_MAX_MS, value_ms, err);
}

static int parse_open(struct command *command, struct error *err)
{
    static const char *const known[] = {"id", "cmd", "core", "ports", "options", NULL};
    const json_t *core = json_object_get(command->json, "core");
    const json_t *ports = json_object_get(command->json, "ports");
    const json_t *options = json_object_get(command->json, "options");
    int64_t chosen = -1;

    if (arguments_known(command->json, "open", known, err))
        return -1;
    if (core != NULL && !json_is_null(core) &&
        arguments_integer(command->json, "core", true, 0, 1 << 20, &chosen, err))
        return -1;
    command->core = (int)chosen;
    if (!json_is_array(ports) || json_array_size(ports) < 1 || json_array_size(ports) > IO_PORTS_MAX) {
        error_set(err, "bad-argument", "ports: expected a list of 1 or %d objects", IO_PORTS_MAX);
        return -1;
    }
    for (size_t i = 0; i < json_array_size(ports); i++) {
        if (!json_is_object(json_array_get(ports, i))) {
            error_set(err, "bad-argument", "ports[%zu]: expected an object", i);
            return -1;
        }
    }
    if (options == NULL && json_object_set_new(command->json, "options", json_object()) != 0) {
        error_set(err, "internal", "json_object_set_new: no memory");
        return -1;
    }
    if (options != NULL && !json_is_object(options)) {
        error_set(err, "bad-argument", "options: expected an object");
        return -1;
    }
    return 0;
}

static int parse_frames(struct command *command, struct error *err)
{
    static const char *const known[] = {"id", "cmd", "templates", "order", "flows", "fields", NULL};

    if (arguments_known(command->json, "frames", known, err))
        return -1;
    command->frames = frames_parse(command->json, err);
    return command->frames == NULL ? -1 : 0;
}

/* What the trial asks for must fit the space of sequence numbers that it is accounted in. */
static int check_size(const struct generate_arguments *generate, struct error *err)
{
    double load = generate->unpaced ? UNPACED_BOUND_PPS : generate->load_pps;
    double frames = generate->counted ? (double)generate->count : load * (double)generate->duration_ns / 1e9;

    if (frames > (double)SEQUENCE_CAPACITY) {
        error_set(err, "bad-argument", "%s: expected at most %llu frames in a trial, got up to %.0f",
                  generate->counted ? "count" : "duration_s", SEQUENCE_CAPACITY, frames);
        return -1;
    }
    return 0;
}

static int parse_generate(struct command *command, struct error *err)
{
    static const char *const known[] = {"id",      "cmd",   "load_pps", "duration_s",     "count",
                                        "tag",     "loop",  "return",   "drain_quiet_ms", "drain_max_ms",
                                        "late_ms", "burst", "verify",   "above_us",       NULL};
    struct generate_arguments *generate = &command->generate;
    const json_t *load = json_object_get(command->json, "load_pps");
    const char *loop = "open";
    int64_t count = 0;
    int64_t tag = 0;
    double quiet_ms = 20;
    double max_ms = 40;
    double late_ms = 0;
    double above_us = 0;
    int64_t burst = 32;
    double duration_s = 0;

    if (arguments_known(command->json, "generate", known, err))
        return -1;
    generate->expect_return = true;
    generate->unpaced = json_is_null(load);
    if (load == NULL || (!generate->unpaced &&
                         number(command->json, "load_pps", 0, LOAD_MAX_PPS, &generate->load_pps, err))) {
        if (load == NULL)
            error_set(err, "bad-argument", "load_pps: expected a number > 0 or null, got nothing");
        return -1;
    }
    generate->counted = json_object_get(command->json, "count") != NULL;
    if (generate->counted == (json_object_get(command->json, "duration_s") != NULL)) {
        error_set(err, "bad-argument", "duration_s, count: expected exactly one of them");
        return -1;
    }
    if (generate->counted ? arguments_integer(command->json, "count", true, 1, INT64_MAX, &count, err)
                          : number(command->json, "duration_s", 0, DURATION_MAX_S, &duration_s, err))
        return -1;
    generate->count = (uint64_t)count;
    generate->duration_ns = (uint64_t)llround(duration_s * 1e9);
    if (arguments_integer(command->json, "tag", true, 1, 65535, &tag, err) ||
        arguments_string(command->json, "loop", false, &loop, err) ||
        arguments_boolean(command->json, "return", &generate->expect_return, err) ||
        arguments_boolean(command->json, "verify", &generate->verify, err) ||
        drain_time(command->json, "drain_quiet_ms", &quiet_ms, err) ||
        drain_time(command->json, "drain_max_ms", &max_ms, err) ||
        drain_time(command->json, "late_ms", &late_ms, err) ||
        (json_object_get(command->json, "above_us") != NULL &&
         number(command->json, "above_us", 0, ABOVE_MAX_US, &above_us, err)) ||
        arguments_integer(command->json, "burst", false, 1, IO_BURST_MAX, &burst, err))
        return -1;
    if (strcmp(loop, "open") != 0 && strcmp(loop, "closed") != 0) {
        error_set(err, "bad-argument", "loop: expected open or closed, got %.80s", loop);
        return -1;
    }
    generate->closed = strcmp(loop, "closed") == 0;
    if (generate->closed && !generate->expect_return) {
        error_set(err, "bad-argument", "return: a closed loop needs its frames back, got false");
        return -1;
    }
    generate->tag = (uint16_t)tag;
    generate->drain_quiet_ns = (uint64_t)(quiet_ms * (double)NS_PER_MS);
    generate->drain_max_ns = (uint64_t)(max_ms * (double)NS_PER_MS);
    generate->late_ns = (uint64_t)(late_ms * (double)NS_PER_MS);
    generate->above_ns = (uint64_t)llround(above_us * 1e3);
    generate->burst = (unsigned)burst;
    return check_size(generate, err);
}

static int parse_impairment(struct reflect_arguments *reflect, const json_t *impair, struct error *err)
{
    static const char *const known[] = {"drop_one_in", "duplicate_one_in", "swap_neighbours",
                                        "delay_ns",    "cap_pps",          NULL};
    struct impairment *impairment = &reflect->impairment;
    int64_t drop = 0;
    int64_t duplicate = 0;
    int64_t delay = 0;

    if (!json_is_object(impair)) {
        error_set(err, "bad-argument", "impair: expected an object");
        return -1;
    }
    if (arguments_known(impair, "impair", known, err))
        return -1;
    if (json_object_size(impair) > 1) {
        error_set(err, "bad-argument", "impair: expected at most one impairment, got %zu",
                  json_object_size(impair));
        return -1;
    }
    if (arguments_integer(impair, "drop_one_in", false, 2, INT64_MAX, &drop, err) ||
        arguments_integer(impair, "duplicate_one_in", false, 2, INT64_MAX, &duplicate, err) ||
        arguments_boolean(impair, "swap_neighbours", &impairment->swap_neighbours, err) ||
        arguments_integer(impair, "delay_ns", false, 1, (int64_t)(10 * NS_PER_S), &delay, err))
        return -1;
    if (json_object_get(impair, "cap_pps") != NULL &&
        number(impair, "cap_pps", 0, LOAD_MAX_PPS, &impairment->cap_pps, err))
        return -1;
    impairment->drop_one_in = (uint64_t)drop;
    impairment->duplicate_one_in = (uint64_t)duplicate;
    impairment->delay_ns = (uint64_t)delay;
    reflect->impaired = drop || duplicate || delay || impairment->swap_neighbours || impairment->cap_pps > 0;
    return 0;
}

static int parse_reflect(struct command *command, struct error *err)
{
    static const char *const known[] = {"id", "cmd", "swap", "impair", NULL};
    static const char *const names[] = {[SWAP_NONE] = "none", [SWAP_MAC] = "mac", [SWAP_ALL] = "all"};
    const json_t *impair = json_object_get(command->json, "impair");
    const char *swap = "all";

    if (arguments_known(command->json, "reflect", known, err) ||
        arguments_string(command->json, "swap", false, &swap, err))
        return -1;
    for (unsigned i = SWAP_NONE; i <= SWAP_ALL; i++) {
        if (strcmp(swap, names[i]) == 0) {
            command->reflect.swap = (enum swap)i;
            return impair == NULL ? 0 : parse_impairment(&command->reflect, impair, err);
        }
    }
    error_set(err, "bad-argument", "swap: expected none, mac or all, got %.80s", swap);
    return -1;
}

static int parse_sink(struct command *command, struct error *err)
{
    static const char *const known[] = {"id", "cmd", "tag", NULL};
    int64_t tag = 0;

    if (arguments_known(command->json, "sink", known, err) ||
        arguments_integer(command->json, "tag", true, 1, 65535, &tag, err))
        return -1;
    command->sink_tag = (uint16_t)tag;
    return 0;
}

static int parse_nothing(struct command *command, struct error *err)
{
    static const char *const known[] = {"id", "cmd", NULL};

    return arguments_known(command->json, "this command", known, err);
}

static const struct {
    const char *name;
    int (*parse)(struct command *command, struct error *err);
} kinds[] = {
    [COMMAND_OPEN] = {"open", parse_open},
    [COMMAND_FRAMES] = {"frames", parse_frames},
    [COMMAND_GENERATE] = {"generate", parse_generate},
    [COMMAND_REFLECT] = {"reflect", parse_reflect},
    [COMMAND_SINK] = {"sink", parse_sink},
    [COMMAND_COUNTERS] = {"counters", parse_nothing},
    [COMMAND_PROOF] = {"proof", parse_nothing},
    [COMMAND_STOP] = {"stop", parse_nothing},
    [COMMAND_QUIT] = {"quit", parse_nothing},
};

int command_parse(const char *line, size_t length, struct command *command, struct error *err)
{
    json_error_t where;
    const json_t *id;
    const char *name = NULL;

    memset(command, 0, sizeof(*command));
    command->core = -1;
    command->json = json_loadb(line, length, JSON_REJECT_DUPLICATES, &where);
    if (command->json == NULL) {
        error_set(err, "bad-json", "column %d: %s", where.column, where.text);
        return -1;
    }
    if (!json_is_object(command->json)) {
        error_set(err, "bad-json", "expected an object a line");
        return -1;
    }
    id = json_object_get(command->json, "id");
    if (!json_is_integer(id)) {
        error_set(err, "bad-argument", "id: expected an integer");
        return -1;
    }
    command->has_id = true;
    command->id = json_integer_value(id);
    if (arguments_string(command->json, "cmd", true, &name, err))
        return -1;
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            command->kind = (enum command_kind)i;
            return kinds[i].parse(command, err);
        }
    }
    error_set(err, "bad-argument",
              "cmd: expected open, frames, generate, reflect, sink, counters, proof, stop or quit, got %.80s",
              name);
    return -1;
}

void command_free(struct command *command)
{
    frames_free(command->frames);
    command->frames = NULL;
    json_decref(command->json);
    command->json = NULL;
}
