/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's own datapath: UDP sockets, recvmmsg and sendmmsg. Frames hold the UDP payload alone. A
 * reflector or sink listens on the port's address; a generator has one connected socket a flow. Received
 * frames are good until the next receive on any port.
 */
#include "socket_engine.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../core/clock.h"

#define PEER_PROBES 64U
#define READY_MAX 16

static unsigned socket_reserve(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    struct socket_engine *state = io->state;

    (void)port;
    for (unsigned i = 0; i < n; i++)
        frames[i].data = state->tx.data + (size_t)i * state->tx_stride;
    return n;
}

/* Sends messages [0, n) of a batch; returns how many went. An ICMP error that a send reports is not the
 * send's own. */
static unsigned send_batch(struct socket_engine *state, int fd, struct mmsghdr *messages, unsigned n)
{
    unsigned done = 0;
    unsigned errors = 0;

    while (done < n) {
        int sent = sendmmsg(fd, messages + done, n - done, MSG_DONTWAIT);

        if (sent > 0) {
            done += (unsigned)sent;
        } else if (errno == ECONNREFUSED && errors++ < IO_BURST_MAX) {
            state->refused++;
        } else {
            break;
        }
    }
    return done;
}

/* Of one flow, one after the other in memory and of one size: the kernel cuts it. Returns the frames that
 * went. */
static unsigned send_segments(struct socket_engine *state, int fd, uint8_t *data, unsigned n)
{
    /* 64 kB is the most that a datagram holds before it is cut. */
    unsigned most = 65000U / state->tx_stride;
    unsigned done = 0;

    while (done < n) {
        unsigned now = n - done < most ? n - done : most;
        ssize_t sent =
            send(fd, data + (size_t)done * state->tx_stride, (size_t)now * state->tx_stride, MSG_DONTWAIT);

        if (sent < 0 && errno == ECONNREFUSED) {
            state->refused++;
            continue;
        }
        if (sent < 0)
            break;
        done += now;
    }
    return done;
}

static unsigned commit_run(struct socket_engine *state, struct socket_port *port, struct io_frame *frames,
                           unsigned n)
{
    struct socket_batch *tx = &state->tx;
    uint32_t flow = frames[0].flow;

    if (port->connected && state->options.gso)
        return send_segments(state, port->fds[flow], frames[0].data, n);
    for (unsigned i = 0; i < n; i++) {
        struct msghdr *header = &tx->messages[i].msg_hdr;

        tx->parts[i].iov_base = frames[i].data;
        tx->parts[i].iov_len = frames[i].length;
        header->msg_name = port->connected ? NULL : &state->peers[frames[i].flow];
        header->msg_namelen = port->connected ? 0 : address_length(&state->peers[frames[i].flow]);
    }
    return send_batch(state, port->fds[port->connected ? flow : 0], tx->messages, n);
}

static unsigned socket_commit(struct io *io, unsigned port_index, struct io_frame *frames, unsigned reserved,
                              unsigned n)
{
    struct socket_engine *state = io->state;
    struct socket_port *port = &state->ports[port_index];
    unsigned done = 0;

    (void)reserved;
    while (done < n) {
        unsigned run = 1;
        unsigned sent;

        while (done + run < n && (!port->connected || frames[done + run].flow == frames[done].flow))
            run++;
        sent = commit_run(state, port, frames + done, run);
        done += sent;
        if (sent < run)
            break;
    }
    return done;
}

/* The slot of a peer's address; the same address has the same slot as long as there is room. */
static uint32_t peer_slot(struct socket_engine *state, const union address *peer)
{
    socklen_t length = address_length(peer);
    uint32_t hash;

    if (memcmp(&state->peers[state->last_peer], peer, length) == 0)
        return state->last_peer;
    hash = ntohs(peer->v4.sin_port);
    if (peer->any.sa_family == AF_INET)
        hash += ntohl(peer->v4.sin_addr.s_addr) * 40503U;
    else
        hash += ((uint32_t)peer->v6.sin6_addr.s6_addr[15] + ((uint32_t)peer->v6.sin6_addr.s6_addr[14] << 8)) *
                40503U;
    for (uint32_t i = 0; i < PEER_PROBES; i++) {
        uint32_t slot = (hash + i) % PEERS;

        if (state->peers[slot].any.sa_family == 0 || i == PEER_PROBES - 1)
            memcpy(&state->peers[slot], peer, length);
        if (memcmp(&state->peers[slot], peer, length) == 0) {
            state->last_peer = slot;
            return slot;
        }
    }
    return state->last_peer;
}

