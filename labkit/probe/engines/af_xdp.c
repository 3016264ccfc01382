/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_XDP. One UMEM for all ports, so that a frame goes from a port to any port
 * without a copy of ours. A chunk is in exactly one place: the free stack, a
 * port's fill ring, its RX ring, with the core, or under way to be sent (TX
 * ring, kernel, completion ring). Each port may have `tx_ring` chunks under
 * way, so that sending can never starve receiving.
 */
#include "arguments.h"
#include "io.h"
#include "xdp_link.h"

#include "xsk.bpf.h" /* xsk_bpf_object: the redirect program, made by the build */

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_xdp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xdp/xsk.h>

#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* Linux 6.17; its absence is no error: then 32 frames a call */
#endif

#define CHUNK_SMALL 2048
#define CHUNK_LARGE 4096
#define RX_HEADROOM                                                                                          \
    256 /* XDP_PACKET_HEADROOM: what the kernel leaves before a received frame                               \
         */
#define SEND_BUFFER_BYTES                                                                                    \
    (64 << 20) /* frames in the kernel's hands count against it with their                                   \
                  overhead */
#define BUSY_POLL_US 20
#define QUEUE_MAX 63
#define BUSY_WAIT_MS 500
#define RETRY_MS 5
#define RING_MIN 64
#define RING_MAX 65536

enum bind_mode { BIND_AUTO, BIND_COPY, BIND_ZEROCOPY };
enum wait_mode { WAIT_SPIN, WAIT_POLL };

struct settings {
    unsigned bind;
    unsigned wait;
    enum xdp_attach attach;
    bool busy_poll;
    int busy_poll_budget;
    uint32_t rx_ring;
    uint32_t tx_ring;
    uint32_t tx_budget;
};

struct port {
    struct xsk_ring_cons rx;
    struct xsk_ring_prod tx;
    struct xsk_ring_prod fill;
    struct xsk_ring_cons completion;
    struct xsk_socket *socket;
    struct bpf_object *object;
    struct xdp_link link;
    int fd;
    uint32_t queue;
    bool zerocopy;         /* read back after the bind */
    uint32_t under_way;    /* chunks given to be sent that did not come back yet */
    uint64_t send_refused; /* sendto() failed for another reason than "not now" */
};

struct state {
    struct settings settings;
    struct xsk_umem *umem;
    uint8_t *area;
    size_t area_bytes;
    uint32_t chunk_bytes;
    unsigned ports;
    uint32_t free_count;
    uint64_t *free; /* stack: the chunk used last is the one in the cache */
    struct port port[IO_PORTS_MAX];
};

static const struct io_ops *ops_for(const struct settings *settings);

static uint64_t chunk_of(const struct state *state, uint64_t address)
{
    return address & ~(uint64_t)(state->chunk_bytes - 1);
}

static int read_ring(const json_t *options, const char *name, uint32_t *frames, struct error *err)
{
    int64_t value = *frames;

    if (arguments_integer(options, name, false, RING_MIN, RING_MAX, &value, err))
        return -1;
    if (value & (value - 1)) {
        error_set(err, "bad-argument", "%s: expected a power of two, got %lld", name, (long long)value);
        return -1;
    }
    *frames = (uint32_t)value;
    return 0;
}

static int read_settings(const json_t *options, struct settings *settings, struct error *err)
{
    static const char *const known[] = {
        "bind", "attach", "busy_poll", "busy_poll_budget", "wait", "rx_ring", "tx_ring", "tx_budget", NULL};
    static const char *const binds[] = {
        [BIND_AUTO] = "auto", [BIND_COPY] = "copy", [BIND_ZEROCOPY] = "zerocopy", NULL};
    static const char *const waits[] = {[WAIT_SPIN] = "spin", [WAIT_POLL] = "poll", NULL};
    int64_t busy_poll_budget = 64;
    int64_t tx_budget = 256;

    *settings = (struct settings){.rx_ring = 2048, .tx_ring = 1024};
    if (arguments_known(options, "options", known, err) ||
        xdp_choice(options, "bind", binds, &settings->bind, err) ||
        xdp_attach_option(options, &settings->attach, err) ||
        arguments_boolean(options, "busy_poll", &settings->busy_poll, err) ||
        arguments_integer(options, "busy_poll_budget", false, 1, UINT16_MAX, &busy_poll_budget, err) ||
        xdp_choice(options, "wait", waits, &settings->wait, err) ||
        read_ring(options, "rx_ring", &settings->rx_ring, err) ||
        read_ring(options, "tx_ring", &settings->tx_ring, err) ||
        arguments_integer(options, "tx_budget", false, 32, RING_MAX, &tx_budget, err))
        return -1;
    settings->busy_poll_budget = (int)busy_poll_budget;
    settings->tx_budget = (uint32_t)tx_budget;
    if (settings->tx_budget > settings->tx_ring)
        settings->tx_budget = settings->tx_ring;
    return 0;
}

