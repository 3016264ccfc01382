/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages over TCP. Nothing here blocks on a full buffer: a message that a socket takes in part is sent, and
 * its rest waits in the connection's queue; one that it takes nothing of is not. Who echoes reads no more
 * from a connection that does not take its answers.
 */
#include "tcp_engine.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "../core/clock.h"

#define READY_MAX 16
#define ASK_LISTENER_TURNS 64U
/* So many connections in a row are asked for room in vain before a turn of the loop ends: each is a call. */
#define PASSED_OVER_MAX 8U
/* io_frame.flow of what was received: the connection's slot, and which of those that had it. */
#define SLOT_BITS 12U
_Static_assert(CONNECTIONS_MAX == 1U << SLOT_BITS, "a slot fits its bits");

/* A connection has ended, or says what makes no sense. */
static void lose(struct io *io, uint32_t index, const char *why)
{
    struct tcp_engine *state = io->state;
    char text[64];

    if (state->wanted > 0 && io->lost.code[0] == '\0') {
        address_describe(&state->peer, text);
        error_set(&io->lost, "connection", "connection %u of %u to %s: %s", index + 1, state->wanted, text,
                  why);
    }
    tcp_drop(state, index);
}

uint32_t tcp_read(struct io *io, uint32_t index, int flags)
{
    struct tcp_engine *state = io->state;
    struct tcp_connection *connection = &state->connections[index];
    uint32_t bytes;
    uint8_t *room;
    ssize_t got;

    if (connection->fd < 0)
        return 0;
    room = message_room(&connection->in, &bytes);
    got = recv(connection->fd, room, bytes, flags);
    if (got > 0) {
        connection->in.end += (uint32_t)got;
        connection->read_bytes += (uint64_t)got;
        return (uint32_t)got;
    }
    if (got == 0)
        lose(io, index, "the other end closed it");
    else if (errno != EAGAIN && errno != EINTR)
        lose(io, index, strerror(errno));
    return 0;
}

/* Whole messages of one connection that were read; notes where there may be more. */
static unsigned take(struct io *io, uint32_t index, struct io_frame *frames, unsigned n)
{
    struct tcp_engine *state = io->state;
    struct tcp_connection *connection = &state->connections[index];
    unsigned got = 0;

    state->left = NO_CONNECTION;
    while (got < n) {
        switch (message_next(&connection->in, &frames[got].data, &frames[got].length)) {
        case MESSAGE_NONE:
            return got;
        case MESSAGE_BROKEN:
            lose(io, index, "what came is not what was sent: no message begins where one must");
            return got;
        case MESSAGE_READY:
            frames[got].flow = index | connection->generation << SLOT_BITS;
            got++;
            break;
        }
    }
    state->left = index;
    return got;
}

static unsigned read_and_take(struct io *io, uint32_t index, struct io_frame *frames, unsigned n)
{
    struct tcp_engine *state = io->state;
    const struct tcp_connection *connection = &state->connections[index];

    /* What its other end does not take back is not answered yet. */
    if (state->wanted == 0 && message_queued(&connection->out) > 0)
        return 0;
    return tcp_read(io, index, MSG_DONTWAIT) > 0 ? take(io, index, frames, n) : 0;
}

static unsigned tcp_receive(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    struct tcp_engine *state = io->state;
    uint32_t served = state->left;
    unsigned got = 0;

    (void)port;
    if (served != NO_CONNECTION)
        got = take(io, served, frames, n);
    /* What was handed out lies in its buffer: it is not read from before the next receive. */
    if (got == 0)
        served = NO_CONNECTION;
    if (state->listener >= 0 && (state->count == 0 || ++state->quiet_turns >= ASK_LISTENER_TURNS))
        tcp_accept(state);
    if (state->epoll_fd >= 0) {
        struct epoll_event events[READY_MAX];
        int ready = got < n ? epoll_wait(state->epoll_fd, events, READY_MAX, 0) : 0;

        for (int i = 0; i < ready && got < n; i++)
            if (events[i].data.u32 != served)
                got += read_and_take(io, events[i].data.u32, frames + got, n - got);
        return got;
    }
    for (uint32_t i = 0; i < state->slots && got < n; i++) {
        uint32_t index = (state->turn + i) % state->slots;

        if (index != served)
            got += read_and_take(io, index, frames + got, n - got);
    }
    state->turn++;
    return got;
}

static void tcp_release(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    (void)io;
    (void)port;
    (void)frames;
    (void)n;
}

