/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_XDP. One UMEM for all ports, so that a frame goes from a port to any port
 * without a copy of ours. A chunk is in exactly one place: the free stack, a
 * port's fill ring, its RX ring, with the core, or under way to be sent (TX
 * ring, kernel, completion ring). Each port may have `tx_ring` chunks under
 * way, so that sending can never starve receiving.
 */
#include "af_xdp.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <poll.h>
#include <sys/socket.h>

/* Give the kernel chunks to receive into. */
void af_xdp_fill(struct af_xdp *state, struct af_xdp_port *port)
{
    uint32_t room = xsk_prod_nb_free(&port->fill, port->fill.size);
    uint32_t n = room < state->free_count ? room : state->free_count;
    uint32_t index;
    if (!n || !xsk_ring_prod__reserve(&port->fill, n, &index)) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        *xsk_ring_prod__fill_addr(&port->fill, index + i) = state->free[--state->free_count];
    }
    xsk_ring_prod__submit(&port->fill, n);
}

static int read_int_option(int fd, int option)
{
    int value = -1;
    socklen_t length = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &length) ? -1 : value;
}

static json_t *statistics(const struct af_xdp_port *port)
{
    struct xdp_statistics found = {0};
    socklen_t length = sizeof(found);
    (void)getsockopt(port->fd, SOL_XDP, XDP_STATISTICS, &found, &length);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rx_dropped", (json_int_t)found.rx_dropped,
                     "rx_invalid_descs", (json_int_t)found.rx_invalid_descs, "tx_invalid_descs",
                     (json_int_t)found.tx_invalid_descs, "rx_ring_full", (json_int_t)found.rx_ring_full,
                     "rx_fill_ring_empty_descs", (json_int_t)found.rx_fill_ring_empty_descs,
                     "tx_ring_empty_descs", (json_int_t)found.tx_ring_empty_descs, "tx_refused",
                     (json_int_t)port->send_refused);
}

static json_t *af_xdp_proof(struct io *io)
{
    const struct af_xdp *state = io->state;
    json_t *ports = json_array();
    for (unsigned i = 0; i < state->ports; i++) {
        const struct af_xdp_port *port = &state->port[i];
        /* Without a NAPI context in the socket there is nothing that a busy poll would poll: on veth since
         * Linux 6.13 the kernel takes the options and does nothing. (Before 6.13 the first frame brought it.)
         */
        int napi_id = read_int_option(port->fd, SO_INCOMING_NAPI_ID);
        bool preferred = read_int_option(port->fd, SO_PREFER_BUSY_POLL) == 1;
        json_t *proof = xdp_link_proof(&port->link);
        json_object_set_new(proof, "interface", json_string(io->port[i].name));
        json_object_set_new(proof, "queue", json_integer(port->queue));
        json_object_set_new(proof, "zerocopy", json_boolean(port->zerocopy));
        json_object_set_new(proof, "busy_poll", json_boolean(preferred && napi_id > 0));
        json_object_set_new(proof, "prefer_busy_poll", json_boolean(preferred));
        json_object_set_new(proof, "busy_poll_us", json_integer(read_int_option(port->fd, SO_BUSY_POLL)));
        json_object_set_new(proof, "napi_id", json_integer(napi_id));
        json_object_set_new(proof, "rx_ring", json_integer(port->rx.size));
        json_object_set_new(proof, "tx_ring", json_integer(port->tx.size));
        json_object_set_new(proof, "statistics", statistics(port));
        json_array_append_new(ports, proof);
    }
    return json_pack("{s:o, s:I, s:I}", "ports", ports, "umem_bytes", (json_int_t)state->area_bytes,
                     "chunk_bytes", (json_int_t)state->chunk_bytes);
}

/* Take back the chunks that were sent. */
static void reclaim(struct af_xdp *state, struct af_xdp_port *port)
{
    uint32_t index;
    uint32_t n = xsk_ring_cons__peek(&port->completion, port->completion.size, &index);
    if (!n) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        state->free[state->free_count++] =
            chunk_of(state, *xsk_ring_cons__comp_addr(&port->completion, index + i));
    }
    xsk_ring_cons__release(&port->completion, n);
    port->under_way -= n;
}

static uint32_t room_to_send(struct af_xdp *state, struct af_xdp_port *port, uint32_t n)
{
    if (port->under_way + n > state->settings.tx_ring) {
        reclaim(state, port);
    }
    uint32_t room = state->settings.tx_ring - port->under_way;
    return n < room ? n : room;
}

static void put_to_send(struct af_xdp_port *port, const struct io_frame *frames, uint32_t n)
{
    uint32_t index;
    if (!n || !xsk_ring_prod__reserve(&port->tx, n, &index)) {
        return; /* cannot be: the ring holds at least what may be under way */
    }
    for (uint32_t i = 0; i < n; i++) {
        struct xdp_desc *descriptor = xsk_ring_prod__tx_desc(&port->tx, index + i);
        descriptor->addr = frames[i].handle;
        descriptor->len = frames[i].length;
        descriptor->options = 0;
    }
    xsk_ring_prod__submit(&port->tx, n);
    port->under_way += n;
}

