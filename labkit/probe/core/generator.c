/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The generator: one loop that receives, accounts, and sends what is due. A turn reads the clock once, and
 * once more when frames came in; frames of a burst share that reading.
 */
#include <stdlib.h>
#include <string.h>

#include "as_sent.h"
#include "goal.h"
#include "leftover.h"
#include "pacing.h"
#include "role.h"

/* Of draining: where every turn is a stall, the trial has to end all the same. */
#define AWAY_MAX_NS NS_PER_S
#define LAG_SLOTS 65536U
#define PREFETCH_AHEAD 4U

/* Where the next frame stands in flows, order and schedule. */
struct cursor {
    uint64_t sequence;
    uint32_t flow;
    uint32_t order;
    struct pacing pacing;
};

struct generator {
    struct role *role;
    struct io *io;
    const struct generate_arguments *arguments;
    const struct frame_set *frames;
    struct trial *trial;
    struct cursor cursor;
    struct goal goal;
    uint64_t away_ns;       /* off the core since sending ended: the drain's clock stands still for that */
    uint64_t drain_from_ns; /* when the loop saw that sending is over */
    uint64_t quiet_from_ns; /* from then on nothing came back, on the drain's clock */
    uint64_t sent_ns;       /* when the last burst went */
    uint64_t late_from_ns;  /* what comes back from then on is late */
    uint64_t awaited;       /* closed loop: sequence + 1 of the frame that is out; 0: none */
    uint32_t *lag_ns;       /* of the last LAG_SLOTS frames: actual minus intended departure */
};

static inline void cursor_advance(struct cursor *cursor, const struct frame_set *frames, bool paced)
{
    cursor->sequence++;
    if (++cursor->flow == frames->flows)
        cursor->flow = 0;
    if (++cursor->order == frames->order_count)
        cursor->order = 0;
    if (paced)
        pacing_advance(&cursor->pacing);
}

static inline void copy_frame(uint8_t *to, const uint8_t *from, uint32_t length)
{
    if (length == 60)
        memcpy(to, from, 60); /* the 64-byte frame: a few vector moves, no call */
    else
        memcpy(to, from, length);
}

/* Writes up to n frames, stops at the first that is not due; returns how many. `cursor` moves past them. */
static inline __attribute__((always_inline)) unsigned fill(const struct generator *generator,
                                                           struct cursor *moving, struct io_frame *out,
                                                           unsigned n, uint64_t now, const bool payload_only,
                                                           const bool paced)
{
    const struct frame_set *frames = generator->frames;
    const uint16_t tag = generator->arguments->tag;
    const bool scheduled = paced && !generator->arguments->closed;
    struct cursor cursor = *moving;
    unsigned i;

    for (i = 0; i < n; i++) {
        const struct frame_template *template = &frames->templates[frames->order[cursor.order]];
        uint8_t *data = out[i].data;
        uint64_t time_ns = now;

        if (paced && cursor.pacing.next_ns > now)
            break;
        if (scheduled)
            time_ns = cursor.pacing.next_ns;
        out[i].flow = cursor.flow;
        if (payload_only) {
            out[i].length = template->length - template->signature_offset;
            memcpy(data, template->data + template->signature_offset, out[i].length);
            signature_write(data, tag, cursor.sequence, time_ns);
        } else {
            out[i].length = template->length;
            copy_frame(data, template->data, template->length);
            frames_stamp(data, template, frames, cursor.flow, tag, cursor.sequence, time_ns);
        }
        cursor_advance(&cursor, frames, paced);
    }
    *moving = cursor;
    return i;
}

static void record_lag(struct generator *generator, struct cursor cursor, unsigned n, uint64_t now)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t lag = now - cursor.pacing.next_ns;

        histogram_record(&generator->trial->lag, lag);
        generator->lag_ns[cursor.sequence % LAG_SLOTS] = lag > UINT32_MAX ? UINT32_MAX : (uint32_t)lag;
        cursor_advance(&cursor, generator->frames, true);
    }
}