static unsigned receive_from(struct socket_engine *state, struct socket_port *port, unsigned index,
                             struct io_frame *frames, unsigned n, int flags)
{
    struct socket_batch *rx = &state->rx;
    int got;

    for (unsigned i = 0; i < n; i++) {
        struct msghdr *header = &rx->messages[i].msg_hdr;

        header->msg_name = port->connected ? NULL : &rx->peers[i];
        header->msg_namelen = port->connected ? 0 : sizeof(rx->peers[i]);
    }
    got = recvmmsg(port->fds[index], rx->messages, n, flags, NULL);
    if (got <= 0) {
        if (got < 0 && errno == ECONNREFUSED)
            state->refused++;
        return 0;
    }
    for (unsigned i = 0; i < (unsigned)got; i++) {
        frames[i].data = rx->parts[i].iov_base;
        frames[i].length = rx->messages[i].msg_len;
        frames[i].flow = port->connected ? index : peer_slot(state, &rx->peers[i]);
        frames[i].handle = i;
    }
    return (unsigned)got;
}

static unsigned receive_ready(struct socket_engine *state, struct socket_port *port, struct io_frame *frames,
                              unsigned n, int timeout_ms)
{
    struct epoll_event events[READY_MAX];
    int ready;

    if (port->epoll_fd < 0) {
        for (unsigned i = 0; i < port->fd_count; i++) {
            unsigned index = (port->turn + i) % port->fd_count;
            unsigned got = receive_from(state, port, index, frames, n, MSG_DONTWAIT);

            if (got > 0) {
                port->turn = index + 1;
                return got;
            }
        }
        return 0;
    }
    /* One socket a call: its frames lie in buffers that the next one would overwrite. */
    ready = epoll_wait(port->epoll_fd, events, 1, timeout_ms);
    return ready == 1 ? receive_from(state, port, events[0].data.u32, frames, n, MSG_DONTWAIT) : 0;
}

static unsigned socket_receive(struct io *io, unsigned port_index, struct io_frame *frames, unsigned n)
{
    struct socket_engine *state = io->state;
    struct socket_port *port = &state->ports[port_index];

    if (port->stashed > 0) {
        unsigned got = port->stashed < n ? port->stashed : n;

        memcpy(frames, port->stash, got * sizeof(*frames));
        port->stashed = 0;
        return got;
    }
    return receive_ready(state, port, frames, n, 0);
}

static void socket_release(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    (void)io;
    (void)port;
    (void)frames;
    (void)n;
}

static unsigned socket_forward(struct io *io, unsigned from, unsigned to, struct io_frame *frames, unsigned n)
{
    struct socket_engine *state = io->state;
    struct socket_batch *tx = &state->tx;

    (void)from;
    for (unsigned i = 0; i < n; i++) {
        struct msghdr *header = &tx->messages[i].msg_hdr;

        tx->parts[i].iov_base = frames[i].data;
        tx->parts[i].iov_len = frames[i].length;
        header->msg_name = &state->rx.peers[frames[i].handle];
        header->msg_namelen = address_length(&state->rx.peers[frames[i].handle]);
    }
    return send_batch(state, state->ports[to].fds[0], tx->messages, n);
}

/* Blocks in the receive itself, as a plain UDP server does; a short timeout, or several sockets, go through
 * poll.
 */
