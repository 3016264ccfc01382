/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine `socket` over TCP. A frame of the core is a message (core/message.h) in the byte stream of a
 * connection, a flow a connection. Who generates connects; who reflects or sinks listens and takes whoever
 * connects. tcp_open.c opens and closes, tcp.c moves messages, tcp_figures.c reads what the kernel says of
 * the connections.
 */
#ifndef LABKIT_TCP_ENGINE_H
#define LABKIT_TCP_ENGINE_H

#include <jansson.h>
#include <pthread.h>

#include "../core/message.h"
#include "socket_address.h"

#define CONNECTIONS_MAX 4096U
#define NO_CONNECTION UINT32_MAX
/* Most that one receive takes in: pages that are never touched cost nothing. */
#define READ_BYTES (256U << 10)

/* What the kernel says of connections, summed (linux/tcp.h, struct tcp_info). */
struct tcp_figures {
    uint64_t segments_out;
    uint64_t segments_in;
    uint64_t retransmitted_segments;
    uint64_t bytes_sent;
    uint64_t bytes_retransmitted;
    uint64_t bytes_acked;
    uint64_t bytes_received;
    uint64_t reordering_seen;
    uint64_t out_of_order_segments;
    uint64_t busy_us;
    uint64_t receiver_limited_us;
    uint64_t send_buffer_limited_us;
};

struct tcp_connection {
    int fd; /* -1: none */
    uint32_t generation;
    struct message_reader in;
    struct message_queue out; /* what the socket's buffer had no room for */
    uint64_t read_bytes;      /* since the trial began */
    uint64_t written_bytes;
};

struct tcp_engine {
    union address own;
    struct socket_options options;
    int listener; /* -1: none */
    int epoll_fd; /* -1: few enough to be asked in turn */
    uint64_t accepted_ns;
    unsigned quiet_turns; /* since the listener was last asked */
    union address peer;   /* generator */
    bool expects_return;  /* of the last trial */
    bool passes_over;     /* of this trial: a connection without room holds up no other */
    uint32_t next;        /* and the one that a message is offered to next */
    uint32_t wanted;      /* generator: connections; 0: it listens */

    /* Held by who changes which connections there are (the worker), and by who reads what the kernel says of
     * them (the control thread as well). */
    pthread_mutex_t table;
    struct tcp_connection *connections; /* CONNECTIONS_MAX */
    uint32_t slots;                     /* so many of them were used */
    uint32_t count;                     /* and so many are open */
    uint64_t opened;
    struct tcp_figures closed; /* sums of those that are no more */
    struct tcp_figures begun;  /* sums when the trial began */

    uint32_t turn;    /* the connection asked first, next time */
    uint32_t left;    /* the one that may have whole messages that were read already */
    uint32_t pending; /* connections with something in `out` */
    uint8_t *tx;      /* IO_BURST_MAX buffers of MESSAGE_BYTES_MAX */
    uint32_t tx_stride;
};

extern const struct io_ops tcp_ops;
extern const struct io_ops tcp_blocking_ops; /* for `wait`: `block` */

int tcp_open(struct io *io, const json_t *ports, const struct socket_options *options, struct error *err);
void tcp_close(struct io *io);
int tcp_prepare(struct io *io, const struct frame_set *frames, struct error *err);
/* Before a trial: connects, or takes care that nothing of the trial before is under way. */
int tcp_begin(struct io *io, bool expect_return, bool unpaced, struct error *err);
/* Takes in who has connected. */
void tcp_accept(struct tcp_engine *state);
/* The end of a connection; its figures are kept. */
void tcp_drop(struct tcp_engine *state, uint32_t index);

/* Reads what has come, at most what there is room for; 0 where nothing has. A connection that has ended is
 * dropped (listener), or is io->lost (generator). `flags`: of recv(2). */
uint32_t tcp_read(struct io *io, uint32_t index, int flags);
/* Writes what waits; true when nothing does any more. */
bool tcp_write_pending(struct io *io, uint32_t index);

json_t *tcp_proof(struct io *io);
json_t *tcp_transport(struct io *io);
/* Sums over all connections since open; the table must be held, or the caller be the worker. */
struct tcp_figures tcp_totals(const struct tcp_engine *state);
void tcp_add_figures(struct tcp_figures *sum, int fd);

#endif