/* Sends what is due at `now`; returns how many frames went. */
static unsigned send_due(struct generator *generator, uint64_t now)
{
    const struct generate_arguments *arguments = generator->arguments;
    struct io *io = generator->io;
    struct io_frame frames[IO_BURST_MAX];
    struct cursor moved = generator->cursor;
    const bool paced = !arguments->unpaced;
    uint64_t left = generator->goal.limit - generator->cursor.sequence;
    unsigned want = arguments->closed ? 1 : arguments->burst;
    unsigned room;
    unsigned filled;
    unsigned taken;

    if (want > left)
        want = (unsigned)left;
    if (paced)
        want = pacing_due(&moved.pacing, now, want);
    if (want == 0)
        return 0;
    room = io->ops->reserve(io, 0, frames, want);
    if (room == 0) {
        generator->trial->tx_full++;
        return 0;
    }
    if (io->payload_only)
        filled = paced ? fill(generator, &moved, frames, room, now, true, true)
                       : fill(generator, &moved, frames, room, now, true, false);
    else
        filled = paced ? fill(generator, &moved, frames, room, now, false, true)
                       : fill(generator, &moved, frames, room, now, false, false);
    taken = io->ops->commit(io, 0, frames, room, filled);
    if (paced && taken > 0)
        record_lag(generator, generator->cursor, taken, now);
    if (taken < filled) {
        generator->trial->tx_full++;
        moved = generator->cursor;
        for (unsigned i = 0; i < taken; i++)
            cursor_advance(&moved, generator->frames, paced);
    }
    generator->cursor = moved;
    if (taken > 0) {
        generator->sent_ns = now;
        counter_add(&generator->role->counters->tx_frames, taken);
        if (arguments->closed) {
            generator->awaited = generator->cursor.sequence;
            /* The next one keeps its distance from this one, not from a schedule that was missed. */
            if (paced && generator->cursor.pacing.next_ns < now)
                generator->cursor.pacing.next_ns = now;
        }
    }
    return taken;
}

/* What is received of a generator: Ethernet frames, payloads of datagrams, or messages of a stream. */
enum received { RECEIVED_FRAMES, RECEIVED_PAYLOADS, RECEIVED_MESSAGES };

/* A frame took its time, and `missing` ones before it have not come: lost, or overtaken, they are not in
 * time. */
static void note_run(struct trial *trial, uint64_t missing, bool above)
{
    trial->above_run += missing + above;
    if (trial->above_run > trial->longest_above)
        trial->longest_above = trial->above_run;
    if (!above)
        trial->above_run = 0;
}

static inline __attribute__((always_inline)) void account(struct generator *generator,
                                                          const struct io_frame *frames, unsigned n,
                                                          uint64_t now, const enum received received,
                                                          const bool scheduled)
{
    struct trial *trial = generator->trial;
    const uint16_t tag = generator->arguments->tag;
    const uint64_t sent = generator->cursor.sequence;
    const uint64_t age_max = now - trial->start_ns;
    const uint64_t above_ns = generator->arguments->above_ns;
    const bool payload_only = received != RECEIVED_FRAMES;

    for (unsigned i = 0; i < n; i++) {
        struct packet packet;
        struct signature signature;
        uint64_t rtt;
        uint64_t next;

        if (i + PREFETCH_AHEAD < n)
            __builtin_prefetch(frames[i + PREFETCH_AHEAD].data);
        if (__builtin_expect(!is_ours(&frames[i], generator->frames, payload_only, &packet), 0)) {
            trial->foreign++;
            continue;
        }
        signature = signature_read(frames[i].data + packet.payload);
        if (__builtin_expect(signature.tag != tag, 0)) {
            trial->stale++;
            continue;
        }
        rtt = now - signature.time_ns;
        if (__builtin_expect(signature.sequence >= sent || rtt > age_max, 0) ||
            (!payload_only && __builtin_expect(!is_as_sent(&frames[i], packet, generator->frames,
                                                           signature.sequence, generator->arguments->verify),
                                               0)) ||
            (received == RECEIVED_MESSAGES &&
             __builtin_expect(!is_message_as_sent(&frames[i], generator->frames, signature.sequence,
                                                  generator->arguments->verify),
                              0))) {
            trial->corrupt++;
            continue;
        }
        next = trial->sequence.next;
        if (!sequence_arrived(&trial->sequence, signature.sequence))
            continue;
        if (__builtin_expect(above_ns > 0, 0) && signature.sequence >= next)
            note_run(trial, signature.sequence - next, rtt > above_ns);
        histogram_record(&trial->rtt, rtt);
        if (scheduled && sent - signature.sequence <= LAG_SLOTS)
            histogram_record(&trial->service, rtt - generator->lag_ns[signature.sequence % LAG_SLOTS]);
        if (signature.sequence + 1 == generator->awaited)
            generator->awaited = 0;
    }
}

