/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The generator of the engine `xdp`: frames are made and taken back by BPF programs, see bpf/tester.bpf.c. It
 * runs them, paces nothing itself, and reads what they counted.
 */
#ifndef LABKIT_XDP_GENERATE_H
#define LABKIT_XDP_GENERATE_H

#include <net/if.h>

#include "frames.h"
#include "io.h"
#include "role.h"
#include "xdp_link.h"

struct xdp_generator;

struct xdp_generator_options {
    /* An interface on which the generator is attached as well, so that the kernel need not wait for all its
     * readers at each trial; empty: none. */
    char spare[IFNAMSIZ];
    /* Whether another core empties the ring of the port at the other end: what finds no room there is the
     * DUT's loss. Else the sender's core does, and those frames were not sent. */
    bool ring_is_duts;
};

/* Loads the programs. NULL with err set when that fails. */
struct xdp_generator *xdp_generator_open(const struct xdp_generator_options *options, struct error *err);
void xdp_generator_close(struct xdp_generator *generator);

/* Takes over the frames, and puts the receiver on the last port. Returns 0, or -1 with err set. */
int xdp_generator_prepare(struct xdp_generator *generator, const struct io *io, struct xdp_link *links,
                          const struct frame_set *frames, struct error *err);
void xdp_generator_run(struct xdp_generator *generator, struct io *io, int ifindex, struct role *role,
                       const struct generate_arguments *arguments, struct trial *trial);
/* What the programs are, for the proof. New reference. */
json_t *xdp_generator_proof(const struct xdp_generator *generator);

#endif
