/* SPDX-License-Identifier: BSD-3-Clause */
#include "trial.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct trial *trial_new(struct error *err)
{
    struct trial *trial = calloc(1, sizeof(*trial));

    if (trial == NULL) {
        error_set(err, "internal", "calloc: %zu bytes for a trial", sizeof(*trial));
        return NULL;
    }
    if (sequence_init(&trial->sequence) != 0) {
        error_set(err, "internal", "mmap: sequence bitmap: %s", strerror(errno));
        free(trial);
        return NULL;
    }
    return trial;
}

void trial_free(struct trial *trial)
{
    if (trial == NULL)
        return;
    sequence_free(&trial->sequence);
    free(trial);
}

void trial_clear(struct trial *trial)
{
    memset(trial, 0, offsetof(struct trial, sequence));
    sequence_clear(&trial->sequence);
    histogram_clear(&trial->rtt);
    histogram_clear(&trial->service);
    histogram_clear(&trial->lag);
}

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

json_t *trial_json(const struct trial *trial, const struct generate_arguments *arguments)
{
    json_t *object = json_object();
    int failed = 0;
    bool returned = arguments->expect_return;
    bool paced = !arguments->unpaced;
    /* Counted trials: what the load makes of the count; unpaced ones take what they take, never nothing. */
    uint64_t duration_ns = arguments->duration_ns;

    if (arguments->counted)
        duration_ns = paced ? (uint64_t)((double)arguments->count / arguments->load_pps * 1e9)
                            : trial->tx_end_ns - trial->start_ns + 1;
#define PUT(name, value) failed |= json_object_set_new(object, name, value)
    PUT("tag", integer(arguments->tag));
    PUT("load_pps", paced ? json_real(arguments->load_pps) : json_null());
    PUT("loop", json_string(arguments->closed ? "closed" : "open"));
    PUT("intended", integer(trial->intended));
    PUT("sent", integer(trial->sent));
    PUT("unsent", integer(trial->intended - trial->sent));
    PUT("received", integer(trial->sequence.received));
    PUT("duplicates", integer(trial->sequence.duplicates));
    PUT("reordered", integer(trial->sequence.reordered));
    PUT("stale", integer(trial->stale));
    PUT("foreign", integer(trial->foreign));
    PUT("corrupt", integer(trial->corrupt));
    PUT("late", integer(trial->late));
    PUT("longest_above", arguments->above_ns > 0 && returned ? integer(trial->longest_above) : json_null());
    PUT("aborted", json_boolean(trial->aborted));
    PUT("start_ns", integer(trial->start_ns));
    PUT("tx_end_ns", integer(trial->tx_end_ns));
    PUT("end_ns", integer(trial->end_ns));
    PUT("duration_ns", integer(duration_ns));
    PUT("drain_ns", integer(trial->drain_ns));
    PUT("rtt", returned ? histogram_json(&trial->rtt) : json_null());
    PUT("service",
        returned ? histogram_json(paced && !arguments->closed ? &trial->service : &trial->rtt) : json_null());
    PUT("lag", paced ? histogram_json(&trial->lag) : json_null());
    PUT("tx_full", integer(trial->tx_full));
    PUT("empty_polls", integer(trial->empty_polls));
    PUT("polls", integer(trial->polls));
    PUT("stall", json_pack("{s:I, s:I}", "max_ns", (json_int_t)trial->stall_max_ns, "total_ns",
                           (json_int_t)trial->stall_total_ns));
    PUT("involuntary_switches", integer(trial->usage.involuntary_switches));
    PUT("voluntary_switches", integer(trial->usage.voluntary_switches));
    PUT("cpu_ns", integer(trial->usage.cpu_ns));
#undef PUT
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}