static void take_back(struct generator *generator, const struct io_frame *frames, unsigned n, uint64_t now)
{
    const bool scheduled = !generator->arguments->unpaced && !generator->arguments->closed;
    const uint64_t before = generator->trial->sequence.received;

    if (generator->io->stream)
        account(generator, frames, n, now, RECEIVED_MESSAGES, scheduled);
    else if (generator->io->payload_only)
        account(generator, frames, n, now, RECEIVED_PAYLOADS, scheduled);
    else if (scheduled)
        account(generator, frames, n, now, RECEIVED_FRAMES, true);
    else
        account(generator, frames, n, now, RECEIVED_FRAMES, false);
    if (now >= generator->late_from_ns)
        generator->trial->late += generator->trial->sequence.received - before;
}

/* Sending is over. What the DUT still holds back beyond its shortest round trip has been queueing: a short
 * trial would credit it to the DUT's rate.
 */
static void end_sending(struct generator *generator, uint64_t now)
{
    struct trial *trial = generator->trial;

    trial->tx_end_ns = generator->sent_ns;
    generator->drain_from_ns = now;
    generator->quiet_from_ns = now;
    if (generator->arguments->late_ns > 0 && trial->rtt.n > 0)
        generator->late_from_ns = trial->tx_end_ns + trial->rtt.min_ns + generator->arguments->late_ns;
}

static uint64_t outstanding(const struct generator *generator)
{
    return generator->cursor.sequence - generator->trial->sequence.received;
}

/* Frames wait in the ring while the generator is off the core: it has not heard that nothing came. */
static void note_away(struct generator *generator, uint64_t from, uint64_t to)
{
    if (to - from > STALL_NS && generator->away_ns < AWAY_MAX_NS)
        generator->away_ns += to - from;
}

/* One way, over a transport that acknowledges: whether the other end has taken all, or has had the time to.
 * What it takes in later is late, and its receiver is read out when this trial ends. */
static bool all_taken(const struct generator *generator, uint64_t now)
{
    const struct generate_arguments *arguments = generator->arguments;
    struct io *io = generator->io;
    uint64_t most_ns = arguments->drain_max_ns;

    if (io->ops->queued == NULL)
        return true;
    if (arguments->late_ns > 0 && arguments->late_ns < most_ns)
        most_ns = arguments->late_ns;
    return now - generator->drain_from_ns >= most_ns || io->ops->queued(io) == 0;
}

/* Whether nothing more can be expected, after the last frame has gone. `now` is on the drain's clock. */
static bool drained(const struct generator *generator, uint64_t now)
{
    const struct generate_arguments *arguments = generator->arguments;

    if (!arguments->expect_return)
        return all_taken(generator, now);
    return goal_drained(arguments, outstanding(generator), generator->drain_from_ns, generator->quiet_from_ns,
                        now);
}

static bool sending_over(const struct generator *generator, uint64_t now)
{
    if (generator->cursor.sequence >= generator->goal.limit)
        return true;
    if (now >= generator->goal.send_until_ns)
        return true;
    /* A counted trial has no other end when the other side takes nothing any more. */
    return generator->arguments->counted && generator->arguments->unpaced && !generator->arguments->closed &&
           now - generator->sent_ns >= NO_PROGRESS_NS;
}

/* How long nothing is due: what an engine that blocks may sleep. */
static uint64_t idle_ns(const struct generator *generator, bool sending, uint64_t now)
{
    const struct generate_arguments *arguments = generator->arguments;
    uint64_t until = now + WAIT_MAX_NS;

    if (sending) {
        if (generator->awaited != 0)
            until = generator->sent_ns + CLOSED_TIMEOUT_NS;
        else if (arguments->unpaced)
            return 0;
        else
            until = generator->cursor.pacing.next_ns;
        if (until > generator->goal.send_until_ns)
            until = generator->goal.send_until_ns;
    } else if (outstanding(generator) == 0) {
        until = now + LINGER_NS;
    } else {
        until = now + (arguments->drain_quiet_ns < NS_PER_MS ? arguments->drain_quiet_ns : NS_PER_MS);
    }
    if (until <= now)
        return 0;
    return until - now < WAIT_MAX_NS ? until - now : WAIT_MAX_NS;
}