static int create_umem(struct state *state, struct error *err)
{
    uint32_t per_port = 2 * state->settings.rx_ring + state->settings.tx_ring; /* fill and RX ring, TX */
    uint32_t chunks = state->ports * per_port + IO_BURST_MAX;
    state->area_bytes = (size_t)chunks * state->chunk_bytes;
    void *area = mmap(NULL, state->area_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    state->free = calloc(chunks, sizeof(*state->free));
    if (area == MAP_FAILED || !state->free) {
        error_set(err, "refused", "mmap of %zu bytes of UMEM: %s", state->area_bytes, strerror(errno));
        return -1;
    }
    state->area = area;
    for (uint32_t i = 0; i < chunks; i++) {
        state->free[state->free_count++] = (uint64_t)(chunks - 1 - i) * state->chunk_bytes;
    }
    const struct xsk_umem_config config = {
        .fill_size = state->settings.rx_ring,
        .comp_size = state->settings.tx_ring,
        .frame_size = state->chunk_bytes,
    };
    int failed = xsk_umem__create(&state->umem, area, state->area_bytes, &state->port[0].fill,
                                  &state->port[0].completion, &config);
    if (failed) {
        const char *meaning = "";
        if (failed == -ENOBUFS || failed == -ENOMEM) {
            meaning = ": too little lockable memory; raise `ulimit -l` (memlock) or "
                      "give CAP_IPC_LOCK";
        } else if (failed == -EPERM) {
            meaning = ": AF_XDP sockets need root or CAP_NET_RAW";
        } else if (failed == -EAFNOSUPPORT) {
            meaning = ": this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)";
        }
        error_set(err, "refused", "AF_XDP UMEM of %zu bytes: %s%s", state->area_bytes, strerror(-failed),
                  meaning);
        return -1;
    }
    return 0;
}

static int set_busy_poll(const struct state *state, struct port *port, const char *name, struct error *err)
{
    const struct {
        int option;
        int value;
        const char *name;
    } wanted[] = {
        {SO_PREFER_BUSY_POLL, 1, "SO_PREFER_BUSY_POLL"},
        {SO_BUSY_POLL, BUSY_POLL_US, "SO_BUSY_POLL"},
        {SO_BUSY_POLL_BUDGET, state->settings.busy_poll_budget, "SO_BUSY_POLL_BUDGET"},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        if (setsockopt(port->fd, SOL_SOCKET, wanted[i].option, &wanted[i].value, sizeof(int))) {
            error_set(err, "refused", "setsockopt(%s, %d) on the AF_XDP socket of %s: %s%s", wanted[i].name,
                      wanted[i].value, name, strerror(errno),
                      errno == EPERM ? ": busy polling needs root or CAP_NET_ADMIN" : "");
            return -1;
        }
    }
    return 0;
}

static const char *bind_meaning(int code, const struct settings *settings)
{
    switch (code) {
    case EBUSY:
        return ": another AF_XDP socket has this queue";
    case EOPNOTSUPP:
        return settings->bind == BIND_ZEROCOPY ? ": this driver has no zero-copy; use bind copy or auto"
                                               : ": the driver does not support it";
    case EINVAL:
        return ": no such queue on this interface";
    case ENOBUFS:
    case ENOMEM:
        return ": too little lockable memory; raise `ulimit -l` (memlock) or give "
               "CAP_IPC_LOCK";
    case EPERM:
        return ": AF_XDP sockets need root or CAP_NET_RAW";
    default:
        return "";
    }
}

static int open_socket(struct state *state, struct port *port, const struct io_port *description,
                       struct error *err)
{
    const struct settings *settings = &state->settings;
    struct xsk_socket_config config = {
        .rx_size = settings->rx_ring,
        .tx_size = settings->tx_ring,
        .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
        .bind_flags = XDP_USE_NEED_WAKEUP,
    };
    if (settings->bind == BIND_COPY) {
        config.bind_flags |= XDP_COPY;
    } else if (settings->bind == BIND_ZEROCOPY) {
        config.bind_flags |= XDP_ZEROCOPY;
    }
    /* The kernel lets go of a closed socket's queue a little later, from a work
     * queue: a busy one is asked again. */
    int failed;
    for (unsigned waited_ms = 0;; waited_ms += RETRY_MS) {
        failed = xsk_socket__create_shared(&port->socket, description->name, port->queue, state->umem,
                                           &port->rx, &port->tx, &port->fill, &port->completion, &config);
        if (failed != -EBUSY || waited_ms >= BUSY_WAIT_MS) {
            break;
        }
        (void)poll(NULL, 0, RETRY_MS);
    }
    if (failed) {
        port->socket = NULL;
        error_set(err, "refused", "bind of an AF_XDP socket to %s queue %u: %s%s", description->name,
                  port->queue, strerror(-failed), bind_meaning(-failed, settings));
        return -1;
    }
    port->fd = xsk_socket__fd(port->socket);
    int bytes = SEND_BUFFER_BYTES;
    if (setsockopt(port->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes))) {
        /* Without CAP_NET_ADMIN: then fewer frames can be in the kernel's hands at
         * once. */
        (void)setsockopt(port->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    }
    (void)setsockopt(port->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &settings->tx_budget,
                     sizeof(settings->tx_budget));
    struct xdp_options bound = {0};
    socklen_t length = sizeof(bound);
    if (getsockopt(port->fd, SOL_XDP, XDP_OPTIONS, &bound, &length)) {
        error_set(err, "refused", "getsockopt(XDP_OPTIONS) of %s: %s", description->name, strerror(errno));
        return -1;
    }
    port->zerocopy = bound.flags & XDP_OPTIONS_ZEROCOPY;
    return settings->busy_poll ? set_busy_poll(state, port, description->name, err) : 0;
}

/* Give the kernel chunks to receive into. */
static void fill(struct state *state, struct port *port)
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

static int open_port(struct state *state, unsigned i, const struct io_port *description, int ifindex,
                     struct error *err)
{
    struct port *port = &state->port[i];
    port->object = xdp_object_load("labkit_xsk", xsk_bpf_object, sizeof(xsk_bpf_object), err);
    if (!port->object) {
        return -1;
    }
    int program = bpf_program__fd(bpf_object__find_program_by_name(port->object, "labkit_xsk"));
    if (xdp_link_attach(&port->link, description, ifindex, program, state->settings.attach, err) ||
        open_socket(state, port, description, err)) {
        return -1;
    }
    /* Chunks first, then traffic. The fill ring takes what is set aside for it
     * and no more. */
    fill(state, port);
    int map = bpf_object__find_map_fd_by_name(port->object, "xsks");
    if (bpf_map_update_elem(map, &port->queue, &port->fd, BPF_ANY)) {
        error_set(err, "refused", "bpf(BPF_MAP_UPDATE_ELEM) of the AF_XDP socket of %s: %s",
                  description->name, strerror(errno));
        return -1;
    }
    return 0;
}

static void af_xdp_close(struct io *io)
{
    struct state *state = io->state;
    for (unsigned i = 0; i < state->ports; i++) {
        struct port *port = &state->port[i];
        xdp_link_close(&port->link);
        if (port->socket) {
            xsk_socket__delete(port->socket);
        }
        bpf_object__close(port->object);
    }
    if (state->umem) {
        (void)xsk_umem__delete(state->umem);
    }
    if (state->area) {
        munmap(state->area, state->area_bytes);
    }
    free(state->free);
    free(state);
    io->state = NULL;
}

static int af_xdp_open(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err)
{
    (void)core;
    static const char *const known[] = {"interface", "queue", NULL};
    struct state *state = calloc(1, sizeof(*state));
    if (!state) {
        error_set(err, "refused", "out of memory");
        return -1;
    }
    io->state = state;
    io->port_count = state->ports = (unsigned)json_array_size(ports);
    for (unsigned i = 0; i < IO_PORTS_MAX; i++) {
        state->port[i].link.fd = -1;
    }
    int ifindex[IO_PORTS_MAX] = {0};
    if (read_settings(options, &state->settings, err)) {
        goto fail;
    }
    io->ops = ops_for(&state->settings);
    state->chunk_bytes = CHUNK_SMALL;
    for (unsigned i = 0; i < state->ports; i++) {
        const json_t *port = json_array_get(ports, i);
        int64_t queue = 0;

        if (arguments_known(port, "a port", known, err) ||
            arguments_integer(port, "queue", false, 0, QUEUE_MAX, &queue, err) ||
            xdp_port_read(port, &io->port[i], &ifindex[i], err)) {
            goto fail;
        }
        state->port[i].queue = (uint32_t)queue;
        if (io->port[i].frame_max > CHUNK_SMALL - RX_HEADROOM) {
            state->chunk_bytes = CHUNK_LARGE;
        }
    }
    for (unsigned i = 0; i < state->ports; i++) {
        if (io->port[i].frame_max > state->chunk_bytes - RX_HEADROOM) {
            error_set(err, "refused", "interface %s: an MTU of %u is too large for AF_XDP (at most %u)",
                      io->port[i].name, io->port[i].mtu_bytes, CHUNK_LARGE - RX_HEADROOM - 14);
            goto fail;
        }
    }
    if (create_umem(state, err)) {
        goto fail;
    }
    for (unsigned i = 0; i < state->ports; i++) {
        if (open_port(state, i, &io->port[i], ifindex[i], err)) {
            goto fail;
        }
    }
    return 0;
fail:
    af_xdp_close(io);
    return -1;
}

static int read_int_option(int fd, int option)
{
    int value = -1;
    socklen_t length = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &length) ? -1 : value;
}

