/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DPDK: any port that the EAL has a driver for. Ports are probed one by one after the EAL is up, so that an
 * error names its port. Frames are mbufs; a reflected one goes back out as it came in, without a copy of
 * ours.
 */
#include "arguments.h"
#include "dpdk_eal.h"
#include "io.h"

#include <errno.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_eth_vhost.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MBUF_CACHE 512
#define MBUFS_EXTRA 4096 /* what drivers hold beyond their descriptors */
#define LINK_WAIT_MS 5000
#define CONNECT_MS 100

struct port {
    uint16_t id;
    bool pci;
    int64_t mtu_bytes; /* 0: the port's own */
    bool probed;
    bool started;
    char devargs[256];
};

struct dpdk {
    struct rte_mempool *pool;
    unsigned ports;
    int64_t descriptors;
    struct port port[IO_PORTS_MAX];
};

/* The value of `vdev` or `pci`: exactly one of them. */
static const char *read_port(const json_t *description, struct port *port, struct error *err)
{
    static const char *const known[] = {"vdev", "pci", "mtu_bytes", "interface", NULL};
    const char *vdev = NULL;
    const char *address = NULL;

    if (json_object_get(description, "interface")) {
        error_set(err, "bad-argument",
                  "interface: the dpdk engine takes interfaces through a vdev, such as "
                  "\"net_af_packet0,iface=NAME\"");
        return NULL;
    }
    if (arguments_known(description, "a port", known, err) ||
        arguments_string(description, "vdev", false, &vdev, err) ||
        arguments_string(description, "pci", false, &address, err) ||
        arguments_integer(description, "mtu_bytes", false, RTE_ETHER_MIN_MTU, UINT16_MAX, &port->mtu_bytes,
                          err))
        return NULL;
    if ((vdev == NULL) == (address == NULL)) {
        error_set(err, "bad-argument", "vdev: expected either vdev or pci in every port");
        return NULL;
    }
    port->pci = address != NULL;
    return port->pci ? address : vdev;
}

static int probe_port(struct port *port, struct error *err)
{
    struct rte_dev_iterator iterator;
    uint16_t id;
    int failed = rte_dev_probe(port->devargs);

    if (failed) {
        error_set(err, "refused", "EAL probe of \"%s\": %s%s", port->devargs,
                  failed == -1 ? "failed" : strerror(-failed),
                  port->pci ? ": is it bound to vfio-pci?"
                            : ": see the EAL's log; a driver that is not there is in a package of its own "
                              "(librte-net-*)");
        return -1;
    }
    RTE_ETH_FOREACH_MATCHING_DEV(id, port->devargs, &iterator)
    {
        port->id = id;
        port->probed = true;
        rte_eth_iterator_cleanup(&iterator);
        return 0;
    }
    error_set(err, "refused", "EAL probe of \"%s\" made no Ethernet port", port->devargs);
    return -1;
}

static int refuse_port(const struct port *port, const char *call, int code, struct error *err)
{
    /* Some drivers return -1 for whatever it was; strerror would call it a lack of rights. */
    const char *meaning =
        code == -1 ? "see the EAL's log (a memif client needs its server first)" : strerror(-code);

    error_set(err, "refused", "%s of \"%s\": %s", call, port->devargs, meaning);
    return -1;
}

/* One queue each way, at the port's own MTU or the one asked for, everything received (the frames are for
 * whoever the template says).
 */
static int start_port(struct dpdk *dpdk, struct port *port, struct error *err)
{
    struct rte_eth_conf config = {0};
    struct rte_eth_dev_info info;
    uint16_t rx = (uint16_t)dpdk->descriptors;
    uint16_t tx = (uint16_t)dpdk->descriptors;
    int failed = rte_eth_dev_info_get(port->id, &info);

    if (failed)
        return refuse_port(port, "rte_eth_dev_info_get", failed, err);
    config.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
    failed = rte_eth_dev_configure(port->id, 1, 1, &config);
    if (failed)
        return refuse_port(port, "rte_eth_dev_configure", failed, err);
    if (port->mtu_bytes) {
        failed = rte_eth_dev_set_mtu(port->id, (uint16_t)port->mtu_bytes);
        if (failed)
            return refuse_port(port, "rte_eth_dev_set_mtu", failed, err);
    }
    failed = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx, &tx);
    if (failed)
        return refuse_port(port, "rte_eth_dev_adjust_nb_rx_tx_desc", failed, err);
    failed =
        rte_eth_rx_queue_setup(port->id, 0, rx, (unsigned)rte_eth_dev_socket_id(port->id), NULL, dpdk->pool);
    if (failed)
        return refuse_port(port, "rte_eth_rx_queue_setup", failed, err);
    failed = rte_eth_tx_queue_setup(port->id, 0, tx, (unsigned)rte_eth_dev_socket_id(port->id), NULL);
    if (failed)
        return refuse_port(port, "rte_eth_tx_queue_setup", failed, err);
    failed = rte_eth_dev_start(port->id);
    if (failed)
        return refuse_port(port, "rte_eth_dev_start", failed, err);
    port->started = true;
    (void)rte_eth_promiscuous_enable(port->id); /* not every driver knows it: those take everything anyway */
    return 0;
}

