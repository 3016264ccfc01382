/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The generator of the engine `xdp`: frames are made and taken back by BPF programs, see bpf/tester.bpf.c. It runs them,
 * paces nothing itself, and reads what they counted.
 */
#ifndef LABKIT_XDP_GENERATE_H
#define LABKIT_XDP_GENERATE_H

#include "frames.h"
#include "io.h"
#include "role.h"
#include "xdp_link.h"

struct xdp_generator;

/* Loads the programs. `spare`: an interface on which the generator is attached as well, so that the kernel need not
 * wait for all its readers at each trial; NULL: none. NULL with err set when that fails. */
struct xdp_generator *xdp_generator_open(const char *spare, struct error *err);
void xdp_generator_close(struct xdp_generator *generator);

/* Takes over the frames, and puts the receiver on the last port. Returns 0, or -1 with err set. */
int xdp_generator_prepare(struct xdp_generator *generator, const struct io *io, struct xdp_link *links,
                          const struct frame_set *frames, struct error *err);
void xdp_generator_run(struct xdp_generator *generator, struct io *io, int ifindex, struct role *role,
                       const struct generate_arguments *arguments, struct trial *trial);
/* What the programs are, for the proof. New reference. */
json_t *xdp_generator_proof(const struct xdp_generator *generator);

#endif