static json_t *statistics(const struct port *port)
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
    const struct state *state = io->state;
    json_t *ports = json_array();
    for (unsigned i = 0; i < state->ports; i++) {
        const struct port *port = &state->port[i];
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
static void reclaim(struct state *state, struct port *port)
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

static uint32_t room_to_send(struct state *state, struct port *port, uint32_t n)
{
    if (port->under_way + n > state->settings.tx_ring) {
        reclaim(state, port);
    }
    uint32_t room = state->settings.tx_ring - port->under_way;
    return n < room ? n : room;
}

static void put_to_send(struct port *port, const struct io_frame *frames, uint32_t n)
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

static void give_back(struct state *state, const struct io_frame *frames, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        state->free[state->free_count++] = chunk_of(state, frames[i].handle);
    }
}

static unsigned af_xdp_reserve(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    struct state *state = io->state;
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
    struct state *state = io->state;
    put_to_send(&state->port[port], frames, n);
    give_back(state, frames + n, reserved - n);
    return n;
}

/* The kernel sends only when called, and (copy mode) a budget of frames a call.
 */
static void af_xdp_flush(struct io *io, unsigned port_index)
{
    struct state *state = io->state;
    struct port *port = &state->port[port_index];
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
    struct state *state = io->state;
    struct port *port = &state->port[port_index];
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
            fill(state, port);
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
    struct state *state = io->state;
    give_back(state, frames, n);
    fill(state, &state->port[port]);
}

static unsigned af_xdp_forward(struct io *io, unsigned from, unsigned to, struct io_frame *frames, unsigned n)
{
    struct state *state = io->state;
    unsigned sent = room_to_send(state, &state->port[to], n);
    put_to_send(&state->port[to], frames, sent);
    give_back(state, frames + sent, n - sent);
    fill(state, &state->port[from]);
    return sent;
}

static void af_xdp_wait(struct io *io, uint64_t timeout_ns)
{
    struct state *state = io->state;
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
static const struct io_ops sleeping = {AF_XDP_OPS, .wait = af_xdp_wait};

static const struct io_ops *ops_for(const struct settings *settings)
{
    return settings->wait == WAIT_POLL ? &sleeping : &io_engine;
}
