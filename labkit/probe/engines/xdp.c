/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * XDP in the kernel: the frames never reach this process. Open puts a program on every port that passes
 * everything; a role swaps it, under the same link, for the one that does the role's work, and stop swaps it
 * back. Counters are the programs' own, read from their maps, and the driver's for what it dropped after the
 * program's verdict.
 */
#include "arguments.h"
#include "datapath.h"
#include "driver_stats.h"
#include "io.h"
#include "tester.h"
#include "xdp_generate.h"
#include "xdp_link.h"

#include "datapath.bpf.h" /* datapath_bpf_object, made by the build */

#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum external_role { ROLE_NONE, ROLE_REFLECT, ROLE_SINK };

struct state {
    struct bpf_object *object;
    struct xdp_link link[IO_PORTS_MAX];
    unsigned ports;
    enum external_role role;
    uint64_t driver_drops;           /* at the start of the role */
    struct xdp_generator *generator; /* NULL: nothing was generated yet */
    struct xdp_generator_options options;
};

static int program_fd(const struct state *state, const char *name)
{
    struct bpf_program *program = bpf_object__find_program_by_name(state->object, name);

    return program ? bpf_program__fd(program) : -1;
}

static int map_fd(const struct state *state, const char *name)
{
    return bpf_object__find_map_fd_by_name(state->object, name);
}

/* Swaps the program of a port; the link, and with it the attach mode, stays. */
static int run(struct state *state, const struct io *io, unsigned port, const char *name, struct error *err)
{
    if (bpf_link_update(state->link[port].fd, program_fd(state, name), NULL)) {
        error_set(err, "refused", "bpf(BPF_LINK_UPDATE) of %s to %s: %s", io->port[port].name, name,
                  strerror(errno));
        return -1;
    }
    return 0;
}

static void xdp_close(struct io *io)
{
    struct state *state = io->state;

    for (unsigned i = 0; i < state->ports; i++)
        xdp_link_close(&state->link[i]);
    xdp_generator_close(state->generator);
    bpf_object__close(state->object);
    free(state);
    io->state = NULL;
}

static int fill_other_port(struct state *state, struct error *err)
{
    for (unsigned i = 0; i < state->ports; i++) {
        uint32_t other = (uint32_t)state->link[state->ports - 1 - i].ifindex;

        if (bpf_map_update_elem(map_fd(state, "other_port"), &i, &other, BPF_ANY)) {
            error_set(err, "refused", "bpf(BPF_MAP_UPDATE_ELEM) of the redirect map: %s", strerror(errno));
            return -1;
        }
    }
    return 0;
}

static int xdp_open(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err)
{
    static const char *const known_options[] = {"attach", "spare", "ring", NULL};
    static const char *const known[] = {"interface", NULL};
    struct state *state = calloc(1, sizeof(*state));
    static const char *const rings[] = {"tester", "dut", NULL};
    const char *spare = NULL;
    unsigned ring = 0;
    enum xdp_attach attach;
    int ifindex[IO_PORTS_MAX] = {0};

    (void)core; /* the kernel runs the programs where the frames arrive */
    if (state == NULL) {
        error_set(err, "refused", "out of memory");
        return -1;
    }
    io->state = state;
    io->port_count = state->ports = (unsigned)json_array_size(ports);
    for (unsigned i = 0; i < state->ports; i++)
        state->link[i].fd = -1;
    if (arguments_known(options, "options", known_options, err) || xdp_attach_option(options, &attach, err) ||
        arguments_string(options, "spare", false, &spare, err) ||
        xdp_choice(options, "ring", rings, &ring, err))
        goto fail;
    if (spare != NULL)
        (void)strncpy(state->options.spare, spare, sizeof(state->options.spare) - 1);
    state->options.ring_is_duts = ring == 1;
    for (unsigned i = 0; i < state->ports; i++) {
        const json_t *port = json_array_get(ports, i);

        if (arguments_known(port, "a port", known, err) ||
            xdp_port_read(port, &io->port[i], &ifindex[i], err))
            goto fail;
        if (io->port[i].frame_max > TESTER_FRAME_MAX)
            io->port[i].frame_max = TESTER_FRAME_MAX;
    }
    state->object = xdp_object_load("labkit", datapath_bpf_object, sizeof(datapath_bpf_object), err);
    if (state->object == NULL)
        goto fail;
    for (unsigned i = 0; i < state->ports; i++)
        if (xdp_link_attach(&state->link[i], &io->port[i], ifindex[i], program_fd(state, "idle"), attach,
                            err))
            goto fail;
    if (state->ports == 2 && fill_other_port(state, err))
        goto fail;
    return 0;
fail:
    xdp_close(io);
    return -1;
}

