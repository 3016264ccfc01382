/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing TCP connections: the listener, the generator's connections, and a clean start for a
 * trial. */
#include "tcp_engine.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../core/clock.h"
#include "../core/packet.h"

/* Up to so many connections are simply asked in turn; more need epoll. */
#define ASKED_IN_TURN 4U
#define CONNECT_NS (3 * NS_PER_S)
/* For what a former trial left under way to come back; a DUT that needs longer gets new connections. */
#define SETTLE_NS (500 * NS_PER_MS)
#define ACCEPT_EVERY_NS NS_PER_MS
/* For the other end's program to take the connections, so that the first messages do not wait for that. */
#define ACCEPTED_MS 10

static int set_option(int fd, int level, int name, int value, const char *text, struct error *err)
{
    if (setsockopt(fd, level, name, &value, sizeof(value)) == 0)
        return 0;
    return system_refused(err, "setsockopt", text);
}

/* What every connection has, on both ends: no Nagle, and the kernel's busy polling where it was asked for. */
static int configure(const struct tcp_engine *state, int fd, struct error *err)
{
    const struct timeval longest = {.tv_usec = BLOCK_US};

    if (set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY", err) != 0)
        return -1;
    if (state->options.busy_poll_us > 0 &&
        set_option(fd, SOL_SOCKET, SO_BUSY_POLL, state->options.busy_poll_us, "SO_BUSY_POLL", err) != 0)
        return -1;
    if (state->options.block && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof(longest)) != 0)
        return system_refused(err, "setsockopt", "SO_RCVTIMEO");
    return 0;
}

static void *pages(size_t bytes)
{
    void *found =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return found == MAP_FAILED ? NULL : found;
}

static void watch(struct tcp_engine *state, uint32_t index)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};

    (void)epoll_ctl(state->epoll_fd, EPOLL_CTL_ADD, state->connections[index].fd, &event);
}

/* Asking many in turn takes longer than epoll; few are faster without it. Once it is there it stays. */
static void watch_many(struct tcp_engine *state, uint32_t added)
{
    if (state->epoll_fd >= 0) {
        watch(state, added);
        return;
    }
    if (state->count <= ASKED_IN_TURN)
        return;
    state->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (state->epoll_fd < 0)
        return; /* they are asked in turn, then */
    for (uint32_t i = 0; i < state->slots; i++)
        if (state->connections[i].fd >= 0)
            watch(state, i);
}

/* Takes over a socket that is connected, or is about to be. */
static int add(struct tcp_engine *state, int fd, struct error *err)
{
    uint32_t index = 0;
    struct tcp_connection *connection;

    while (index < state->slots && state->connections[index].fd >= 0)
        index++;
    if (index == CONNECTIONS_MAX) {
        error_set(err, "refused", "connections: expected at most %u", CONNECTIONS_MAX);
        return -1;
    }
    connection = &state->connections[index];
    if (connection->in.data == NULL)
        connection->in.data = pages(READ_BYTES);
    if (connection->in.data == NULL) {
        error_set(err, "internal", "mmap: %u bytes for a connection", READ_BYTES);
        return -1;
    }
    (void)pthread_mutex_lock(&state->table);
    connection->in.capacity = READ_BYTES;
    connection->in.begin = connection->in.end = 0;
    /* All of what one receive may take in, and what a burst that could not be written at once leaves. */
    connection->out.capacity = READ_BYTES + IO_BURST_MAX * MESSAGE_BYTES_MAX;
    connection->out.begin = connection->out.end = 0;
    connection->read_bytes = connection->written_bytes = 0;
    connection->fd = fd;
    connection->generation++;
    if (index == state->slots)
        state->slots++;
    state->count++;
    state->opened++;
    (void)pthread_mutex_unlock(&state->table);
    watch_many(state, index);
    return 0;
}

void tcp_drop(struct tcp_engine *state, uint32_t index)
{
    struct tcp_connection *connection = &state->connections[index];

    if (connection->fd < 0)
        return;
    (void)pthread_mutex_lock(&state->table);
    tcp_add_figures(&state->closed, connection->fd);
    (void)close(connection->fd);
    connection->fd = -1;
    state->count--;
    (void)pthread_mutex_unlock(&state->table);
    state->pending -= message_queued(&connection->out) > 0;
    connection->out.begin = connection->out.end = 0;
    if (state->left == index)
        state->left = NO_CONNECTION;
}

static void drop_all(struct tcp_engine *state)
{
    for (uint32_t i = 0; i < state->slots; i++)
        tcp_drop(state, i);
    state->slots = 0;
    state->turn = 0;
    if (state->epoll_fd >= 0)
        (void)close(state->epoll_fd);
    state->epoll_fd = -1;
}

