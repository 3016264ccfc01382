/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing the engine `af_xdp`: options, UMEM, sockets and the program that redirects to them. */
#include "af_xdp.h"
#include "arguments.h"

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

static int read_settings(const json_t *options, struct af_xdp_settings *settings, struct error *err)
{
    static const char *const known[] = {
        "bind", "attach", "busy_poll", "busy_poll_budget", "wait", "rx_ring", "tx_ring", "tx_budget", NULL};
    static const char *const binds[] = {
        [BIND_AUTO] = "auto", [BIND_COPY] = "copy", [BIND_ZEROCOPY] = "zerocopy", NULL};
    static const char *const waits[] = {[WAIT_SPIN] = "spin", [WAIT_POLL] = "poll", NULL};
    int64_t busy_poll_budget = 64;
    int64_t tx_budget = 256;

    *settings = (struct af_xdp_settings){.rx_ring = 2048, .tx_ring = 1024};
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

static int create_umem(struct af_xdp *state, struct error *err)
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

static int set_busy_poll(const struct af_xdp *state, struct af_xdp_port *port, const char *name,
                         struct error *err)
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

static const char *bind_meaning(int code, const struct af_xdp_settings *settings)
{
    switch (code) {
    case EBUSY:
        return ": another AF_XDP socket has this queue";
    case EOPNOTSUPP:
        return settings->bind == BIND_ZEROCOPY ? ": this driver has no zero-copy; use bind copy or auto"
                                               : ": the driver does not support it";
    case EINVAL:
        /* virtio-net's answer where its device does not use the DMA API (QEMU: iommu_platform=on), Linux 7.3.
         */
        return settings->bind == BIND_ZEROCOPY ? ": no such queue on this interface, or no zero-copy on this "
                                                 "device; use bind copy or auto"
                                               : ": no such queue on this interface";
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

static int open_socket(struct af_xdp *state, struct af_xdp_port *port, const struct io_port *description,
                       struct error *err)
{
    const struct af_xdp_settings *settings = &state->settings;
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

static int open_port(struct af_xdp *state, unsigned i, const struct io_port *description, int ifindex,
                     struct error *err)
{
    struct af_xdp_port *port = &state->port[i];
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
    af_xdp_fill(state, port);
    int map = bpf_object__find_map_fd_by_name(port->object, "xsks");
    if (bpf_map_update_elem(map, &port->queue, &port->fd, BPF_ANY)) {
        error_set(err, "refused", "bpf(BPF_MAP_UPDATE_ELEM) of the AF_XDP socket of %s: %s",
                  description->name, strerror(errno));
        return -1;
    }
    return 0;
}

void af_xdp_close(struct io *io)
{
    struct af_xdp *state = io->state;
    for (unsigned i = 0; i < state->ports; i++) {
        struct af_xdp_port *port = &state->port[i];
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

int af_xdp_open(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err)
{
    (void)core;
    static const char *const known[] = {"interface", "queue", NULL};
    struct af_xdp *state = calloc(1, sizeof(*state));
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
    io->ops = state->settings.wait == WAIT_POLL ? &af_xdp_sleeping_ops : &io_engine;
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