/* A port of shared memory passes whatever fits into a buffer, whatever MTU its driver reports. */
static bool in_memory(const struct port *port)
{
    static const char *const drivers[] = {"net_memif", "net_vhost", "net_virtio_user"};

    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
        if (strncmp(port->devargs, drivers[i], strlen(drivers[i])) == 0)
            return true;
    return false;
}

static void describe_port(const struct dpdk *dpdk, const struct port *port, struct io_port *out)
{
    uint16_t mtu = RTE_ETHER_MTU;
    struct rte_ether_addr mac;
    uint32_t room = rte_pktmbuf_data_room_size(dpdk->pool) - RTE_PKTMBUF_HEADROOM;

    (void)rte_eth_dev_get_name_by_port(port->id, out->name);
    (void)rte_eth_dev_get_mtu(port->id, &mtu);
    out->mtu_bytes = mtu;
    out->frame_max = in_memory(port) ? room : (uint32_t)mtu + RTE_ETHER_HDR_LEN;
    if (out->frame_max > room)
        out->frame_max = room;
    out->has_mac = rte_eth_macaddr_get(port->id, &mac) == 0;
    if (out->has_mac)
        memcpy(out->mac, mac.addr_bytes, sizeof(out->mac));
}

static void dpdk_close(struct io *io)
{
    struct dpdk *dpdk = io->state;

    for (unsigned i = 0; i < dpdk->ports; i++) {
        struct port *port = &dpdk->port[i];

        if (port->started)
            (void)rte_eth_dev_stop(port->id);
        if (port->probed)
            (void)rte_eth_dev_close(port->id);
    }
    rte_mempool_free(dpdk->pool);
    free(dpdk);
    io->state = NULL;
}

