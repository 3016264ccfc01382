/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A BPF program on an interface, held by a link: it goes when the process goes,
 * whatever ended it. Shared by the engines `af_xdp` and `xdp`.
 */
#ifndef LABKIT_XDP_LINK_H
#define LABKIT_XDP_LINK_H

#include "io.h"

#include <bpf/libbpf.h>

enum xdp_attach { XDP_ATTACH_NATIVE, XDP_ATTACH_GENERIC };

struct xdp_link {
    int fd; /* -1: not attached */
    int ifindex;
};

/* Reads a word that must be one of `choices` (ends with NULL); *value becomes its index, or stays when it is
 * missing. */
int xdp_choice(const json_t *options, const char *name, const char *const *choices, unsigned *value,
               struct error *err);

/* Read `attach` of the options (native when missing). */
int xdp_attach_option(const json_t *options, enum xdp_attach *attach, struct error *err);

/* Take one known interface port: name, index, MTU and MAC as the kernel has
 * them. */
int xdp_port_read(const json_t *description, struct io_port *port, int *ifindex, struct error *err);

/* Load an object that was embedded in the executable. NULL with err set when
 * the kernel refuses it. */
struct bpf_object *xdp_object_load(const char *name, const void *data, size_t bytes, struct error *err);

int xdp_link_attach(struct xdp_link *link, const struct io_port *port, int ifindex, int program_fd,
                    enum xdp_attach attach, struct error *err);
void xdp_link_close(struct xdp_link *link);

/* What the kernel says is attached there: `attach` (native, generic, none),
 * `program_id`, `program`, `link_id`, `own_link` (whether the attached program
 * is the one our link holds). New reference. */
json_t *xdp_link_proof(const struct xdp_link *link);

#endif
