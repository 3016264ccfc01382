/* SPDX-License-Identifier: BSD-3-Clause */
/* The generator against a link in memory that does to its frames what a test says. */
#include <stdlib.h>

#include "check.h"
#include "leftover.h"
#include "role.h"

#define SLOTS 4096U
#define ATTEMPTS 50

static struct {
    uint8_t data[SLOTS][64];
    uint32_t length[SLOTS];
    uint32_t first;
    uint32_t count;
    uint64_t sent;
    void (*meddle)(uint64_t number, uint8_t *payload, unsigned *copies);
    unsigned take_at_most; /* of a burst; 0: all */
    unsigned room_at_most;
    uint64_t hold_after; /* so many frames come back at once; the rest hold_ns after the last was sent */
    uint64_t hold_ns;
    uint64_t last_sent_ns;
    bool keeps; /* what it holds of the trial before */
    uint64_t returned;
    uint64_t stall_after;     /* the first receive after so many frames finds nothing */
    uint64_t stall_ns;        /* and is this late to say so; 0: none */
    uint64_t slow_receive_ns; /* each receive takes so long; 0: no time */
    uint64_t lost_after;      /* the connection is lost when so many were sent; 0: never */
    uint64_t taken_after_ns;  /* the other end has taken all so long after the last was sent; 0: there is no
                                 telling */
    uint64_t slow_turn_ns;    /* a commit that brings their number to stall_after takes so long; 0: none */
    uint8_t buffers[IO_BURST_MAX][64];
} fake_link;

static void put(const uint8_t *data, uint32_t length)
{
    uint32_t slot = (fake_link.first + fake_link.count) % SLOTS;

    if (fake_link.count == SLOTS)
        return;
    memcpy(fake_link.data[slot], data, length);
    fake_link.length[slot] = length;
    fake_link.count++;
}

static void stall(uint64_t *left_ns)
{
    uint64_t until = clock_now_ns() + *left_ns;

    *left_ns = 0;
    while (clock_now_ns() < until)
        ;
}

static unsigned link_reserve(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    (void)io;
    (void)port;
    if (fake_link.room_at_most != 0 && n > fake_link.room_at_most)
        n = fake_link.room_at_most;
    for (unsigned i = 0; i < n; i++)
        frames[i].data = fake_link.buffers[i];
    return n;
}

static unsigned link_commit(struct io *io, unsigned port, struct io_frame *frames, unsigned reserved,
                            unsigned n)
{
    (void)port;
    CHECK(n <= reserved);
    if (fake_link.take_at_most != 0 && n > fake_link.take_at_most)
        n = fake_link.take_at_most;
    if (fake_link.slow_turn_ns > 0 && fake_link.sent + n == fake_link.stall_after)
        stall(&fake_link.slow_turn_ns);
    for (unsigned i = 0; i < n; i++) {
        unsigned copies = 1;

        if (fake_link.meddle != NULL)
            fake_link.meddle(fake_link.sent, frames[i].data + 42, &copies);
        fake_link.sent++;
        fake_link.last_sent_ns = clock_now_ns();
        while (copies-- > 0)
            put(frames[i].data, frames[i].length);
    }
    if (fake_link.lost_after > 0 && fake_link.sent >= fake_link.lost_after)
        error_set(&io->lost, "connection", "the other end has gone");
    return n;
}

static uint64_t link_queued(struct io *io)
{
    (void)io;
    return clock_now_ns() < fake_link.last_sent_ns + fake_link.taken_after_ns;
}

static unsigned link_receive(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    unsigned got = 0;

    uint64_t slow_ns = fake_link.slow_receive_ns;

    (void)io;
    (void)port;
    if (slow_ns > 0)
        stall(&slow_ns);
    if (fake_link.stall_ns > 0 && fake_link.sent == fake_link.stall_after) {
        stall(&fake_link.stall_ns);
        return 0;
    }
    for (; got < n && fake_link.count > 0; got++) {
        if (fake_link.hold_ns > 0 && fake_link.returned >= fake_link.hold_after &&
            clock_now_ns() < fake_link.last_sent_ns + fake_link.hold_ns)
            break;
        fake_link.returned++;
        frames[got].data = fake_link.data[fake_link.first];
        frames[got].length = fake_link.length[fake_link.first];
        fake_link.first = (fake_link.first + 1) % SLOTS;
        fake_link.count--;
    }
    return got;
}

static void link_release(struct io *io, unsigned port, struct io_frame *frames, unsigned n)
{
    (void)io;
    (void)port;
    (void)frames;
    (void)n;
}

