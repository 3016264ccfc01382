/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing the engine `socket`: options, sockets, one a flow for a generator. */
#include "socket_engine.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../core/arguments.h"
#include "../core/packet.h"
#include "tcp_engine.h"

#define BUFFER_BYTES (4 << 20)

static int make_socket(const struct socket_engine *state, const union address *from, const union address *to,
                       struct error *err)
{
    const int large = BUFFER_BYTES;
    const struct timeval longest = {.tv_usec = BLOCK_US};
    char text[64];
    int fd = socket(from->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return system_refused(err, "socket", "UDP");
    /* The forced variants need CAP_NET_ADMIN; without it the kernel's limit must do. proof() says what came
     * of it.
     */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    address_describe(from, text);
    if (state->options.block && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof(longest)) != 0) {
        (void)system_refused(err, "setsockopt SO_RCVTIMEO", text);
        goto close_it;
    }
    if (state->options.busy_poll_us > 0 &&
        setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &state->options.busy_poll_us,
                   sizeof(state->options.busy_poll_us)) != 0) {
        (void)system_refused(err, "setsockopt SO_BUSY_POLL", text);
        goto close_it;
    }
    if (bind(fd, &from->any, address_length(from)) != 0) {
        (void)system_refused(err, "bind", text);
        goto close_it;
    }
    if (to != NULL && connect(fd, &to->any, address_length(to)) != 0) {
        address_describe(to, text);
        (void)system_refused(err, "connect", text);
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
    struct socket_engine *state = io->state;
    struct socket_port *port = &state->ports[index];
    char text[64];

    port->epoll_fd = -1;
    if (address_parse(object, &port->own, err) != 0)
        return -1;
    if (listen_on(state, port, err) != 0)
        return -1;
    address_describe(&port->own, text);
    (void)snprintf(io->port[index].name, sizeof(io->port[index].name), "%s", text);
    io->port[index].mtu_bytes = PAYLOAD_MAX;
    io->port[index].frame_max = PAYLOAD_MAX;
    return 0;
}

static int parse_options(struct socket_options *found, const json_t *options, struct error *err)
{
    static const char *const known[] = {"transport", "wait", "busy_poll_us", "gso", NULL};
    const char *transport = "udp";
    const char *wait = "spin";
    int64_t busy_poll_us = 0;

    if (arguments_known(options, "the socket engine's options", known, err) ||
        arguments_string(options, "transport", false, &transport, err) ||
        arguments_string(options, "wait", false, &wait, err) ||
        arguments_integer(options, "busy_poll_us", false, 0, 1000000, &busy_poll_us, err) ||
        arguments_boolean(options, "gso", &found->gso, err))
        return -1;
    if (strcmp(transport, "udp") != 0 && strcmp(transport, "tcp") != 0) {
        error_set(err, "bad-argument", "transport: expected udp or tcp, got %.64s", transport);
        return -1;
    }
    if (strcmp(wait, "spin") != 0 && strcmp(wait, "block") != 0) {
        error_set(err, "bad-argument", "wait: expected spin or block, got %.64s", wait);
        return -1;
    }
    found->tcp = strcmp(transport, "tcp") == 0;
    found->block = strcmp(wait, "block") == 0;
    found->busy_poll_us = (int)busy_poll_us;
    if (found->tcp && found->gso) {
        error_set(err, "bad-argument",
                  "gso: expected false with the transport tcp: the kernel cuts its stream");
        return -1;
    }
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
    struct socket_options found = {.tcp = false};
    struct socket_engine *state;

    (void)core;
    allow_descriptors();
    if (parse_options(&found, options, err) != 0)
        return -1;
    if (found.tcp)
        return tcp_open(io, ports, &found, err);
    state = calloc(1, sizeof(*state));
    if (state == NULL) {
        error_set(err, "internal", "calloc: socket engine");
        return -1;
    }
    state->options = found;
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
    for (unsigned i = 0; i < json_array_size(ports); i++) {
        io->port_count = i + 1;
        if (parse_port(io, i, json_array_get(ports, i), err) != 0)
            goto undo;
    }
    if (state->options.block)
        io->ops = &socket_blocking_ops;
    return 0;
undo:
    socket_close(io);
    return -1;
}

static int watch(struct socket_port *port, struct error *err)
{
    port->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (port->epoll_fd < 0)
        return system_refused(err, "epoll_create1", "flows");
    for (unsigned i = 0; i < port->fd_count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

        if (epoll_ctl(port->epoll_fd, EPOLL_CTL_ADD, port->fds[i], &event) != 0)
            return system_refused(err, "epoll_ctl", "flow's socket");
    }
    return 0;
}

/* One connected socket a flow, on port 0; with two ports the second goes on listening. */
static int connect_flows(struct socket_engine *state, const struct frame_set *frames, struct error *err)
{
    struct socket_port *port = &state->ports[0];

    if (!addresses_are_one_pair(frames, IPPROTO_UDP)) {
        error_set(err, "bad-argument",
                  "templates: the socket engine expects UDP without tags, and one pair of addresses in all");
        return -1;
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
            return system_refused(err, "setsockopt UDP_SEGMENT", "flow's socket");
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
    return state->options.gso ? enable_gso(state, frames, err) : 0;
}