static json_t *proof_of_ports(const struct io *io)
{
    const struct state *state = io->state;
    json_t *ports = json_array();

    for (unsigned i = 0; i < state->ports; i++) {
        json_t *proof = xdp_link_proof(&state->link[i]);

        (void)json_object_set_new(proof, "interface", json_string(io->port[i].name));
        (void)json_array_append_new(ports, proof);
    }
    return ports;
}

static json_t *xdp_proof(struct io *io)
{
    const struct state *state = io->state;
    json_t *proof = json_pack("{s:o}", "ports", proof_of_ports(io));

    if (state->generator != NULL)
        (void)json_object_set_new(proof, "generator", xdp_generator_proof(state->generator));
    return proof;
}

/* Frames that a driver dropped after the program said where they should go. */
static uint64_t driver_drops(const struct io *io)
{
    uint64_t drops = 0;

    for (unsigned i = 0; i < io->port_count; i++)
        drops += driver_stats_sum(io->port[i].name, "xdp_tx_errors") +
                 driver_stats_sum(io->port[i].name, "xdp_xmit_errors");
    return drops;
}

static int clear_counters(struct state *state, uint32_t tag, struct error *err)
{
    int cpus = libbpf_num_possible_cpus();
    uint32_t key = 0;
    struct sink_state sink = {.tag = tag};
    const struct sink_word unused = {0};
    struct datapath_counters *zero = cpus > 0 ? calloc((size_t)cpus, sizeof(*zero)) : NULL;
    int failed = zero == NULL || bpf_map_update_elem(map_fd(state, "counters"), &key, zero, BPF_ANY) ||
                 bpf_map_update_elem(map_fd(state, "sink_state"), &key, &sink, BPF_ANY);

    for (uint32_t word = 0; !failed && tag != 0 && word < SINK_WORDS; word++)
        failed = bpf_map_update_elem(map_fd(state, "sink_words"), &word, &unused, BPF_ANY);
    free(zero);
    if (failed)
        error_set(err, "refused", "bpf(BPF_MAP_UPDATE_ELEM) of the counters: %s", strerror(errno));
    return failed ? -1 : 0;
}

static int start_reflect(struct state *state, const struct io *io, const json_t *arguments, struct error *err)
{
    static const char *const swaps[] = {"none", "mac", "all", NULL};
    unsigned swap = 2;

    if (json_object_size(json_object_get(arguments, "impair")) > 0) {
        error_set(err, "bad-argument", "impair: expected none, the in-kernel reflector has no impairments");
        return -1;
    }
    if (xdp_choice(arguments, "swap", swaps, &swap, err))
        return -1;
    for (unsigned i = 0; i < state->ports; i++) {
        char name[24];

        if (state->ports == 1)
            (void)snprintf(name, sizeof(name), "reflect_%s", swaps[swap]);
        else
            (void)snprintf(name, sizeof(name), "redirect%u_%s", i, swaps[swap]);
        if (run(state, io, i, name, err))
            return -1;
    }
    state->role = ROLE_REFLECT;
    return 0;
}

static int xdp_role_stop(struct io *io, struct error *err)
{
    struct state *state = io->state;

    state->role = ROLE_NONE;
    for (unsigned i = 0; i < state->ports; i++)
        if (run(state, io, i, "idle", err))
            return -1;
    return 0;
}