const struct io_ops io_engine = {
    .engine = "memory",
    .can_generate = true,
    .reserve = link_reserve,
    .commit = link_commit,
    .receive = link_receive,
    .release = link_release,
};

static const char frames_line[] =
    "{\"templates\":[{\"data\":\"02000000000202000000000108004500002e0000000040110000c6120001c6120002"
    "fde80007001a0000000000000000000000000000000000000000\",\"signature_offset\":42,"
    "\"checksum_offset\":40}],\"order\":[0,0,0],\"flows\":5,"
    "\"fields\":[{\"offset\":34,\"bytes\":2,\"first\":65000,\"count\":5}]}";

static struct trial *trial;
static struct frame_set *frames;

static struct generate_arguments counted(uint64_t count)
{
    return (struct generate_arguments){
        .load_pps = 1e6,
        .counted = true,
        .count = count,
        .tag = 77,
        .expect_return = true,
        .drain_quiet_ns = 5 * NS_PER_MS,
        .drain_max_ns = 50 * NS_PER_MS,
        .burst = 32,
    };
}

static void run_once(const struct generate_arguments *arguments,
                     void (*meddle)(uint64_t, uint8_t *, unsigned *))
{
    static const bool stop;
    struct counters counters = {.role = "generate"};
    const struct io_ops acknowledging = {
        .reserve = link_reserve,
        .commit = link_commit,
        .receive = link_receive,
        .release = link_release,
        .queued = link_queued,
    };
    struct io io = {.ops = fake_link.taken_after_ns > 0 ? &acknowledging : &io_engine, .port_count = 1};
    struct role role = {.io = &io, .stop = &stop, .counters = &counters};

    if (!fake_link.keeps)
        fake_link.count = 0;
    fake_link.sent = 0;
    fake_link.returned = 0;
    fake_link.meddle = meddle;
    generator_run(&role, arguments, frames, trial);
    CHECK_EQUAL(counters.tx_frames, trial->sent);
    CHECK_EQUAL(trial->rtt.n, trial->sequence.received);
}

/* A trial in which this process was not on a core for a while shows that, and not what the generator does. */
static void run(const struct generate_arguments *arguments, void (*meddle)(uint64_t, uint8_t *, unsigned *))
{
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        run_once(arguments, meddle);
        if (trial->stall_max_ns < NS_PER_MS)
            return;
    }
}

static void all_come_back(void)
{
    struct generate_arguments arguments = counted(10000);

    run(&arguments, NULL);
    CHECK_EQUAL(trial->sent, 10000);
    CHECK_EQUAL(trial->intended, 10000);
    CHECK_EQUAL(trial->sequence.received, 10000);
    CHECK_EQUAL(trial->sequence.reordered, 0);
    CHECK_EQUAL(trial->lag.n, 10000);
    CHECK_EQUAL(trial->service.n, 10000);
    CHECK(trial->drain_ns < 5 * NS_PER_MS || trial->stall_max_ns > NS_PER_MS);
}

/* What an engine does not take is written again, with the same numbers and times. */
static void a_reluctant_engine_loses_nothing(void)
{
    struct generate_arguments arguments = counted(5000);

    fake_link.take_at_most = 3;
    fake_link.room_at_most = 7;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->sequence.received, 5000);
    CHECK_EQUAL(trial->sequence.duplicates + trial->corrupt + trial->foreign + trial->stale, 0);
    CHECK_EQUAL(trial->lag.n, 5000);
    arguments.unpaced = true;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->sequence.received, 5000);
    CHECK_EQUAL(trial->sequence.reordered, 0);
    CHECK(trial->tx_full > 0);
    fake_link.take_at_most = 0;
    fake_link.room_at_most = 0;
}

/* A DUT that queues gives back after the trial what it could not carry during it. */
static void what_was_held_in_buffers_is_late(void)
{
    struct generate_arguments arguments = counted(2000);

    fake_link.hold_after = 100;
    fake_link.hold_ns = 3 * NS_PER_MS;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->sequence.received, 2000);
    CHECK_EQUAL(trial->late, 0); /* nobody asked */
    arguments.late_ns = NS_PER_MS;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->sequence.received, 2000);
    CHECK_EQUAL(trial->late, 1900);
    /* A path that is merely slow holds nothing back: its shortest round trip is as long as the others. */
    fake_link.hold_after = 0;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->sequence.received, 2000);
    CHECK_EQUAL(trial->late, 0);
    fake_link.hold_ns = 0;
}

