/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel says of TCP connections: counts, times, and whether its own sockets carry them. */
#include "tcp_engine.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define INODES_MAX 64U

/* By name, in the order of PROTOCOL.md. */
static const struct {
    const char *name;
    size_t offset;
} names[] = {
#define FIGURE(name)                                                                                         \
    {                                                                                                        \
#name, offsetof(struct tcp_figures, name)                                                            \
    }
    FIGURE(segments_out),   FIGURE(segments_in),         FIGURE(retransmitted_segments),
    FIGURE(bytes_sent),     FIGURE(bytes_retransmitted), FIGURE(bytes_acked),
    FIGURE(bytes_received), FIGURE(reordering_seen),     FIGURE(out_of_order_segments),
    FIGURE(busy_us),        FIGURE(receiver_limited_us), FIGURE(send_buffer_limited_us),
#undef FIGURE
};
#define NAMES (sizeof(names) / sizeof(names[0]))

static uint64_t *figure(struct tcp_figures *figures, unsigned i)
{
    return (uint64_t *)(void *)((char *)figures + names[i].offset);
}

/* What a kernel does not know of stays 0: it fills in less. */
static bool read_info(int fd, struct tcp_info *info)
{
    socklen_t length = sizeof(*info);

    memset(info, 0, sizeof(*info));
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) == 0;
}

void tcp_add_figures(struct tcp_figures *sum, int fd)
{
    struct tcp_info info;

    if (!read_info(fd, &info))
        return;
    sum->segments_out += info.tcpi_segs_out;
    sum->segments_in += info.tcpi_segs_in;
    sum->retransmitted_segments += info.tcpi_total_retrans;
    sum->bytes_sent += info.tcpi_bytes_sent;
    sum->bytes_retransmitted += info.tcpi_bytes_retrans;
    sum->bytes_acked += info.tcpi_bytes_acked;
    sum->bytes_received += info.tcpi_bytes_received;
    sum->reordering_seen += info.tcpi_reord_seen;
    sum->out_of_order_segments += info.tcpi_rcv_ooopack;
    sum->busy_us += info.tcpi_busy_time;
    sum->receiver_limited_us += info.tcpi_rwnd_limited;
    sum->send_buffer_limited_us += info.tcpi_sndbuf_limited;
}

struct tcp_figures tcp_totals(const struct tcp_engine *state)
{
    struct tcp_figures sum = state->closed;

    for (uint32_t i = 0; i < state->slots; i++)
        if (state->connections[i].fd >= 0)
            tcp_add_figures(&sum, state->connections[i].fd);
    return sum;
}

/* Of the connections that are open: the smoothed round trip of the slowest, the shortest seen of all, and the
 * rate at which the other ends took in what was sent, together. */
static void put_estimates(json_t *object, const struct tcp_engine *state)
{
    uint32_t smoothed_us = 0;
    uint32_t shortest_us = UINT32_MAX;
    uint64_t delivered = 0;

    for (uint32_t i = 0; i < state->slots; i++) {
        struct tcp_info info;

        if (state->connections[i].fd < 0 || !read_info(state->connections[i].fd, &info))
            continue;
        smoothed_us = info.tcpi_rtt > smoothed_us ? info.tcpi_rtt : smoothed_us;
        if (info.tcpi_min_rtt > 0 && info.tcpi_min_rtt < shortest_us)
            shortest_us = info.tcpi_min_rtt;
        delivered += info.tcpi_delivery_rate;
    }
    (void)json_object_set_new(object, "smoothed_rtt_us", json_integer(smoothed_us));
    (void)json_object_set_new(object, "shortest_rtt_us",
                              shortest_us == UINT32_MAX ? json_null() : json_integer(shortest_us));
    (void)json_object_set_new(object, "delivery_bytes_per_s", json_integer((json_int_t)delivered));
}

/* A generator's connections: what was written into that with least and that with most, since the trial began.
 */
static void put_shares(json_t *object, const struct tcp_engine *state)
{
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;

    for (uint32_t i = 0; i < state->wanted; i++) {
        uint64_t bytes = state->connections[i].written_bytes;

        if (state->connections[i].fd < 0)
            continue;
        least = bytes < least ? bytes : least;
        most = bytes > most ? bytes : most;
    }
    (void)json_object_set_new(object, "least_written_bytes",
                              least == UINT64_MAX ? json_null() : json_integer((json_int_t)least));
    (void)json_object_set_new(object, "most_written_bytes",
                              least == UINT64_MAX ? json_null() : json_integer((json_int_t)most));
}

