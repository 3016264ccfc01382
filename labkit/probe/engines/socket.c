/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's own datapath: UDP sockets, recvmmsg and sendmmsg. Frames hold the UDP payload alone. A
 * reflector or sink listens on the port's address; a generator has one connected socket a flow. Received
 * frames are good until the next receive on any port.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/arguments.h"
#include "../core/clock.h"
#include "../core/frames.h"
#include "../core/io.h"
#include "../core/packet.h"

#define PAYLOAD_MAX IO_FRAME_MAX
#define BUFFER_BYTES (4 << 20)
/* A receive that blocks returns after this long: the core looks whether it was stopped, or has something to
 * send.
 */
#define BLOCK_US 50000
#define PEERS 65536U /* power of two; slots of a hash by address */
#define PEER_PROBES 64U
/* Up to so many sockets are simply asked in turn; more need epoll. */
#define ASKED_IN_TURN 4U
#define READY_MAX 16

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct port {
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

struct batch {
    struct mmsghdr messages[IO_BURST_MAX];
    struct iovec parts[IO_BURST_MAX];
    union address peers[IO_BURST_MAX];
    uint8_t *data; /* IO_BURST_MAX buffers of PAYLOAD_MAX */
};

struct state {
    struct port ports[IO_PORTS_MAX];
    struct batch rx;
    struct batch tx;
    uint32_t tx_stride;
    bool block;
    bool gso;
    int busy_poll_us;
    union address *peers; /* PEERS slots: so that a copied frame finds its way back */
    uint32_t last_peer;
    uint64_t refused; /* ICMP errors handed to us in place of a frame */
};

static const struct io_ops blocking_ops;

static int fail(struct error *err, const char *call, const char *object)
{
    error_set(err, "refused", "%s: %s: %s", call, object, strerror(errno));
    return -1;
}

static void describe(const union address *address, char text[static 64])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
        (void)snprintf(text, 64, "%s:%u", host, ntohs(address->v4.sin_port));
    } else {
        (void)inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
        (void)snprintf(text, 64, "[%s]:%u", host, ntohs(address->v6.sin6_port));
    }
}

static socklen_t address_length(const union address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

/* A socket of ours, bound; connected when `to` is given. Returns the descriptor, or -1 with err set. */
static int make_socket(const struct state *state, const union address *from, const union address *to,
                       struct error *err)
{
    const int large = BUFFER_BYTES;
    const struct timeval longest = {.tv_usec = BLOCK_US};
    char text[64];
    int fd = socket(from->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return fail(err, "socket", "UDP");
    /* The forced variants need CAP_NET_ADMIN; without it the kernel's limit must do. proof() says what came
     * of it.
     */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    describe(from, text);
    if (state->block && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof(longest)) != 0) {
        (void)fail(err, "setsockopt SO_RCVTIMEO", text);
        goto close_it;
    }
    if (state->busy_poll_us > 0 &&
        setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &state->busy_poll_us, sizeof(state->busy_poll_us)) != 0) {
        (void)fail(err, "setsockopt SO_BUSY_POLL", text);
        goto close_it;
    }
    if (bind(fd, &from->any, address_length(from)) != 0) {
        (void)fail(err, "bind", text);
        goto close_it;
    }
    if (to != NULL && connect(fd, &to->any, address_length(to)) != 0) {
        describe(to, text);
        (void)fail(err, "connect", text);
        goto close_it;
    }
    return fd;
close_it:
    (void)close(fd);
    return -1;
}

static void close_sockets(struct port *port)
{
    for (unsigned i = 0; i < port->fd_count; i++)
        (void)close(port->fds[i]);
    free(port->fds);
    port->fds = NULL;
    port->fd_count = 0;
    port->turn = 0;
    port->stashed = 0;
    if (port->epoll_fd >= 0)
        (void)close(port->epoll_fd);
    port->epoll_fd = -1;
}

static int listen_on(struct state *state, struct port *port, struct error *err)
{
    close_sockets(port);
    port->connected = false;
    port->fds = calloc(1, sizeof(*port->fds));
    if (port->fds == NULL) {
        error_set(err, "internal", "calloc: sockets");
        return -1;
    }
    port->fds[0] = make_socket(state, &port->own, NULL, err);
    if (port->fds[0] < 0)
        return -1;
    port->fd_count = 1;
    return 0;
}