void tcp_accept(struct tcp_engine *state)
{
    uint64_t now = clock_now_ns();

    state->quiet_turns = 0;
    if (state->count > 0 && now - state->accepted_ns < ACCEPT_EVERY_NS)
        return;
    state->accepted_ns = now;
    for (;;) {
        struct error ignored;
        int fd = accept4(state->listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            return;
        if (configure(state, fd, &ignored) != 0 || add(state, fd, &ignored) != 0)
            (void)close(fd);
    }
}

static int listen_at(struct tcp_engine *state, struct error *err)
{
    const int on = 1;
    char text[64];

    if (state->listener >= 0)
        return 0;
    address_describe(&state->own, text);
    state->listener = socket(state->own.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (state->listener < 0)
        return system_refused(err, "socket", "TCP");
    /* A listener that has gone a moment ago leaves connections in TIME_WAIT. */
    (void)setsockopt(state->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(state->listener, &state->own.any, address_length(&state->own)) != 0)
        return system_refused(err, "bind", text);
    if (listen(state->listener, (int)CONNECTIONS_MAX) != 0)
        return system_refused(err, "listen", text);
    return 0;
}

static int start_connecting(struct tcp_engine *state, struct error *err)
{
    union address from = state->own;
    const int on = 1;
    char text[64];
    int fd = socket(from.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return system_refused(err, "socket", "TCP");
    /* The kernel chooses the port: one that was used a minute ago may still be in TIME_WAIT. */
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    address_describe(&from, text);
    if (bind(fd, &from.any, address_length(&from)) != 0) {
        (void)system_refused(err, "bind", text);
        goto close_it;
    }
    address_describe(&state->peer, text);
    if (connect(fd, &state->peer.any, address_length(&state->peer)) != 0 && errno != EINPROGRESS) {
        (void)system_refused(err, "connect", text);
        goto close_it;
    }
    if (configure(state, fd, err) != 0 || add(state, fd, err) != 0)
        goto close_it;
    return 0;
close_it:
    (void)close(fd);
    return -1;
}

/* Waits for one that was begun. From then on it may block: reads that must not say so. */
static int await_connected(const struct tcp_engine *state, int fd, uint64_t until_ns, struct error *err)
{
    struct pollfd polled = {.fd = fd, .events = POLLOUT};
    uint64_t now = clock_now_ns();
    int wrong = 0;
    socklen_t length = sizeof(wrong);
    char text[64];
    int off = 0;

    address_describe(&state->peer, text);
    if (now >= until_ns || poll(&polled, 1, (int)((until_ns - now) / NS_PER_MS) + 1) != 1) {
        error_set(err, "refused", "connect: %s: no answer in %llu s", text, CONNECT_NS / NS_PER_S);
        return -1;
    }
    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &wrong, &length);
    if (wrong != 0) {
        errno = wrong;
        return system_refused(err, "connect", text);
    }
    if (ioctl(fd, FIONBIO, &off) != 0)
        return system_refused(err, "ioctl FIONBIO", text);
    return 0;
}

static int connect_all(struct tcp_engine *state, struct error *err)
{
    uint64_t until_ns = clock_now_ns() + CONNECT_NS;

    drop_all(state);
    for (uint32_t i = 0; i < state->wanted; i++)
        if (start_connecting(state, err) != 0)
            goto undo;
    for (uint32_t i = 0; i < state->wanted; i++)
        if (await_connected(state, state->connections[i].fd, until_ns, err) != 0)
            goto undo;
    (void)poll(NULL, 0, ACCEPTED_MS);
    return 0;
undo:
    drop_all(state);
    return -1;
}

/* Whether nothing of a connection is under way: all was written and taken in by the other end, and all that
 * was to come back has, and nothing else. */
static bool is_quiet(struct io *io, uint32_t index)
{
    struct tcp_engine *state = io->state;
    struct tcp_connection *connection = &state->connections[index];
    int unacked = 0;

    connection->in.begin = connection->in.end;
    while (tcp_read(io, index, MSG_DONTWAIT) > 0)
        connection->in.begin = connection->in.end;
    if (connection->fd < 0 || !tcp_write_pending(io, index))
        return false;
    if (ioctl(connection->fd, SIOCOUTQ, &unacked) != 0 || unacked != 0)
        return false;
    return connection->read_bytes == (state->expects_return ? connection->written_bytes : 0);
}

static bool settled(struct io *io)
{
    struct tcp_engine *state = io->state;
    uint64_t until_ns = clock_now_ns() + SETTLE_NS;
    uint32_t index = 0;

    while (index < state->slots && io->lost.code[0] == '\0') {
        if (is_quiet(io, index))
            index++;
        else if (clock_now_ns() >= until_ns)
            return false;
    }
    return io->lost.code[0] == '\0';
}

int tcp_begin(struct io *io, bool expect_return, bool unpaced, struct error *err)
{
    struct tcp_engine *state = io->state;
    bool whole = io->lost.code[0] == '\0' && state->count == state->wanted;

    io->lost.code[0] = '\0';
    state->left = NO_CONNECTION;
    if (!whole || !settled(io)) {
        io->lost.code[0] = '\0';
        if (connect_all(state, err) != 0)
            return -1;
    }
    state->expects_return = expect_return;
    state->passes_over = unpaced && state->wanted > 1;
    state->next = 0;
    for (uint32_t i = 0; i < state->slots; i++)
        state->connections[i].read_bytes = state->connections[i].written_bytes = 0;
    (void)pthread_mutex_lock(&state->table);
    state->begun = tcp_totals(state);
    (void)pthread_mutex_unlock(&state->table);
    return 0;
}

/* All messages must say how long they are. */
static int check_frames(const struct frame_set *frames, struct error *err)
{
    if (!addresses_are_one_pair(frames, IPPROTO_TCP) || frames->port_mask == 0) {
        error_set(err, "bad-argument",
                  "templates: the transport tcp expects TCP without tags, one pair of addresses and one "
                  "destination port in all");
        return -1;
    }
    if (frames->flows > CONNECTIONS_MAX) {
        error_set(err, "bad-argument", "flows: expected at most %u connections, got %u", CONNECTIONS_MAX,
                  frames->flows);
        return -1;
    }
    for (unsigned i = 0; i < frames->count; i++) {
        const struct frame_template *template = &frames->templates[i];
        uint32_t length = template->length - template->signature_offset;

        if (length < MESSAGE_BYTES_MIN ||
            message_length(template->data + template->signature_offset) != length) {
            error_set(
                err, "bad-argument",
                "templates[%u]: expected a message of at least %u bytes with its length (%u) behind the "
                "signature",
                i, MESSAGE_BYTES_MIN, length);
            return -1;
        }
    }
    return 0;
}

int tcp_prepare(struct io *io, const struct frame_set *frames, struct error *err)
{
    struct tcp_engine *state = io->state;
    union address from;

    io->lost.code[0] = '\0';
    if (frames == NULL) {
        if (state->wanted > 0)
            drop_all(state);
        state->wanted = 0;
        return listen_at(state, err);
    }
    if (check_frames(frames, err) != 0)
        return -1;
    if (state->wanted == 0)
        drop_all(state);
    if (state->listener >= 0)
        (void)close(state->listener);
    state->listener = -1;
    addresses_of(frames, 0, &from, &state->peer);
    state->wanted = frames->flows;
    state->tx_stride = frames->longest - frames->templates[0].signature_offset;
    return connect_all(state, err);
}

int tcp_open(struct io *io, const json_t *ports, const struct socket_options *options, struct error *err)
{
    struct tcp_engine *state;
    char text[64];

    if (json_array_size(ports) != 1) {
        error_set(err, "bad-argument", "ports: the transport tcp expects one");
        return -1;
    }
    state = calloc(1, sizeof(*state));
    if (state != NULL) {
        state->connections = pages(CONNECTIONS_MAX * sizeof(*state->connections));
        state->tx = pages((size_t)IO_BURST_MAX * MESSAGE_BYTES_MAX);
    }
    if (state == NULL || state->connections == NULL || state->tx == NULL) {
        error_set(err, "internal", "no memory for the transport tcp");
        free(state);
        return -1;
    }
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++)
        state->connections[i].fd = -1;
    state->options = *options;
    state->listener = state->epoll_fd = -1;
    state->left = NO_CONNECTION;
    state->tx_stride = MESSAGE_BYTES_MAX;
    (void)pthread_mutex_init(&state->table, NULL);
    io->state = state;
    io->ops = options->block ? &tcp_blocking_ops : &tcp_ops;
    io->payload_only = true;
    io->stream = true;
    io->port_count = 1;
    if (address_parse(json_array_get(ports, 0), &state->own, err) != 0)
        goto undo;
    /* Without a port it is a generator's: it does not listen until it is to. */
    if ((state->own.any.sa_family == AF_INET ? state->own.v4.sin_port : state->own.v6.sin6_port) != 0 &&
        listen_at(state, err) != 0)
        goto undo;
    address_describe(&state->own, text);
    (void)snprintf(io->port[0].name, sizeof(io->port[0].name), "%s", text);
    io->port[0].mtu_bytes = MESSAGE_BYTES_MAX;
    io->port[0].frame_max = MESSAGE_BYTES_MAX;
    return 0;
undo:
    tcp_close(io);
    return -1;
}

void tcp_close(struct io *io)
{
    struct tcp_engine *state = io->state;

    drop_all(state);
    if (state->listener >= 0)
        (void)close(state->listener);
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (state->connections[i].in.data != NULL)
            (void)munmap(state->connections[i].in.data, READ_BYTES);
        free(state->connections[i].out.data);
    }
    (void)munmap(state->connections, CONNECTIONS_MAX * sizeof(*state->connections));
    (void)munmap(state->tx, (size_t)IO_BURST_MAX * MESSAGE_BYTES_MAX);
    (void)pthread_mutex_destroy(&state->table);
    free(state);
    io->state = NULL;
}
