/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two parts of the engine `af_xdp` share: af_xdp_open.c sets it up, af_xdp.c moves the frames. */
#ifndef LABKIT_AF_XDP_H
#define LABKIT_AF_XDP_H

#include "io.h"
#include "xdp_link.h"

#include <xdp/xsk.h>

enum bind_mode { BIND_AUTO, BIND_COPY, BIND_ZEROCOPY };
enum wait_mode { WAIT_SPIN, WAIT_POLL };

struct af_xdp_settings {
    unsigned bind;
    unsigned wait;
    enum xdp_attach attach;
    bool busy_poll;
    int busy_poll_budget;
    uint32_t rx_ring;
    uint32_t tx_ring;
    uint32_t tx_budget;
};

struct af_xdp_port {
    struct xsk_ring_cons rx;
    struct xsk_ring_prod tx;
    struct xsk_ring_prod fill;
    struct xsk_ring_cons completion;
    struct xsk_socket *socket;
    struct bpf_object *object;
    struct xdp_link link;
    int fd;
    uint32_t queue;
    bool zerocopy;         /* read back after the bind */
    uint32_t under_way;    /* chunks given to be sent that did not come back yet */
    uint64_t send_refused; /* sendto() failed for another reason than "not now" */
};

struct af_xdp {
    struct af_xdp_settings settings;
    struct xsk_umem *umem;
    uint8_t *area;
    size_t area_bytes;
    uint32_t chunk_bytes;
    unsigned ports;
    uint32_t free_count;
    uint64_t *free; /* stack: the chunk used last is the one in the cache */
    struct af_xdp_port port[IO_PORTS_MAX];
};

extern const struct io_ops af_xdp_sleeping_ops; /* for `wait`: `poll` */

static inline uint64_t chunk_of(const struct af_xdp *state, uint64_t address)
{
    return address & ~(uint64_t)(state->chunk_bytes - 1);
}

/* Give the kernel chunks to receive into. */
void af_xdp_fill(struct af_xdp *state, struct af_xdp_port *port);

int af_xdp_open(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err);
void af_xdp_close(struct io *io);

#endif