static int parse_port(struct io *io, unsigned index, const json_t *object, struct error *err)
{
    static const char *const known[] = {"bind", "port", NULL};
    struct state *state = io->state;
    struct port *port = &state->ports[index];
    const char *bind_to = NULL;
    int64_t number = 0;
    char text[64];

    port->epoll_fd = -1;
    if (arguments_known(object, "a port of the socket engine", known, err) ||
        arguments_string(object, "bind", true, &bind_to, err) ||
        arguments_integer(object, "port", false, 0, 65535, &number, err))
        return -1;
    if (inet_pton(AF_INET, bind_to, &port->own.v4.sin_addr) == 1) {
        port->own.v4.sin_family = AF_INET;
        port->own.v4.sin_port = htons((uint16_t)number);
    } else if (inet_pton(AF_INET6, bind_to, &port->own.v6.sin6_addr) == 1) {
        port->own.v6.sin6_family = AF_INET6;
        port->own.v6.sin6_port = htons((uint16_t)number);
    } else {
        error_set(err, "bad-argument", "bind: expected an IPv4 or IPv6 address, got %.64s", bind_to);
        return -1;
    }
    if (listen_on(state, port, err) != 0)
        return -1;
    describe(&port->own, text);
    (void)snprintf(io->port[index].name, sizeof(io->port[index].name), "%s", text);
    io->port[index].mtu_bytes = PAYLOAD_MAX;
    io->port[index].frame_max = PAYLOAD_MAX;
    return 0;
}

static int parse_options(struct state *state, const json_t *options, struct error *err)
{
    static const char *const known[] = {"wait", "busy_poll_us", "gso", NULL};
    const char *wait = "spin";
    int64_t busy_poll_us = 0;

    if (arguments_known(options, "the socket engine's options", known, err) ||
        arguments_string(options, "wait", false, &wait, err) ||
        arguments_integer(options, "busy_poll_us", false, 0, 1000000, &busy_poll_us, err) ||
        arguments_boolean(options, "gso", &state->gso, err))
        return -1;
    if (strcmp(wait, "spin") != 0 && strcmp(wait, "block") != 0) {
        error_set(err, "bad-argument", "wait: expected spin or block, got %.64s", wait);
        return -1;
    }
    state->block = strcmp(wait, "block") == 0;
    state->busy_poll_us = (int)busy_poll_us;
    return 0;
}

static void socket_close(struct io *io)
{
    struct state *state = io->state;

    for (unsigned i = 0; i < io->port_count; i++)
        close_sockets(&state->ports[i]);
    free(state->rx.data);
    free(state->tx.data);
    free(state->peers);
    free(state);
    io->state = NULL;
}

static void set_up_batch(struct batch *batch)
{
    for (unsigned i = 0; i < IO_BURST_MAX; i++) {
        batch->parts[i].iov_base = batch->data + (size_t)i * PAYLOAD_MAX;
        batch->parts[i].iov_len = PAYLOAD_MAX;
        batch->messages[i].msg_hdr.msg_iov = &batch->parts[i];
        batch->messages[i].msg_hdr.msg_iovlen = 1;
    }
}

static int socket_open(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err)
{
    struct state *state = calloc(1, sizeof(*state));
    struct rlimit files;

    (void)core;
    if (state == NULL) {
        error_set(err, "internal", "calloc: socket engine");
        return -1;
    }
    io->state = state;
    io->payload_only = true;
    state->rx.data = malloc((size_t)IO_BURST_MAX * PAYLOAD_MAX);
    state->tx.data = malloc((size_t)IO_BURST_MAX * PAYLOAD_MAX);
    state->peers = calloc(PEERS, sizeof(*state->peers));
    if (state->rx.data == NULL || state->tx.data == NULL || state->peers == NULL) {
        error_set(err, "internal", "malloc: buffers of the socket engine");
        goto undo;
    }
    set_up_batch(&state->rx);
    set_up_batch(&state->tx);
    state->tx_stride = PAYLOAD_MAX;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max; /* a flow is a descriptor */
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (parse_options(state, options, err) != 0)
        goto undo;
    for (unsigned i = 0; i < json_array_size(ports); i++) {
        io->port_count = i + 1;
        if (parse_port(io, i, json_array_get(ports, i), err) != 0)
            goto undo;
    }
    if (state->block)
        io->ops = &blocking_ops;
    return 0;
undo:
    socket_close(io);
    return -1;
}

/* The addresses and ports in a template's headers. */
static void addresses_of(const struct frame_template *template, uint32_t flow, union address *from,
                         union address *to)
{
    const uint8_t *data = template->data;
    uint16_t from_port = htons((uint16_t)(template->source_port + flow));
    uint16_t to_port = htons(template->destination_port);

    memset(from, 0, sizeof(*from));
    memset(to, 0, sizeof(*to));
    if (template->ip_version == 4) {
        from->v4.sin_family = to->v4.sin_family = AF_INET;
        from->v4.sin_port = from_port;
        to->v4.sin_port = to_port;
        memcpy(&from->v4.sin_addr, data + 26, 4);
        memcpy(&to->v4.sin_addr, data + 30, 4);
    } else {
        from->v6.sin6_family = to->v6.sin6_family = AF_INET6;
        from->v6.sin6_port = from_port;
        to->v6.sin6_port = to_port;
        memcpy(&from->v6.sin6_addr, data + 22, 16);
        memcpy(&to->v6.sin6_addr, data + 38, 16);
    }
}