static void give_back(struct af_xdp *state, const struct io_frame *frames, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        state->free[state->free_count++] = chunk_of(state, frames[i].handle);
    }
}

static unsigned af_xdp_reserve(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    struct af_xdp *state = io->state;
    n = room_to_send(state, &state->port[port], n);
    if (n > state->free_count) {
        n = state->free_count;
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t address = state->free[--state->free_count];
        frames[i].handle = address;
        frames[i].data = state->area + address;
    }
    return n;
}

static unsigned af_xdp_commit(struct io *io, unsigned port, struct io_frame *frames, unsigned reserved,
                              unsigned n)
{
    struct af_xdp *state = io->state;
    put_to_send(&state->port[port], frames, n);
    give_back(state, frames + n, reserved - n);
    return n;
}

/* The kernel sends only when called, and (copy mode) a budget of frames a call.
 */
static void af_xdp_flush(struct io *io, unsigned port_index)
{
    struct af_xdp *state = io->state;
    struct af_xdp_port *port = &state->port[port_index];
    uint32_t left = port->tx.cached_prod - __atomic_load_n(port->tx.consumer, __ATOMIC_ACQUIRE);
    while (left && (!port->zerocopy || xsk_ring_prod__needs_wakeup(&port->tx))) {
        ssize_t sent = sendto(port->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
        if (sent < 0 && errno != EAGAIN && errno != EBUSY && errno != ENOBUFS && errno != ENETDOWN) {
            port->send_refused++;
        }
        uint32_t now = port->tx.cached_prod - __atomic_load_n(port->tx.consumer, __ATOMIC_ACQUIRE);
        if (now == left) {
            break; /* no headway: the kernel has its hands full; the next turn tries
                      again */
        }
        left = now;
    }
}

static unsigned af_xdp_receive(struct io *io, unsigned port_index, struct io_frame *frames, unsigned n)
{
    struct af_xdp *state = io->state;
    struct af_xdp_port *port = &state->port[port_index];
    uint32_t index;
    unsigned got = xsk_ring_cons__peek(&port->rx, n, &index);
    if (!got) {
        if (state->settings.busy_poll || xsk_ring_prod__needs_wakeup(&port->fill)) {
            (void)recvfrom(port->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
            got = xsk_ring_cons__peek(&port->rx, n, &index);
        }
        if (!got) {
            /* Chunks that were under way when the fill ring was filled last must not
             * be forgotten. */
            for (unsigned i = 0; i < state->ports; i++) {
                reclaim(state, &state->port[i]);
            }
            af_xdp_fill(state, port);
            return 0;
        }
    }
    for (unsigned i = 0; i < got; i++) {
        const struct xdp_desc *descriptor = xsk_ring_cons__rx_desc(&port->rx, index + i);
        frames[i].handle = descriptor->addr;
        frames[i].data = state->area + descriptor->addr;
        frames[i].length = descriptor->len;
        frames[i].flow = 0;
        __builtin_prefetch(frames[i].data);
    }
    xsk_ring_cons__release(&port->rx, got);
    return got;
}

static void af_xdp_release(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    struct af_xdp *state = io->state;
    give_back(state, frames, n);
    af_xdp_fill(state, &state->port[port]);
}

static unsigned af_xdp_forward(struct io *io, unsigned from, unsigned to, struct io_frame *frames, unsigned n)
{
    struct af_xdp *state = io->state;
    unsigned sent = room_to_send(state, &state->port[to], n);
    put_to_send(&state->port[to], frames, sent);
    give_back(state, frames + sent, n - sent);
    af_xdp_fill(state, &state->port[from]);
    return sent;
}

static void af_xdp_wait(struct io *io, uint64_t timeout_ns)
{
    struct af_xdp *state = io->state;
    struct pollfd polled[IO_PORTS_MAX];
    for (unsigned i = 0; i < state->ports; i++) {
        polled[i] = (struct pollfd){.fd = state->port[i].fd, .events = POLLIN};
    }
    const struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000),
                                     .tv_nsec = (long)(timeout_ns % 1000000000)};
    (void)ppoll(polled, state->ports, &timeout, NULL);
}

#define AF_XDP_OPS                                                                                           \
    .engine = "af_xdp", .can_generate = true, .open = af_xdp_open, .close = af_xdp_close,                    \
    .proof = af_xdp_proof, .reserve = af_xdp_reserve, .commit = af_xdp_commit, .flush = af_xdp_flush,        \
    .receive = af_xdp_receive, .release = af_xdp_release, .forward = af_xdp_forward

const struct io_ops io_engine = {AF_XDP_OPS};
const struct io_ops af_xdp_sleeping_ops = {AF_XDP_OPS, .wait = af_xdp_wait};
