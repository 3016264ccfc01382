/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing the engine `socket`: options, sockets, one a flow for a generator. */
#include "socket_engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../core/arguments.h"
#include "../core/packet.h"

#define BUFFER_BYTES (4 << 20)

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

static int make_socket(const struct socket_engine *state, const union address *from, const union address *to,
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

static void close_sockets(struct socket_port *port)
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

static int listen_on(struct socket_engine *state, struct socket_port *port, struct error *err)
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
    struct socket_engine *state = io->state;
    struct socket_port *port = &state->ports[index];
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

static int parse_options(struct socket_engine *state, const json_t *options, struct error *err)
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

void socket_close(struct io *io)
{
    struct socket_engine *state = io->state;

    for (unsigned i = 0; i < io->port_count; i++)
        close_sockets(&state->ports[i]);
    free(state->rx.data);
    free(state->tx.data);
    free(state->peers);
    free(state);
    io->state = NULL;
}

static void set_up_batch(struct socket_batch *batch)
{
    for (unsigned i = 0; i < IO_BURST_MAX; i++) {
        batch->parts[i].iov_base = batch->data + (size_t)i * PAYLOAD_MAX;
        batch->parts[i].iov_len = PAYLOAD_MAX;
        batch->messages[i].msg_hdr.msg_iov = &batch->parts[i];
        batch->messages[i].msg_hdr.msg_iovlen = 1;
    }
}

int socket_open(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err)
{
    struct socket_engine *state = calloc(1, sizeof(*state));
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
        io->ops = &socket_blocking_ops;
    return 0;
undo:
    socket_close(io);
    return -1;
}

/* The addresses and ports in the headers of a flow. */
static void addresses_of(const struct frame_set *frames, uint32_t flow, union address *from,
                         union address *to)
{
    const struct frame_template *template = &frames->templates[0];
    const uint8_t *data = template->data;
    uint16_t from_port = htons((uint16_t)(frames->fields[0].first + flow));
    uint16_t to_port = frames->port;

    memset(from, 0, sizeof(*from));
    memset(to, 0, sizeof(*to));
    if (template->packet.version == 4) {
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

static int watch(struct socket_port *port, struct error *err)
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
static int connect_flows(struct socket_engine *state, const struct frame_set *frames, struct error *err)
{
    struct socket_port *port = &state->ports[0];

    for (unsigned i = 0; i < frames->count; i++) {
        const struct frame_template *template = &frames->templates[i];

        if (template->packet.protocol != IPPROTO_UDP || template->packet.ip != ETHERNET_BYTES ||
            template->packet.version != frames->templates[0].packet.version ||
            memcmp(template->data + 26, frames->templates[0].data + 26, 8) != 0) {
            error_set(
                err, "bad-argument",
                "templates: the socket engine expects UDP without tags, and one pair of addresses in all");
            return -1;
        }
    }
    if (!frames->plain || frames->fields[0].offset != frames->templates[0].packet.l4 ||
        frames->port_mask == 0) {
        error_set(
            err, "bad-argument",
            "fields: the socket engine expects the UDP source port, counted up, and one destination port");
        return -1;
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

        addresses_of(frames, flow, &from, &to);
        fd = make_socket(state, &from, &to, err);
        if (fd < 0)
            return -1;
        port->fds[flow] = fd;
        port->fd_count = flow + 1;
    }
    return frames->flows > ASKED_IN_TURN ? watch(port, err) : 0;
}

static int enable_gso(struct socket_engine *state, const struct frame_set *frames, struct error *err)
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

int socket_prepare(struct io *io, const struct frame_set *frames, struct error *err)
{
    struct socket_engine *state = io->state;

    state->tx_stride = PAYLOAD_MAX;
    if (frames == NULL)
        return state->ports[0].connected ? listen_on(state, &state->ports[0], err) : 0;
    if (connect_flows(state, frames, err) != 0)
        return -1;
    return state->gso ? enable_gso(state, frames, err) : 0;
}