static int open_ports(struct io *io, struct dpdk *dpdk, struct error *err)
{
    unsigned mbufs = dpdk->ports * 2U * (unsigned)dpdk->descriptors + MBUFS_EXTRA;

    dpdk->pool =
        rte_pktmbuf_pool_create("labkit", mbufs, MBUF_CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (dpdk->pool == NULL) {
        error_set(err, "refused", "rte_pktmbuf_pool_create of %u mbufs: %s: too little EAL memory", mbufs,
                  rte_strerror(rte_errno));
        return -1;
    }
    for (unsigned i = 0; i < dpdk->ports; i++) {
        if (probe_port(&dpdk->port[i], err) || start_port(dpdk, &dpdk->port[i], err))
            return -1;
        describe_port(dpdk, &dpdk->port[i], &io->port[i]);
    }
    return 0;
}

static int dpdk_open(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err)
{
    static const char *const known[] = {"eal", "huge", "descriptors", "memory_mb", NULL};
    struct dpdk *dpdk = calloc(1, sizeof(*dpdk));
    struct dpdk_eal eal = {
        .core = core, .huge = true, .memory_mb = 128, .extra = json_object_get(options, "eal")};

    if (dpdk == NULL) {
        error_set(err, "refused", "out of memory");
        return -1;
    }
    io->state = dpdk;
    io->port_count = dpdk->ports = (unsigned)json_array_size(ports);
    dpdk->descriptors = 1024;
    if (arguments_known(options, "options", known, err) ||
        arguments_boolean(options, "huge", &eal.huge, err) ||
        arguments_integer(options, "memory_mb", false, 32, 65536, &eal.memory_mb, err) ||
        arguments_integer(options, "descriptors", false, 64, 32768, &dpdk->descriptors, err))
        goto fail;
    for (unsigned i = 0; i < dpdk->ports; i++) {
        const char *devargs = read_port(json_array_get(ports, i), &dpdk->port[i], err);

        if (devargs == NULL)
            goto fail;
        if (strlen(devargs) >= sizeof(dpdk->port[i].devargs)) {
            error_set(err, "bad-argument", "vdev: expected at most %zu characters",
                      sizeof(dpdk->port[i].devargs) - 1);
            goto fail;
        }
        (void)snprintf(dpdk->port[i].devargs, sizeof(dpdk->port[i].devargs), "%s", devargs);
        eal.pci = eal.pci || dpdk->port[i].pci;
    }
    {
        /* The EAL and its drivers print to stdout when they like; that is where our answers go. */
        int kept = dpdk_stdout_to_stderr();
        int failed = dpdk_eal_start(&eal, err) || open_ports(io, dpdk, err);

        dpdk_stdout_back(kept);
        if (failed)
            goto fail;
    }
    return 0;
fail:
    dpdk_close(io);
    return -1;
}

static bool link_is_up(const struct port *port)
{
    struct rte_eth_link link = {0};

    return rte_eth_link_get_nowait(port->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

/* A memif client connects when its port starts, and does not connect again to a server that was restarted. */
static void connect_again(const struct port *port)
{
    struct rte_eth_dev_info info;

    if (rte_eth_dev_info_get(port->id, &info) || strcmp(info.driver_name, "net_memif") != 0)
        return;
    (void)rte_eth_dev_stop(port->id);
    (void)rte_eth_dev_start(port->id);
}

/* A generator needs the other end. (A reflector may be first.) */
static int dpdk_prepare(struct io *io, const struct frame_set *frames, struct error *err)
{
    struct dpdk *dpdk = io->state;

    if (frames == NULL)
        return 0;
    for (unsigned i = 0; i < dpdk->ports; i++) {
        const struct port *port = &dpdk->port[i];

        for (unsigned waited_ms = 0; !link_is_up(port); waited_ms++) {
            if (waited_ms >= LINK_WAIT_MS) {
                error_set(err, "refused", "port \"%s\" has no link after %d ms: is the other end there?",
                          port->devargs, LINK_WAIT_MS);
                return -1;
            }
            if (waited_ms % CONNECT_MS == CONNECT_MS - 1)
                connect_again(port);
            (void)usleep(1000);
        }
    }
    return 0;
}

static void add_vhost_features(json_t *proof, const struct port *port)
{
    uint64_t features = 0;
    int vid = rte_eth_vhost_get_vid_from_port_id(port->id);

    if (vid < 0 || rte_vhost_get_negotiated_features(vid, &features))
        return; /* not connected yet */
    char text[24];
    (void)snprintf(text, sizeof(text), "%#llx", (unsigned long long)features);
    (void)json_object_set_new(proof, "negotiated_features", json_string(text));
}

/* By the names that the kernel gives to the same counters of an interface. */
static void add_counters(json_t *proof, const struct port *port)
{
    struct rte_eth_stats stats;

    if (rte_eth_stats_get(port->id, &stats))
        return;
    (void)json_object_set_new(proof, "counters",
                              json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "rx_packets",
                                        (json_int_t)stats.ipackets, "tx_packets", (json_int_t)stats.opackets,
                                        "rx_missed_errors", (json_int_t)stats.imissed, "rx_errors",
                                        (json_int_t)stats.ierrors, "tx_errors", (json_int_t)stats.oerrors,
                                        "rx_no_buffer", (json_int_t)stats.rx_nombuf));
}

static void add_link(json_t *proof, const struct port *port)
{
    struct rte_eth_link link = {0};

    if (rte_eth_link_get_nowait(port->id, &link) || link.link_status != RTE_ETH_LINK_UP)
        return;
    if (link.link_speed != RTE_ETH_SPEED_NUM_NONE && link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN)
        (void)json_object_set_new(proof, "speed_mbps", json_integer(link.link_speed));
    (void)json_object_set_new(proof, "duplex",
                              json_string(link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX ? "full" : "half"));
}

static json_t *port_proof(const struct port *port)
{
    struct rte_eth_dev_info info = {0};
    struct rte_eth_burst_mode mode = {0};
    json_t *proof = json_object();

    if (rte_eth_dev_info_get(port->id, &info))
        info = (struct rte_eth_dev_info){0}; /* what can't be read is not proven */
    (void)json_object_set_new(proof, "driver", json_string(info.driver_name ? info.driver_name : ""));
    const struct rte_devargs *devargs = info.device ? rte_dev_devargs(info.device) : NULL;
    (void)json_object_set_new(proof, "devargs", json_string(devargs && devargs->args ? devargs->args : ""));
    (void)json_object_set_new(proof, "device", json_string(info.device ? rte_dev_name(info.device) : ""));
    (void)json_object_set_new(proof, "link_up", json_boolean(link_is_up(port)));
    add_link(proof, port);
    if (port->pci)
        add_counters(proof, port);
    if (rte_eth_rx_burst_mode_get(port->id, 0, &mode) == 0)
        (void)json_object_set_new(proof, "rx_burst", json_string(mode.info));
    if (rte_eth_tx_burst_mode_get(port->id, 0, &mode) == 0)
        (void)json_object_set_new(proof, "tx_burst", json_string(mode.info));
    if (info.driver_name && strcmp(info.driver_name, "net_vhost") == 0)
        add_vhost_features(proof, port);
    return proof;
}

static json_t *dpdk_proof(struct io *io)
{
    struct dpdk *dpdk = io->state;
    json_t *proof = dpdk_eal_proof(dpdk->pool);
    json_t *ports = json_array();

    for (unsigned i = 0; i < dpdk->ports; i++)
        (void)json_array_append_new(ports, port_proof(&dpdk->port[i]));
    (void)json_object_set_new(proof, "ports", ports);
    return proof;
}

static inline struct rte_mbuf *mbuf_of(const struct io_frame *frame)
{
    return (struct rte_mbuf *)(uintptr_t)frame->handle;
}

static void free_frames(const struct io_frame *frames, unsigned n)
{
    struct rte_mbuf *mbufs[IO_BURST_MAX];

    for (unsigned i = 0; i < n; i++)
        mbufs[i] = mbuf_of(&frames[i]);
    rte_pktmbuf_free_bulk(mbufs, n);
}

static unsigned dpdk_reserve(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    struct dpdk *dpdk = io->state;
    struct rte_mbuf *mbufs[IO_BURST_MAX];

    (void)port;
    if (rte_pktmbuf_alloc_bulk(dpdk->pool, mbufs, n))
        return 0;
    for (unsigned i = 0; i < n; i++) {
        frames[i].handle = (uintptr_t)mbufs[i];
        frames[i].data = rte_pktmbuf_mtod(mbufs[i], uint8_t *);
    }
    return n;
}

static unsigned dpdk_commit(struct io *io, unsigned port, struct io_frame *frames, unsigned reserved,
                            unsigned n)
{
    struct dpdk *dpdk = io->state;
    struct rte_mbuf *mbufs[IO_BURST_MAX];
    unsigned sent;

    for (unsigned i = 0; i < n; i++) {
        mbufs[i] = mbuf_of(&frames[i]);
        mbufs[i]->data_len = (uint16_t)frames[i].length;
        mbufs[i]->pkt_len = frames[i].length;
    }
    sent = n ? rte_eth_tx_burst(dpdk->port[port].id, 0, mbufs, (uint16_t)n) : 0;
    if (sent < reserved)
        free_frames(frames + sent, reserved - sent);
    return sent;
}

/* Frames of one piece only: one in several mbufs is larger than the link's MTU and no test traffic. */
static unsigned take(struct rte_mbuf **mbufs, unsigned n, struct io_frame *frames)
{
    unsigned taken = 0;

    for (unsigned i = 0; i < n; i++) {
        if (mbufs[i]->nb_segs != 1) {
            rte_pktmbuf_free(mbufs[i]);
            continue;
        }
        frames[taken] = (struct io_frame){.data = rte_pktmbuf_mtod(mbufs[i], uint8_t *),
                                          .length = mbufs[i]->data_len,
                                          .handle = (uintptr_t)mbufs[i]};
        rte_prefetch0(frames[taken].data);
        taken++;
    }
    return taken;
}

static unsigned dpdk_receive(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    struct dpdk *dpdk = io->state;
    struct rte_mbuf *mbufs[IO_BURST_MAX];
    unsigned got = rte_eth_rx_burst(dpdk->port[port].id, 0, mbufs, (uint16_t)n);

    return take(mbufs, got, frames);
}

static void dpdk_release(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    (void)io;
    (void)port;
    free_frames(frames, n);
}

static unsigned dpdk_forward(struct io *io, unsigned from, unsigned to, struct io_frame *frames, unsigned n)
{
    struct dpdk *dpdk = io->state;
    struct rte_mbuf *mbufs[IO_BURST_MAX];
    unsigned sent;

    (void)from;
    for (unsigned i = 0; i < n; i++)
        mbufs[i] = mbuf_of(&frames[i]);
    sent = rte_eth_tx_burst(dpdk->port[to].id, 0, mbufs, (uint16_t)n);
    if (sent < n)
        rte_pktmbuf_free_bulk(mbufs + sent, n - sent);
    return sent;
}

const struct io_ops io_engine = {
    .engine = "dpdk",
    .can_generate = true,
    .open = dpdk_open,
    .close = dpdk_close,
    .proof = dpdk_proof,
    .prepare = dpdk_prepare,
    .reserve = dpdk_reserve,
    .commit = dpdk_commit,
    .receive = dpdk_receive,
    .release = dpdk_release,
    .forward = dpdk_forward,
};
