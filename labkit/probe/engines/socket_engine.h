/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two parts of the engine `socket` share: socket_open.c sets it up, socket.c moves the datagrams. */
#ifndef LABKIT_SOCKET_ENGINE_H
#define LABKIT_SOCKET_ENGINE_H

#include "../core/frames.h"
#include "../core/io.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define PAYLOAD_MAX IO_FRAME_MAX
#define PEERS 65536U /* power of two; slots of a hash by address */
/* Up to so many sockets are simply asked in turn; more need epoll. */
#define ASKED_IN_TURN 4U

/* A receive that blocks returns after this long: the core looks whether it was stopped, or has something to
 * send.
 */
#define BLOCK_US 50000

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct socket_port {
    union address own;
    socklen_t own_length;
    int *fds; /* one: the listener; more: one a flow */
    unsigned fd_count;
    bool connected;
    int epoll_fd;
    unsigned turn;                       /* the socket asked first, next time */
    struct io_frame stash[IO_BURST_MAX]; /* what wait() received already */
    unsigned stashed;
};

struct socket_batch {
    struct mmsghdr messages[IO_BURST_MAX];
    struct iovec parts[IO_BURST_MAX];
    union address peers[IO_BURST_MAX];
    uint8_t *data; /* IO_BURST_MAX buffers of PAYLOAD_MAX */
};

struct socket_engine {
    struct socket_port ports[IO_PORTS_MAX];
    struct socket_batch rx;
    struct socket_batch tx;
    uint32_t tx_stride;
    bool block;
    bool gso;
    int busy_poll_us;
    union address *peers; /* PEERS slots: so that a copied frame finds its way back */
    uint32_t last_peer;
    uint64_t refused; /* ICMP errors handed to us in place of a frame */
};

extern const struct io_ops socket_blocking_ops; /* for `wait`: `block` */

static inline socklen_t address_length(const union address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

/* A socket of ours, bound; connected when `to` is given. Returns the descriptor, or -1 with err set. */

int socket_open(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err);
void socket_close(struct io *io);
int socket_prepare(struct io *io, const struct frame_set *frames, struct error *err);

#endif