static void lose_in_a_row(uint64_t number, uint8_t *payload, unsigned *copies)
{
    (void)payload;
    if ((number >= 100 && number < 350) || number >= 600)
        *copies = 0;
}

/* The longest run of frames that are slower than asked, or do not come. */
static void slow_frames_in_a_row_are_counted(void)
{
    struct generate_arguments arguments = counted(2000);

    fake_link.hold_after = 1700;
    fake_link.hold_ns = 3 * NS_PER_MS;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->longest_above, 0); /* nobody asked */
    arguments.above_ns = 2 * NS_PER_MS;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->longest_above, 300);
    arguments.above_ns = 4 * NS_PER_MS;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->longest_above, 0);
    fake_link.hold_after = 0;
    fake_link.hold_ns = 0;
    arguments.above_ns = NS_PER_MS;
    arguments.count = 600;
    run(&arguments, lose_in_a_row);
    CHECK_EQUAL(trial->longest_above, 250);
    arguments.count = 900;
    run(&arguments, lose_in_a_row);
    CHECK_EQUAL(trial->longest_above, 300); /* the last ones */
}

static void spoil(uint64_t number, uint8_t *payload, unsigned *copies)
{
    switch (number % 1000) {
    case 10: /* another trial's */
        payload[1] ^= 1;
        break;
    case 20: /* a number that was not sent yet */
        payload[3] = 0x7f;
        break;
    case 30: /* a time before the trial */
        memset(payload + 10, 0, 8);
        break;
    case 40: /* a time to come */
        memset(payload + 10, 0x7f, 8);
        break;
    case 50: /* another conversation's port, in both directions */
        payload[-6] = 0x12;
        break;
    case 60: /* not UDP */
        payload[23 - 42] = 6;
        break;
    case 70:
        *copies = 0;
        break;
    case 80:
        *copies = 4;
        break;
    default:
        break;
    }
}

static void spoilt_frames_are_called_by_their_names(void)
{
    struct generate_arguments arguments = counted(10000);

    run(&arguments, spoil);
    CHECK_EQUAL(trial->stale, 10);
    CHECK_EQUAL(trial->corrupt, 30);
    CHECK_EQUAL(trial->foreign, 20);
    CHECK_EQUAL(trial->sequence.duplicates, 30);
    CHECK_EQUAL(trial->sequence.received, 10000 - 10 - 30 - 20 - 10);
    CHECK_EQUAL(trial->sequence.reordered, 0);
}

static void lose_all(uint64_t number, uint8_t *payload, unsigned *copies)
{
    (void)number;
    (void)payload;
    *copies = 0;
}

static void draining_ends_when_nothing_comes(void)
{
    struct generate_arguments arguments = counted(100);

    run(&arguments, lose_all);
    CHECK_EQUAL(trial->sequence.received, 0);
    CHECK(trial->drain_ns >= 5 * NS_PER_MS);
    CHECK(trial->drain_ns < 50 * NS_PER_MS);
}

/* Nobody looked while the generator was off the core: what came in meanwhile is not lost. */
static void a_stall_while_draining_loses_nothing(void)
{
    struct generate_arguments arguments = counted(1000);
    const uint64_t stalls_ns[] = {2 * arguments.drain_quiet_ns, 2 * arguments.drain_max_ns};

    fake_link.stall_after = 1000;
    for (unsigned i = 0; i < 2; i++) {
        fake_link.stall_ns = stalls_ns[i];
        run_once(&arguments, NULL);
        CHECK_EQUAL(trial->sequence.received, 1000);
        CHECK(trial->stall_max_ns >= stalls_ns[i]);
        /* The last frames go out behind the stall, and come back a little later. */
        fake_link.slow_turn_ns = stalls_ns[i];
        fake_link.hold_after = 900;
        fake_link.hold_ns = NS_PER_MS;
        run_once(&arguments, NULL);
        CHECK_EQUAL(trial->sequence.received, 1000);
        CHECK(trial->stall_max_ns >= stalls_ns[i]);
        fake_link.hold_after = 0;
        fake_link.hold_ns = 0;
    }
}

/* On a machine so slow that each turn looks like a stall, too. */
static void draining_ends_where_every_turn_is_slow(void)
{
    struct generate_arguments arguments = counted(100);

    fake_link.slow_receive_ns = 200 * NS_PER_US;
    run_once(&arguments, lose_all);
    fake_link.slow_receive_ns = 0;
    CHECK_EQUAL(trial->sequence.received, 0);
    CHECK(trial->drain_ns >= NS_PER_S);
}

/* A DUT that still has frames of the trial before gives them back first: they are stale, and take no part in
 * this one. */