bool tcp_write_pending(struct io *io, uint32_t index)
{
    struct tcp_engine *state = io->state;
    struct tcp_connection *connection = &state->connections[index];
    struct message_queue *out = &connection->out;
    ssize_t sent;

    if (message_queued(out) == 0)
        return true;
    sent = send(connection->fd, out->data + out->begin, message_queued(out), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            lose(io, index, strerror(errno));
        return false;
    }
    connection->written_bytes += (uint64_t)sent;
    message_queue_written(out, (uint32_t)sent);
    if (message_queued(out) > 0)
        return false;
    state->pending--;
    return true;
}

/* Puts into the queue what a socket did not take. */
static bool keep(struct tcp_engine *state, struct tcp_connection *connection, const uint8_t *data,
                 uint32_t bytes)
{
    bool was_empty = message_queued(&connection->out) == 0;

    if (!message_queue_add(&connection->out, data, bytes))
        return false;
    state->pending += was_empty;
    return true;
}

/* One call for messages of one connection: those that lie one behind the other are one part of it. Returns
 * the bytes that went. */
static size_t write_now(struct io *io, uint32_t index, const struct io_frame *frames, unsigned n)
{
    struct tcp_engine *state = io->state;
    struct tcp_connection *connection = &state->connections[index];
    struct iovec parts[IO_BURST_MAX];
    struct msghdr header = {.msg_iov = parts};
    ssize_t sent;

    for (unsigned i = 0; i < n; i++) {
        struct iovec *last = &parts[header.msg_iovlen - 1];

        if (i > 0 && (uint8_t *)last->iov_base + last->iov_len == frames[i].data)
            last->iov_len += frames[i].length;
        else
            parts[header.msg_iovlen++] = (struct iovec){frames[i].data, frames[i].length};
    }
    if (header.msg_iovlen == 1)
        sent = send(connection->fd, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        sent = sendmsg(connection->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            lose(io, index, strerror(errno));
        return 0;
    }
    connection->written_bytes += (uint64_t)sent;
    return (size_t)sent;
}

/* Messages of one connection; returns how many of them go. `all`: what finds no room in the socket waits in
 * the queue; else only the rest of a message that has begun to go. */
static unsigned write_messages(struct io *io, uint32_t index, const struct io_frame *frames, unsigned n,
                               bool all)
{
    struct tcp_engine *state = io->state;
    struct tcp_connection *connection = &state->connections[index];
    bool free_to_write;
    size_t sent = 0;
    unsigned done = 0;

    if (connection->fd < 0)
        return 0;
    free_to_write = tcp_write_pending(io, index);
    if (!free_to_write && !all)
        return 0;
    if (free_to_write)
        sent = write_now(io, index, frames, n);
    while (done < n && sent >= frames[done].length)
        sent -= frames[done++].length;
    while (done < n && connection->fd >= 0 && (all || sent > 0)) {
        if (!keep(state, connection, frames[done].data + sent, frames[done].length - (uint32_t)sent)) {
            if (sent > 0) /* half a message: nothing that follows would be understood */
                lose(io, index, "no memory for the rest of a message");
            break;
        }
        sent = 0;
        done++;
    }
    return done;
}

static unsigned tcp_reserve(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    struct tcp_engine *state = io->state;

    (void)port;
    for (unsigned i = 0; i < n; i++)
        frames[i].data = state->tx + (size_t)i * state->tx_stride;
    return n;
}

/* By runs of one connection. A connection that is not there any more takes what is for it, and none of it
 * goes. */
static unsigned write_runs(struct io *io, const struct io_frame *frames, unsigned n, bool all)
{
    struct tcp_engine *state = io->state;
    unsigned done = 0;
    unsigned went = 0;

    while (done < n) {
        uint32_t flow = frames[done].flow;
        uint32_t index = flow & (CONNECTIONS_MAX - 1);
        unsigned run = 1;
        unsigned sent = 0;

        while (done + run < n && frames[done + run].flow == flow)
            run++;
        if (state->wanted > 0 || flow == (index | state->connections[index].generation << SLOT_BITS))
            sent = write_messages(io, index, frames + done, run, all);
        went += sent;
        done += run;
        if (!all && sent < run)
            break;
    }
    return went;
}

/* As fast as it goes: each message by the next connection that has room. */
static unsigned write_to_any(struct io *io, const struct io_frame *frames, unsigned n)
{
    struct tcp_engine *state = io->state;
    uint32_t most = state->wanted < PASSED_OVER_MAX ? state->wanted : PASSED_OVER_MAX;
    uint32_t passed_over = 0;
    unsigned done = 0;

    while (done < n && passed_over < most) {
        uint32_t index = state->next;

        state->next = index + 1 < state->wanted ? index + 1 : 0;
        if (write_messages(io, index, frames + done, 1, false) == 0) {
            passed_over++;
        } else {
            passed_over = 0;
            done++;
        }
    }
    return done;
}

/* With a load, a message has its connection and its time. One that a socket takes nothing of holds up those
 * behind it, on all connections: what is due stays due, and is late from then on. To pass over it would offer
 * the slow connection less than the others, and hide how slow it is. Without a load nothing is due: there
 * what counts is all that the connections take together. */
static unsigned tcp_commit(struct io *io, unsigned port, struct io_frame *frames, unsigned reserved,
                           unsigned n)
{
    const struct tcp_engine *state = io->state;

    (void)port;
    (void)reserved;
    if (state->passes_over)
        return write_to_any(io, frames, n);
    return write_runs(io, frames, n, state->wanted == 0);
}

static unsigned tcp_forward(struct io *io, unsigned from, unsigned to, struct io_frame *frames, unsigned n)
{
    (void)from;
    (void)to;
    return write_runs(io, frames, n, true);
}

static void tcp_flush(struct io *io, unsigned port)
{
    struct tcp_engine *state = io->state;

    (void)port;
    for (uint32_t i = 0; state->pending > 0 && i < state->slots; i++)
        if (state->connections[i].fd >= 0)
            (void)tcp_write_pending(io, i);
}

static uint64_t tcp_queued(struct io *io)
{
    const struct tcp_engine *state = io->state;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < state->slots; i++) {
        const struct tcp_connection *connection = &state->connections[i];
        int unacked = 0;

        if (connection->fd < 0)
            continue;
        if (ioctl(connection->fd, SIOCOUTQ, &unacked) == 0)
            bytes += (uint64_t)unacked;
        bytes += message_queued(&connection->out);
    }
    return bytes;
}