static void loop(struct generator *generator)
{
    const struct generate_arguments *arguments = generator->arguments;
    struct role *role = generator->role;
    struct io *io = generator->io;
    struct trial *trial = generator->trial;
    struct io_frame frames[IO_BURST_MAX];
    const unsigned rx_port = io->port_count - 1;
    bool sending = true;
    uint64_t last_turn = trial->start_ns;
    uint64_t now = trial->start_ns;

    for (;;) {
        unsigned got = 0;
        unsigned went = 0;
        uint64_t before = now;

        if (io->ops->wait != NULL) {
            uint64_t idle = idle_ns(generator, sending, now);

            if (idle > 0) {
                io->ops->wait(io, idle);
                before = last_turn = clock_now_ns();
            }
        }
        if (arguments->expect_return)
            got = io->ops->receive(io, rx_port, frames, IO_BURST_MAX);
        now = clock_now_ns();
        if (now - last_turn > STALL_NS) {
            uint64_t gap = now - last_turn;

            trial->stall_total_ns += gap;
            trial->stall_max_ns = gap > trial->stall_max_ns ? gap : trial->stall_max_ns;
        }
        last_turn = now;
        trial->polls++;
        if (got > 0) {
            take_back(generator, frames, got, now);
            io->ops->release(io, rx_port, frames, got);
            counter_add(&role->counters->rx_frames, got);
            now = clock_now_ns();
        }
        if (!sending)
            note_away(generator, before, now);
        if (got > 0)
            generator->quiet_from_ns = now - generator->away_ns;
        if (sending) {
            if (generator->awaited != 0 && now - generator->sent_ns >= CLOSED_TIMEOUT_NS)
                generator->awaited = 0;
            if (sending_over(generator, now) && generator->awaited == 0) {
                sending = false;
                end_sending(generator, now);
            } else if (generator->awaited == 0) {
                went = send_due(generator, now);
            }
        }
        if (io->ops->flush != NULL)
            io->ops->flush(io, 0);
        trial->empty_polls += got == 0 && went == 0;
        if (!sending && drained(generator, now - generator->away_ns))
            break;
        if (role_stopped(role) || __builtin_expect(io->lost.code[0] != '\0', 0)) {
            trial->aborted = true;
            break;
        }
    }
    trial->end_ns = now;
    if (sending)
        end_sending(generator, now);
}

/* Takes in what the trial before has left, until all of it has come or nothing comes any more; how many
 * frames. */
static uint64_t take_leftover(const struct generator *generator, const struct leftover *left)
{
    struct io *io = generator->io;
    const unsigned port = io->port_count - 1;
    const uint64_t quiet_ns = leftover_quiet_ns(left);
    uint64_t last_ns = clock_now_ns();
    uint64_t now = last_ns;
    uint64_t taken = 0;

    while (!io->stream && taken < left->frames && now - last_ns < quiet_ns &&
           !role_stopped(generator->role)) {
        struct io_frame frames[IO_BURST_MAX];
        unsigned got = io->ops->receive(io, port, frames, IO_BURST_MAX);

        for (unsigned i = 0; i < got; i++) {
            struct packet packet;

            taken += is_ours(&frames[i], generator->frames, io->payload_only, &packet);
        }
        if (got > 0)
            io->ops->release(io, port, frames, got);
        now = clock_now_ns();
        if (got > 0)
            last_ns = now;
    }
    return taken;
}

void generator_run(struct role *role, const struct generate_arguments *arguments,
                   const struct frame_set *frames, struct trial *trial)
{
    static uint32_t lag_ns[LAG_SLOTS];
    static struct leftover left;
    struct generator generator = {
        .role = role,
        .io = role->io,
        .arguments = arguments,
        .frames = frames,
        .trial = trial,
        .lag_ns = lag_ns,
        .late_from_ns = UINT64_MAX,
    };

    trial_clear(trial);
    trial->stale = take_leftover(&generator, &left);
    trial->start_ns = clock_now_ns();
    generator.sent_ns = trial->start_ns;
    generator.goal = goal_of(arguments, trial->start_ns);
    if (!arguments->unpaced)
        pacing_start(&generator.cursor.pacing, arguments->load_pps, trial->start_ns);
    loop(&generator);
    trial->sent = generator.cursor.sequence;
    if (arguments->above_ns > 0 && arguments->expect_return)
        note_run(trial, trial->sent - trial->sequence.next, false);
    trial->intended = goal_intended(arguments, generator.goal, trial->sent);
    trial->drain_ns = trial->end_ns - trial->tx_end_ns;
    leftover_note(&left, trial, arguments->expect_return);
    trial->usage = usage_since(&role->began);
    counter_set(&role->counters->foreign, trial->foreign);
    counter_set(&role->counters->polls, trial->polls);
    counter_set(&role->counters->empty_polls, trial->empty_polls);
}