static void socket_wait(struct io *io, uint64_t timeout_ns)
{
    struct socket_engine *state = io->state;
    struct socket_port *port = &state->ports[io->port_count - 1];
    struct pollfd polled[IO_PORTS_MAX * ASKED_IN_TURN];
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                               .tv_nsec = (long)(timeout_ns % NS_PER_S)};
    nfds_t count = 0;

    if (io->port_count == 1 && port->fd_count == 1 && timeout_ns >= BLOCK_US * NS_PER_US) {
        port->stashed = receive_from(state, port, 0, port->stash, IO_BURST_MAX, MSG_WAITFORONE);
        return;
    }
    for (unsigned p = 0; p < io->port_count; p++) {
        port = &state->ports[p];
        if (port->epoll_fd >= 0) {
            polled[count++] = (struct pollfd){.fd = port->epoll_fd, .events = POLLIN};
            continue;
        }
        for (unsigned i = 0; i < port->fd_count; i++)
            polled[count++] = (struct pollfd){.fd = port->fds[i], .events = POLLIN};
    }
    (void)ppoll(polled, count, &timeout, NULL);
}

static uint64_t socket_rx_dropped(struct io *io)
{
    struct socket_engine *state = io->state;
    uint64_t dropped = 0;

    for (unsigned p = 0; p < io->port_count; p++) {
        for (unsigned i = 0; i < state->ports[p].fd_count; i++) {
            uint32_t memory[SK_MEMINFO_VARS] = {0};
            socklen_t length = sizeof(memory);

            if (getsockopt(state->ports[p].fds[i], SOL_SOCKET, SO_MEMINFO, memory, &length) == 0)
                dropped += memory[SK_MEMINFO_DROPS];
        }
    }
    return dropped;
}

static json_t *socket_json(int fd)
{
    int receive_bytes = 0;
    int send_bytes = 0;
    int busy_poll_us = 0;
    socklen_t length = sizeof(int);

    (void)getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, &length);
    (void)getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, &length);
    (void)getsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &busy_poll_us, &length);
    return json_pack("{s:i, s:i, s:i}", "receive_buffer_bytes", receive_bytes, "send_buffer_bytes",
                     send_bytes, "busy_poll_us", busy_poll_us);
}

/* Whether the kernel cuts datagrams for us: asked of a socket of its own, which is closed again. */
static bool gso_possible(void)
{
    const int wanted = 64;
    int found = 0;
    socklen_t length = sizeof(found);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool possible = fd >= 0 && setsockopt(fd, SOL_UDP, UDP_SEGMENT, &wanted, sizeof(wanted)) == 0 &&
                    getsockopt(fd, SOL_UDP, UDP_SEGMENT, &found, &length) == 0 && found == wanted;

    if (fd >= 0)
        (void)close(fd);
    return possible;
}

static json_t *socket_proof(struct io *io)
{
    struct socket_engine *state = io->state;
    json_t *sockets = json_array();

    for (unsigned i = 0; i < io->port_count; i++)
        (void)json_array_append_new(sockets, socket_json(state->ports[i].fds[0]));
    return json_pack("{s:s, s:o, s:b, s:s}", "datapath", "kernel UDP", "sockets", sockets, "gso",
                     gso_possible(), "wait", io->ops == &socket_blocking_ops ? "block" : "spin");
}

const struct io_ops io_engine = {
    .engine = "socket",
    .can_generate = true,
    .open = socket_open,
    .close = socket_close,
    .proof = socket_proof,
    .prepare = socket_prepare,
    .reserve = socket_reserve,
    .commit = socket_commit,
    .receive = socket_receive,
    .release = socket_release,
    .forward = socket_forward,
    .rx_dropped = socket_rx_dropped,
};

const struct io_ops socket_blocking_ops = {
    .engine = "socket",
    .can_generate = true,
    .open = socket_open,
    .close = socket_close,
    .proof = socket_proof,
    .prepare = socket_prepare,
    .reserve = socket_reserve,
    .commit = socket_commit,
    .receive = socket_receive,
    .release = socket_release,
    .forward = socket_forward,
    .rx_dropped = socket_rx_dropped,
    .wait = socket_wait,
};
