/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seam between the probe's core and an I/O engine: bursts of frames in, bursts of frames out.
 * All calls come from the worker thread. The core keeps no pointer into a frame
 * after it was given back.
 */
#ifndef LABKIT_IO_H
#define LABKIT_IO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IO_BURST_MAX 64
#define IO_PORTS_MAX 2
#define IO_FRAME_MAX                                                                                         \
    9216 /* largest frame in the buffer, without FCS; an engine may offer less: io_port.frame_max */

struct error {
    char code[24];
    char message[488];
};
void error_set(struct error *err, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct io_frame {
    uint8_t *data;
    uint32_t length; /* bytes in the buffer, without FCS */
    uint32_t flow; /* generator: flow index (payload-only engines pick their socket by it); receiver: free */
    uint64_t handle; /* the engine's own */
};

struct io_port {
    char name[64];
    uint32_t mtu_bytes;
    uint32_t frame_max; /* largest frame it takes, without FCS */
    uint8_t mac[6];
    bool has_mac;
};

/* What a generator is about to send; an engine may prepare for it (sockets, UMEM fill). */
struct frame_set;
struct generate_arguments;
struct role;
struct trial;

struct io {
    const struct io_ops *ops;
    unsigned port_count;
    struct io_port port[IO_PORTS_MAX];
    bool payload_only; /* frames hold the UDP payload alone: the kernel makes the headers */
    bool stream;       /* and are messages in a byte stream: see message.h */
    struct error lost; /* why the trial that runs has no result; an empty code: it has one */
    void *state;
};

struct io_ops {
    const char *engine;
    bool can_generate;

    /* Called on the worker thread, already pinned. Options and ports were checked for type, not for content.
     * Returns 0, or -1 with err set and nothing left open. */
    int (*open)(struct io *io, const json_t *ports, const json_t *options, int core, struct error *err);
    void (*close)(struct io *io);
    /* What can be proven of the mode, read back from kernel or EAL. New reference. It only reads: the control
     * thread calls it while the worker moves packets. */
    json_t *(*proof)(struct io *io);
    /* Optional. */
    int (*prepare)(struct io *io, const struct frame_set *frames, struct error *err);
    /* Optional: before each trial, so that nothing is left of the one before. `unpaced`: frames leave as fast
     * as they go, none has a time at which it is due. */
    int (*begin)(struct io *io, bool expect_return, bool unpaced, struct error *err);

    /* Sending: reserve up to n buffers (data set, capacity port.frame_max), fill data and length, commit.
     * commit takes the frames in order and returns how many were taken; the rest are given back unsent
     * and must be reserved again. reserve returns 0 when there is no room. Every reserve is followed by
     * exactly one commit with the same n (frames the core does not want are cut by a smaller n: given back).
     */
    unsigned (*reserve)(struct io *io, unsigned port, struct io_frame *frames, unsigned n);
    unsigned (*commit)(struct io *io, unsigned port, struct io_frame *frames, unsigned reserved, unsigned n);
    /* Optional: make sure that committed frames move (a kick, completions). Once every turn of the loop. */
    void (*flush)(struct io *io, unsigned port);

    /* Receiving: up to n frames; each must be given back by release or handed on by forward. */
    unsigned (*receive)(struct io *io, unsigned port, struct io_frame *frames, unsigned n);
    void (*release)(struct io *io, unsigned port, struct io_frame *frames, unsigned n);
    /* Send received frames out of another (or the same) port, without a copy where the engine can.
     * Takes all n: what finds no room is dropped. Returns how many were sent. */
    unsigned (*forward)(struct io *io, unsigned from, unsigned to, struct io_frame *frames, unsigned n);
    /* Optional: sleep until something can be received or timeout_ns passed (engines that block). NULL:
     * spin. */
    void (*wait)(struct io *io, uint64_t timeout_ns);
    /* Optional: frames since open that came for us and were lost before receive could take them (a full
     * ring). */
    uint64_t (*rx_dropped)(struct io *io);
    /* Optional: bytes that commit took and the other end has not acknowledged. */
    uint64_t (*queued)(struct io *io);
    /* Optional: what the system says of the connections, since the trial began (a generator), else since
     * open. New reference; the control thread calls it as well, while the worker moves frames. */
    json_t *(*transport)(struct io *io);

    /* Optional: a generator that runs elsewhere than in the core's loop (in-kernel BPF). Returns when the
     * trial is over or the role stopped, with the trial filled in, or io->lost set. */
    void (*generate)(struct io *io, struct role *role, const struct generate_arguments *arguments,
                     const struct frame_set *frames, struct trial *trial);

    /* Optional: roles that run elsewhere than in the worker (in-kernel BPF). NULL: the core's own loops run.
     * With `generate` as well, these are reflect and sink.
     */
    int (*role_start)(struct io *io, const char *role, const json_t *arguments, struct error *err);
    json_t *(*role_counters)(struct io *io);
    int (*role_stop)(struct io *io, struct error *err);
};

/* What the core guarantees besides: received frames are all given back before the next receive; io->ops may
 * be replaced in open by another table of the same engine (one with `wait`, say). `prepare` is called before
 * a trial when the frames changed, and with NULL before reflect and sink: listen at the port's own address
 * again. A frame that the core sends in another's name (a delayed copy) has the `flow` of the one received.
 */

/* Each executable links exactly one engine, which defines this. */
extern const struct io_ops io_engine;

#endif