static int xdp_role_start(struct io *io, const char *role, const json_t *arguments, struct error *err)
{
    struct state *state = io->state;
    struct error ignored;
    bool sink = strcmp(role, "sink") == 0;
    int failed;

    if (!sink && strcmp(role, "reflect") != 0) {
        error_set(err, "state", "the xdp engine cannot %s: it has the roles reflect and sink", role);
        return -1;
    }
    if (clear_counters(state, sink ? (uint32_t)json_integer_value(json_object_get(arguments, "tag")) : 0,
                       err))
        return -1;
    state->driver_drops = driver_drops(io);
    if (sink) {
        failed = 0;
        for (unsigned i = 0; i < state->ports && !failed; i++)
            failed = run(state, io, i, "sink", err);
        state->role = ROLE_SINK;
    } else {
        failed = start_reflect(state, io, arguments, err);
    }
    if (failed)
        (void)xdp_role_stop(io, &ignored);
    return failed;
}

static struct datapath_counters sum_counters(const struct state *state)
{
    struct datapath_counters sum = {0};
    int cpus = libbpf_num_possible_cpus();
    uint32_t key = 0;
    struct datapath_counters *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;

    if (each != NULL && bpf_map_lookup_elem(map_fd(state, "counters"), &key, each) == 0) {
        for (int i = 0; i < cpus; i++) {
            sum.rx_frames += each[i].rx_frames;
            sum.tx_frames += each[i].tx_frames;
            sum.foreign += each[i].foreign;
            sum.stale += each[i].stale;
            sum.received += each[i].received;
            sum.duplicates += each[i].duplicates;
            sum.reordered += each[i].reordered;
        }
    }
    free(each);
    return sum;
}

static json_t *xdp_role_counters(struct io *io)
{
    const struct state *state = io->state;
    const struct datapath_counters sum = sum_counters(state);
    uint64_t drops = driver_drops(io) - state->driver_drops;
    json_t *counters = json_pack(
        "{s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:I, s:i, s:i, s:i, s:i}", "role",
        state->role == ROLE_SINK ? "sink" : "reflect", "rx_frames", (json_int_t)sum.rx_frames, "tx_frames",
        (json_int_t)(sum.tx_frames - (drops < sum.tx_frames ? drops : sum.tx_frames)), "tx_dropped",
        (json_int_t)drops, "impaired_dropped", 0, "impaired_duplicated", 0, "impaired_swapped", 0, "foreign",
        (json_int_t)sum.foreign, "polls", 0, "empty_polls", 0, "involuntary_switches", 0, "cpu_ns", 0);
    struct sink_state sink = {0};
    uint32_t key = 0;

    (void)json_object_set_new(counters, "ports", proof_of_ports(io));
    if (state->role != ROLE_SINK)
        return counters;
    (void)bpf_map_lookup_elem(map_fd(state, "sink_state"), &key, &sink);
    (void)json_object_set_new(counters, "received", json_integer((json_int_t)sum.received));
    (void)json_object_set_new(counters, "duplicates", json_integer((json_int_t)sum.duplicates));
    (void)json_object_set_new(counters, "reordered", json_integer((json_int_t)sum.reordered));
    (void)json_object_set_new(counters, "stale", json_integer((json_int_t)sum.stale));
    (void)json_object_set_new(counters, "corrupt", json_integer(0));
    (void)json_object_set_new(counters, "first_rx_ns", json_integer((json_int_t)sink.first_rx_ns));
    (void)json_object_set_new(counters, "last_rx_ns", json_integer((json_int_t)sink.last_rx_ns));
    return counters;
}

static int xdp_prepare(struct io *io, const struct frame_set *frames, struct error *err)
{
    struct state *state = io->state;

    if (state->generator == NULL)
        state->generator = xdp_generator_open(&state->options, err);
    if (state->generator == NULL)
        return -1;
    return xdp_generator_prepare(state->generator, io, state->link, frames, err);
}

static void xdp_generate(struct io *io, struct role *role, const struct generate_arguments *arguments,
                         const struct frame_set *frames, struct trial *trial)
{
    struct state *state = io->state;

    (void)frames; /* prepared before */
    xdp_generator_run(state->generator, io, state->link[0].ifindex, role, arguments, trial);
}

const struct io_ops io_engine = {
    .engine = "xdp",
    .can_generate = true,
    .prepare = xdp_prepare,
    .generate = xdp_generate,
    .open = xdp_open,
    .close = xdp_close,
    .proof = xdp_proof,
    .role_start = xdp_role_start,
    .role_counters = xdp_role_counters,
    .role_stop = xdp_role_stop,
};