static int watch(struct port *port, struct error *err)
{
    port->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (port->epoll_fd < 0)
        return fail(err, "epoll_create1", "flows");
    for (unsigned i = 0; i < port->fd_count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

        if (epoll_ctl(port->epoll_fd, EPOLL_CTL_ADD, port->fds[i], &event) != 0)
            return fail(err, "epoll_ctl", "flow's socket");
    }
    return 0;
}

/* One connected socket a flow, on port 0; with two ports the second goes on listening. */
static int connect_flows(struct state *state, const struct frame_set *frames, struct error *err)
{
    struct port *port = &state->ports[0];

    for (unsigned i = 1; i < frames->count; i++) {
        if (memcmp(frames->templates[i].data + 26, frames->templates[0].data + 26, 8) != 0 ||
            frames->templates[i].ip_version != frames->templates[0].ip_version) {
            error_set(err, "bad-argument",
                      "templates: the socket engine expects one pair of addresses in all of them");
            return -1;
        }
    }
    close_sockets(port);
    port->fds = calloc(frames->flows, sizeof(*port->fds));
    if (port->fds == NULL) {
        error_set(err, "internal", "calloc: %u sockets", frames->flows);
        return -1;
    }
    port->connected = true;
    for (uint32_t flow = 0; flow < frames->flows; flow++) {
        union address from;
        union address to;
        int fd;

        addresses_of(&frames->templates[0], flow, &from, &to);
        fd = make_socket(state, &from, &to, err);
        if (fd < 0)
            return -1;
        port->fds[flow] = fd;
        port->fd_count = flow + 1;
    }
    return frames->flows > ASKED_IN_TURN ? watch(port, err) : 0;
}

static int enable_gso(struct state *state, const struct frame_set *frames, struct error *err)
{
    int segment = (int)(frames->longest - frames->templates[0].signature_offset);

    if (frames->longest != frames->shortest) {
        error_set(err, "bad-argument", "gso: expected frames of one size, got %u to %u bytes",
                  frames->shortest, frames->longest);
        return -1;
    }
    for (unsigned i = 0; i < state->ports[0].fd_count; i++)
        if (setsockopt(state->ports[0].fds[i], SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)) != 0)
            return fail(err, "setsockopt UDP_SEGMENT", "flow's socket");
    state->tx_stride = (uint32_t)segment;
    return 0;
}

static int socket_prepare(struct io *io, const struct frame_set *frames, struct error *err)
{
    struct state *state = io->state;

    state->tx_stride = PAYLOAD_MAX;
    if (frames == NULL)
        return state->ports[0].connected ? listen_on(state, &state->ports[0], err) : 0;
    if (connect_flows(state, frames, err) != 0)
        return -1;
    return state->gso ? enable_gso(state, frames, err) : 0;
}

static unsigned socket_reserve(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    struct state *state = io->state;

    (void)port;
    for (unsigned i = 0; i < n; i++)
        frames[i].data = state->tx.data + (size_t)i * state->tx_stride;
    return n;
}

/* Sends messages [0, n) of a batch; returns how many went. An ICMP error that a send reports is not the
 * send's own. */
static unsigned send_batch(struct state *state, int fd, struct mmsghdr *messages, unsigned n)
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
static unsigned send_segments(struct state *state, int fd, uint8_t *data, unsigned n)
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

static unsigned commit_run(struct state *state, struct port *port, struct io_frame *frames, unsigned n)
{
    struct batch *tx = &state->tx;
    uint32_t flow = frames[0].flow;

    if (port->connected && state->gso)
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
    struct state *state = io->state;
    struct port *port = &state->ports[port_index];
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
static uint32_t peer_slot(struct state *state, const union address *peer)
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

static unsigned receive_from(struct state *state, struct port *port, unsigned index, struct io_frame *frames,
                             unsigned n, int flags)
{
    struct batch *rx = &state->rx;
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

static unsigned receive_ready(struct state *state, struct port *port, struct io_frame *frames, unsigned n,
                              int timeout_ms)
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
    struct state *state = io->state;
    struct port *port = &state->ports[port_index];

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
    struct state *state = io->state;
    struct batch *tx = &state->tx;

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
    struct state *state = io->state;
    struct port *port = &state->ports[io->port_count - 1];
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
    struct state *state = io->state;
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
    struct state *state = io->state;
    json_t *sockets = json_array();

    for (unsigned i = 0; i < io->port_count; i++)
        (void)json_array_append_new(sockets, socket_json(state->ports[i].fds[0]));
    return json_pack("{s:s, s:o, s:b, s:s}", "datapath", "kernel UDP", "sockets", sockets, "gso",
                     gso_possible(), "wait", io->ops == &blocking_ops ? "block" : "spin");
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

static const struct io_ops blocking_ops = {
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