static uint32_t only_connection(const struct tcp_engine *state)
{
    for (uint32_t i = 0; i < state->slots; i++)
        if (state->connections[i].fd >= 0)
            return i;
    return NO_CONNECTION;
}

/* With one connection it blocks in the receive itself, as a plain server does. */
static void tcp_wait(struct io *io, uint64_t timeout_ns)
{
    struct tcp_engine *state = io->state;
    struct pollfd *polled;
    struct pollfd few[READY_MAX];
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                               .tv_nsec = (long)(timeout_ns % NS_PER_S)};
    nfds_t count = 0;

    if (state->pending > 0 || state->left != NO_CONNECTION)
        return;
    if (state->count == 1 && state->epoll_fd < 0 && timeout_ns >= BLOCK_US * NS_PER_US) {
        uint32_t index = only_connection(state);

        if (tcp_read(io, index, 0) > 0)
            state->left = index;
        else
            state->quiet_turns = ASK_LISTENER_TURNS;
        return;
    }
    polled = few;
    if (state->listener >= 0)
        polled[count++] = (struct pollfd){.fd = state->listener, .events = POLLIN};
    if (state->epoll_fd >= 0) {
        polled[count++] = (struct pollfd){.fd = state->epoll_fd, .events = POLLIN};
    } else {
        for (uint32_t i = 0; i < state->slots && count < READY_MAX; i++)
            if (state->connections[i].fd >= 0)
                polled[count++] = (struct pollfd){.fd = state->connections[i].fd, .events = POLLIN};
    }
    (void)ppoll(polled, count, &timeout, NULL);
    if (state->listener >= 0 && polled[0].revents != 0)
        state->quiet_turns = ASK_LISTENER_TURNS;
}

#define TCP_OPS                                                                                              \
    .engine = "socket", .can_generate = true, .close = tcp_close, .proof = tcp_proof,                        \
    .prepare = tcp_prepare, .begin = tcp_begin, .reserve = tcp_reserve, .commit = tcp_commit,                \
    .flush = tcp_flush, .receive = tcp_receive, .release = tcp_release, .forward = tcp_forward,              \
    .queued = tcp_queued, .transport = tcp_transport

const struct io_ops tcp_ops = {TCP_OPS};
const struct io_ops tcp_blocking_ops = {TCP_OPS, .wait = tcp_wait};
