/* SPDX-License-Identifier: BSD-3-Clause */
/* One line of input as a typed command. Pure: reads the line, touches nothing else. */
#ifndef LABKIT_COMMAND_H
#define LABKIT_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "frames.h"
#include "io.h"
#include "packet.h"

#define COMMAND_LINE_MAX (1U << 20)

enum command_kind {
    COMMAND_OPEN,
    COMMAND_FRAMES,
    COMMAND_GENERATE,
    COMMAND_REFLECT,
    COMMAND_SINK,
    COMMAND_COUNTERS,
    COMMAND_PROOF,
    COMMAND_STOP,
    COMMAND_QUIT,
};

struct generate_arguments {
    bool unpaced; /* load_pps null: as fast as it goes */
    double load_pps;
    bool counted; /* count given, else duration */
    uint64_t count;
    uint64_t duration_ns;
    uint16_t tag;
    bool closed;
    bool expect_return;
    uint64_t drain_quiet_ns;
    uint64_t drain_max_ns;
    uint64_t
        late_ns; /* what comes back later than this, and the shortest round trip, after sending; 0: none is */
    unsigned burst;
    bool verify;       /* compare every byte behind the signature */
    uint64_t above_ns; /* the longest run of slower round trips is counted; 0: it is not */
};

struct impairment {
    uint64_t drop_one_in; /* 0: none of each */
    uint64_t duplicate_one_in;
    bool swap_neighbours;
    uint64_t delay_ns;
    double cap_pps;
};

struct reflect_arguments {
    enum swap swap;
    bool impaired;
    struct impairment impairment;
};

struct command {
    bool has_id;
    json_int_t id;
    enum command_kind kind;
    json_t *json; /* the whole line; what open hands to the engine lives in it */
    int core;     /* open; -1: not pinned */
    struct frame_set *frames;
    struct generate_arguments generate;
    struct reflect_arguments reflect;
    uint16_t sink_tag;
};

/* Returns 0, or -1 with err set; has_id and id are set where the line had an id even then. Free it in both
 * cases. */
int command_parse(const char *line, size_t length, struct command *command, struct error *err);
void command_free(struct command *command);

#endif
