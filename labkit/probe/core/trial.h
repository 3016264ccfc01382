/* SPDX-License-Identifier: BSD-3-Clause */
/* What came of one `generate`. */
#ifndef LABKIT_TRIAL_H
#define LABKIT_TRIAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "command.h"
#include "counters.h"
#include "histogram.h"
#include "sequence.h"

struct trial {
    uint64_t intended;
    uint64_t sent;
    uint64_t stale;
    uint64_t foreign;
    uint64_t corrupt;
    uint64_t late;      /* unique frames that were still in buffers when sending was over */
    uint64_t above_run; /* frames in a row so far that took longer than above_ns, or did not come */
    uint64_t longest_above;
    bool aborted;
    uint64_t start_ns;
    uint64_t tx_end_ns;
    uint64_t end_ns;
    uint64_t drain_ns;
    uint64_t tx_full;
    uint64_t polls;
    uint64_t empty_polls;
    uint64_t stall_max_ns;
    uint64_t stall_total_ns;
    struct usage usage;
    struct sequence sequence;
    struct histogram rtt;
    struct histogram service;
    struct histogram lag;
};

struct trial *trial_new(struct error *err);
void trial_free(struct trial *trial);
void trial_clear(struct trial *trial);
/* The object of PROTOCOL.md; NULL when out of memory. */
json_t *trial_json(const struct trial *trial, const struct generate_arguments *arguments);

#endif
