/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two parts of the engine `socket` share: socket_open.c sets it up, socket.c moves the datagrams.
 * With TCP as the transport it is another engine altogether: tcp_engine.h. */
#ifndef LABKIT_SOCKET_ENGINE_H
#define LABKIT_SOCKET_ENGINE_H

#include "socket_address.h"

#define PAYLOAD_MAX IO_FRAME_MAX
#define PEERS 65536U /* power of two; slots of a hash by address */
/* Up to so many sockets are simply asked in turn; more need epoll. */
#define ASKED_IN_TURN 4U

struct socket_port {
    union address own;
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
    struct socket_options options;
    union address *peers; /* PEERS slots: so that a copied frame finds its way back */
    uint32_t last_peer;
    uint64_t refused; /* ICMP errors handed to us in place of a frame */
};

extern const struct io_ops socket_blocking_ops; /* for `wait`: `block` */

int socket_open(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err);
void socket_close(struct io *io);
int socket_prepare(struct io *io, const struct frame_set *frames, struct error *err);

#endif