static void what_a_trial_has_left_is_taken_in_before_the_next_begins(void)
{
    struct generate_arguments arguments = counted(100);
    uint64_t began;

    fake_link.hold_after = 60;
    fake_link.hold_ns = 200 * NS_PER_MS; /* longer than is waited for them */
    run_once(&arguments, NULL);
    CHECK_EQUAL(trial->sequence.received, 60);
    fake_link.hold_ns = 0;
    fake_link.keeps = true;
    arguments.tag++;
    began = clock_now_ns();
    run_once(&arguments, NULL);
    CHECK_EQUAL(trial->stale, 40);
    CHECK_EQUAL(trial->sequence.received, 100);
    CHECK(trial->start_ns - began < NS_PER_S); /* all had come: nothing more was waited for */
    fake_link.keeps = false;
}

static void nothing_is_waited_for_when_nothing_is_to_come(void)
{
    struct generate_arguments arguments = counted(100);

    arguments.expect_return = false;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->sent, 100);
    CHECK_EQUAL(trial->sequence.received, 0);
}

/* One way, over a transport that acknowledges: the trial ends when the other end has taken all, or is too
 * late. */
static void what_was_sent_one_way_has_the_time_to_be_taken(void)
{
    struct generate_arguments arguments = counted(100);

    arguments.expect_return = false;
    fake_link.taken_after_ns = 3 * NS_PER_MS;
    run(&arguments, NULL);
    CHECK(trial->drain_ns >= 3 * NS_PER_MS && trial->drain_ns < 20 * NS_PER_MS);
    arguments.late_ns = NS_PER_MS;
    run(&arguments, NULL);
    CHECK(trial->drain_ns >= NS_PER_MS && trial->drain_ns < 3 * NS_PER_MS);
    arguments.late_ns = 0;
    fake_link.taken_after_ns = 20 * NS_PER_S;
    run(&arguments, NULL);
    CHECK(trial->drain_ns >= arguments.drain_max_ns && trial->drain_ns < 10 * arguments.drain_max_ns);
    fake_link.taken_after_ns = 0;
}

static void a_lost_connection_ends_the_trial(void)
{
    struct generate_arguments arguments = counted(10000);

    arguments.load_pps = 1000;
    fake_link.lost_after = 20;
    run(&arguments, NULL);
    fake_link.lost_after = 0;
    CHECK(trial->aborted);
    CHECK_EQUAL(trial->sent, 20);
}

static void a_closed_loop_gives_up_on_a_lost_frame(void)
{
    struct generate_arguments arguments = counted(2);

    arguments.closed = true;
    arguments.unpaced = true;
    run(&arguments, lose_all);
    CHECK_EQUAL(trial->sent, 2);
    CHECK(trial->tx_end_ns - trial->start_ns >= 100 * NS_PER_MS);
    arguments.count = 1000;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->sequence.received, 1000);
}

static void a_duration_sends_what_the_load_makes_of_it(void)
{
    struct generate_arguments arguments = counted(0);

    arguments.counted = false;
    arguments.load_pps = 200000;
    arguments.duration_ns = 50 * NS_PER_MS;
    run(&arguments, NULL);
    CHECK_EQUAL(trial->intended, 10000);
    CHECK(trial->sent <= 10000);
    CHECK(trial->sent >= 9000 || trial->stall_max_ns > NS_PER_MS);
}

int main(void)
{
    struct error err;
    json_error_t where;
    json_t *arguments = json_loads(frames_line, 0, &where);

    clock_init();
    trial = trial_new(&err);
    frames = frames_parse(arguments, &err);
    json_decref(arguments);
    CHECK(trial != NULL && frames != NULL);
    if (trial == NULL || frames == NULL)
        return CHECKS_DONE();
    all_come_back();
    a_reluctant_engine_loses_nothing();
    what_was_held_in_buffers_is_late();
    slow_frames_in_a_row_are_counted();
    spoilt_frames_are_called_by_their_names();
    draining_ends_when_nothing_comes();
    a_stall_while_draining_loses_nothing();
    draining_ends_where_every_turn_is_slow();
    what_a_trial_has_left_is_taken_in_before_the_next_begins();
    nothing_is_waited_for_when_nothing_is_to_come();
    what_was_sent_one_way_has_the_time_to_be_taken();
    a_lost_connection_ends_the_trial();
    a_closed_loop_gives_up_on_a_lost_frame();
    a_duration_sends_what_the_load_makes_of_it();
    frames_free(frames);
    trial_free(trial);
    return CHECKS_DONE();
}