json_t *tcp_transport(struct io *io)
{
    struct tcp_engine *state = io->state;
    json_t *object = json_object();
    struct tcp_figures now;

    (void)pthread_mutex_lock(&state->table);
    now = tcp_totals(state);
    (void)json_object_set_new(object, "connections", json_integer(state->count));
    (void)json_object_set_new(object, "opened", json_integer((json_int_t)state->opened));
    for (unsigned i = 0; i < NAMES; i++) {
        uint64_t since = *figure(&now, i) - *figure(&state->begun, i);

        (void)json_object_set_new(object, names[i].name, json_integer((json_int_t)since));
    }
    put_estimates(object, state);
    put_shares(object, state);
    (void)pthread_mutex_unlock(&state->table);
    return object;
}

/* What /proc says a descriptor is: the word before the colon, "socket" for one of the kernel's own. A library
 * that takes sockets over has other words there. */
static void describe_descriptor(int fd, char word[static 32], json_int_t *inode)
{
    char path[64];
    char link[128];
    ssize_t length;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    length = readlink(path, link, sizeof(link) - 1);
    link[length > 0 ? length : 0] = '\0';
    *inode = 0;
    if (strncmp(link, "socket:[", 8) == 0)
        *inode = strtoll(link + 8, NULL, 10);
    link[strcspn(link, ":")] = '\0';
    (void)snprintf(word, 32, "%.31s", link[0] != '\0' ? link : "unknown");
}

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t length = sizeof(value);

    (void)getsockopt(fd, level, name, &value, &length);
    return value;
}

static void put_connection(json_t *kinds, json_t *inodes, int fd, unsigned *established, unsigned *no_delay)
{
    struct tcp_info info;
    char word[32];
    json_int_t inode;

    describe_descriptor(fd, word, &inode);
    (void)json_object_set_new(kinds, word,
                              json_integer(json_integer_value(json_object_get(kinds, word)) + 1));
    if (inode > 0 && json_array_size(inodes) < INODES_MAX)
        (void)json_array_append_new(inodes, json_integer(inode));
    *established += read_info(fd, &info) && info.tcpi_state == 1 /* TCP_ESTABLISHED */;
    *no_delay += option(fd, IPPROTO_TCP, TCP_NODELAY) != 0;
}

json_t *tcp_proof(struct io *io)
{
    struct tcp_engine *state = io->state;
    json_t *kinds = json_object();
    json_t *inodes = json_array();
    unsigned established = 0;
    unsigned no_delay = 0;
    int one = state->listener;
    char congestion[32] = "";
    socklen_t length = sizeof(congestion) - 1;
    json_t *proof;

    (void)pthread_mutex_lock(&state->table);
    for (uint32_t i = 0; i < state->slots; i++) {
        if (state->connections[i].fd < 0)
            continue;
        one = state->connections[i].fd;
        put_connection(kinds, inodes, one, &established, &no_delay);
    }
    (void)getsockopt(one, IPPROTO_TCP, TCP_CONGESTION, congestion, &length);
    proof =
        json_pack("{s:s, s:o, s:o, s:i, s:i, s:i, s:s, s:{s:i, s:i, s:i}, s:s}", "datapath", "TCP",
                  "descriptors", kinds, "inodes", inodes, "connections", (int)state->count, "established",
                  (int)established, "no_delay", (int)no_delay, "congestion_control", congestion, "socket",
                  "receive_buffer_bytes", option(one, SOL_SOCKET, SO_RCVBUF), "send_buffer_bytes",
                  option(one, SOL_SOCKET, SO_SNDBUF), "busy_poll_us", option(one, SOL_SOCKET, SO_BUSY_POLL),
                  "wait", io->ops == &tcp_blocking_ops ? "block" : "spin");
    (void)pthread_mutex_unlock(&state->table);
    if (proof != NULL)
        (void)json_object_set_new(proof, "transport", tcp_transport(io));
    return proof;
}
