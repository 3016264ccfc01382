/* SPDX-License-Identifier: BSD-3-Clause */
#include "xdp_generate.h"

#include "driver_stats.h"
#include "goal.h"
#include "leftover.h"
#include "pacing.h"
#include "tester.h"

#include "tester.bpf.h" /* tester_bpf_object, made by the build */

#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* From the call to the first frame: what the kernel takes to make the first pages. */
#define LEAD_NS (200 * NS_PER_US)
/* How often a run is interrupted when its time is over, and where its end is not known. */
#define TICK_NS (50 * NS_PER_US)
#define SLOW_TICK_NS NS_PER_MS
#define RUNS_MAX 2000000000U
/* Frames are flushed after a batch, and a batch is full sooner at a high rate: a small one keeps departures
 * close to the schedule, a large one is cheaper a frame. veth has room for 256 (measured: 192 and less lost
 * none). */
#define SPINS 16U

_Static_assert(sizeof(struct histogram) == sizeof(struct tester_histogram), "one layout of histograms");
_Static_assert(FRAMES_TEMPLATES_MAX == TESTER_TEMPLATES && FRAMES_ORDER_MAX == TESTER_ORDER &&
                   FRAMES_FLOWS_MAX == TESTER_FLOWS && FRAMES_FIELDS_MAX == TESTER_FIELDS &&
                   HISTOGRAM_COUNTS == TESTER_COUNTS,
               "one size of all that is shared");

struct xdp_generator {
    struct bpf_object *object;
    struct tester *shared;
    struct xdp_link spare;
    int program;
    int receiver;
    const struct frame_set *frames;
    uint64_t stretches; /* used up by the trials so far */
    struct leftover left;
    uint64_t seen; /* frames that had come when the last trial ended */
    bool ring_is_duts;
    double clock_read_ns;
    int64_t clocks_apart_ns; /* at the last trial */
    unsigned batch;          /* of the last trial */
};

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* What the probe's clock is ahead of the programs': of several readings, the one that was interrupted least.
 */
static int64_t clocks_apart_ns(void)
{
    uint64_t best = UINT64_MAX;
    int64_t apart = 0;

    for (int i = 0; i < 32; i++) {
        uint64_t before = monotonic_ns();
        uint64_t own = clock_now_ns();
        uint64_t after = monotonic_ns();

        if (after - before < best) {
            best = after - before;
            apart = (int64_t)(own - (before + (after - before) / 2));
        }
    }
    return apart;
}

static int attach_spare(struct xdp_generator *generator, const char *name, struct error *err)
{
    struct io_port port = {0};
    int ifindex = (int)if_nametoindex(name);

    if (ifindex == 0) {
        error_set(err, "refused", "spare: interface %s: %s (in this network namespace)", name,
                  strerror(errno));
        return -1;
    }
    (void)strncpy(port.name, name, sizeof(port.name) - 1);
    return xdp_link_attach(&generator->spare, &port, ifindex, generator->program, XDP_ATTACH_NATIVE, err);
}

/* What one look at the clock costs the programs [ns]; 0 where the kernel does not say. */
static double clock_read_ns(const struct bpf_object *object)
{
    uint8_t data[64] = {0};
    LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = data, .data_size_in = sizeof(data), .repeat = 1);
    int program = bpf_program__fd(bpf_object__find_program_by_name(object, "read_clock"));

    return bpf_prog_test_run_opts(program, &run) == 0 ? (double)run.duration / TESTER_CLOCK_READS : 0;
}

struct xdp_generator *xdp_generator_open(const struct xdp_generator_options *options, struct error *err)
{
    struct xdp_generator *generator = calloc(1, sizeof(*generator));
    const struct bpf_map *memory;
    void *mapped;

    if (generator == NULL) {
        error_set(err, "internal", "calloc: generator");
        return NULL;
    }
    generator->spare.fd = -1;
    generator->object = xdp_object_load("labkit_tester", tester_bpf_object, sizeof(tester_bpf_object), err);
    if (generator->object == NULL)
        goto fail;
    memory = bpf_object__find_map_by_name(generator->object, ".bss");
    mapped = memory == NULL ? MAP_FAILED
                            : mmap(NULL, sizeof(struct tester), PROT_READ | PROT_WRITE, MAP_SHARED,
                                   bpf_map__fd(memory), 0);
    if (mapped == MAP_FAILED) {
        error_set(err, "refused", "mmap: memory of the BPF programs: %s", strerror(errno));
        goto fail;
    }
    generator->shared = mapped;
    generator->program = bpf_program__fd(bpf_object__find_program_by_name(generator->object, "generate"));
    generator->receiver = bpf_program__fd(bpf_object__find_program_by_name(generator->object, "receive"));
    if (options->spare[0] != '\0' && attach_spare(generator, options->spare, err) != 0)
        goto fail;
    generator->ring_is_duts = options->ring_is_duts;
    generator->clock_read_ns = clock_read_ns(generator->object);
    return generator;
fail:
    xdp_generator_close(generator);
    return NULL;
}

void xdp_generator_close(struct xdp_generator *generator)
{
    if (generator == NULL)
        return;
    xdp_link_close(&generator->spare);
    if (generator->shared != NULL)
        (void)munmap(generator->shared, sizeof(struct tester));
    if (generator->object != NULL)
        bpf_object__close(generator->object);
    free(generator);
}

static int take_templates(struct tester *shared, const struct frame_set *frames, struct error *err)
{
    for (unsigned i = 0; i < frames->count; i++) {
        const struct frame_template *from = &frames->templates[i];
        struct tester_template *to = &shared->template[i];

        if (from->length > TESTER_FRAME_MAX || from->length < 60) {
            error_set(err, "bad-argument",
                      "templates[%u]: the xdp engine makes frames of 60 to %d bytes without FCS, got %u", i,
                      TESTER_FRAME_MAX, from->length);
            return -1;
        }
        if (from->signature_offset + SIGNATURE_BYTES > TESTER_OFFSETS) {
            error_set(err, "bad-argument",
                      "templates[%u]: the xdp engine makes headers of up to %u bytes, got %u", i,
                      TESTER_OFFSETS - SIGNATURE_BYTES, from->signature_offset);
            return -1;
        }
        memcpy(to->data, from->data, from->length);
        to->length = from->length;
        to->signature = (uint16_t)from->signature_offset;
        to->checksum = (uint16_t)(from->checksum_offset >= 0 ? from->checksum_offset : 0);
        to->checksum_base = from->checksum_base;
        to->ip_checksum_base = from->ip_checksum_base;
        to->ip = from->packet.ip;
        to->udp = from->packet.protocol == IPPROTO_UDP;
    }
    return 0;
}

static void take_flows(struct tester *shared, const struct frame_set *frames)
{
    struct tester_plan *plan = &shared->plan;

    plan->flows = frames->flows;
    plan->plain = frames->plain;
    plan->plain_first = frames->plain ? frames->fields[0].first : 0;
    plan->field_count = frames->field_count;
    plan->in_ip = frames->in_ip;
    for (unsigned i = 0; i < frames->field_count; i++) {
        plan->field[i].offset = (uint16_t)frames->fields[i].offset;
        plan->field[i].bytes = (uint16_t)frames->fields[i].bytes;
    }
    for (uint32_t flow = 0; !frames->plain && flow < frames->flows; flow++) {
        struct tester_flow *to = &shared->flow[flow];

        for (unsigned i = 0; i < frames->field_count; i++) {
            uint32_t value = frames->values[flow * frames->field_count + i];

            to->value[i] = frames->fields[i].bytes == 2 ? htobe16((uint16_t)value) : htobe32(value);
        }
        to->sum = frames->sums[flow].l4;
        to->ip_sum = frames->sums[flow].ip;
    }
}

int xdp_generator_prepare(struct xdp_generator *generator, const struct io *io, struct xdp_link *links,
                          const struct frame_set *frames, struct error *err)
{
    struct tester *shared = generator->shared;
    const unsigned last = io->port_count - 1;
    const uint32_t key = 0;
    const uint32_t out = (uint32_t)links[0].ifindex;
    int map = bpf_object__find_map_fd_by_name(generator->object, "out");

    generator->frames = NULL;
    if (take_templates(shared, frames, err) != 0)
        return -1;
    take_flows(shared, frames);
    memcpy(shared->order, frames->order, frames->order_count * sizeof(*frames->order));
    shared->plan.order_count = frames->order_count;
    shared->plan.longest = frames->longest;
    shared->plan.port = frames->port;
    shared->plan.port_mask = frames->port_mask;
    if (bpf_map_update_elem(map, &key, &out, BPF_ANY) != 0) {
        error_set(err, "refused", "bpf(BPF_MAP_UPDATE_ELEM) of the redirect map: %s", strerror(errno));
        return -1;
    }
    if (bpf_link_update(links[last].fd, generator->receiver, NULL) != 0) {
        error_set(err, "refused", "bpf(BPF_LINK_UPDATE) of %s to receive: %s", io->port[last].name,
                  strerror(errno));
        return -1;
    }
    generator->frames = frames;
    return 0;
}

static unsigned batch_for(const struct generate_arguments *arguments)
{
    if (arguments->closed)
        return 1;
    if (arguments->unpaced)
        return arguments->burst;
    if (arguments->load_pps <= 1.2e6)
        return 1;
    if (arguments->load_pps <= 2.5e6)
        return 4;
    return arguments->load_pps <= 4e6 ? 16 : arguments->burst;
}

static void clear(struct tester *shared)
{
    struct tester_histogram *each[] = {&shared->rtt, &shared->service, &shared->lag};

    memset(&shared->sending, 0, sizeof(shared->sending));
    memset(&shared->arrived, 0, sizeof(shared->arrived));
    for (unsigned i = 0; i < 3; i++) {
        memset(each[i], 0, sizeof(*each[i]));
        each[i]->min_ns = UINT64_MAX;
    }
    shared->late_from_ns = UINT64_MAX;
}

static struct goal plan_trial(struct xdp_generator *generator, int ifindex,
                              const struct generate_arguments *arguments, unsigned batch, uint64_t start_ns)
{
    struct tester_plan *plan = &generator->shared->plan;
    struct goal goal = goal_of(arguments, start_ns);
    struct pacing pacing = {0};

    if (!arguments->unpaced)
        pacing_start(&pacing, arguments->load_pps, start_ns);
    plan->ifindex = (uint32_t)ifindex;
    plan->limit = goal.limit;
    plan->start_ns = start_ns;
    plan->until_ns = goal.send_until_ns;
    plan->interval_ns = pacing.interval_ns;
    plan->interval_fraction = pacing.interval_fraction;
    plan->spins = batch == 1 ? SPINS : 0;
    plan->closed_timeout_ns = CLOSED_TIMEOUT_NS;
    plan->above_ns = arguments->above_ns;
    plan->stall_ns = STALL_NS;
    plan->stretch = generator->stretches + 1;
    plan->paced = !arguments->unpaced;
    plan->closed = arguments->closed;
    plan->verify = arguments->verify;
    generator->shared->sending.next_ns = start_ns;
    generator->shared->sending.last_run_ns = start_ns;
    return goal;
}

/* When sending should be over. A closed loop of so many frames ends when it does. */
static uint64_t expected_end_ns(const struct generate_arguments *arguments, uint64_t start_ns)
{
    if (!arguments->counted)
        return start_ns + arguments->duration_ns;
    if (arguments->unpaced)
        return start_ns;
    return start_ns + (uint64_t)((double)arguments->count / arguments->load_pps * 1e9);
}

/* A signal to this thread at that time, and again and again from then on: it ends a run. */
static int timer_start(timer_t *timer, uint64_t at_ns, uint64_t tick_ns, struct error *err)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    struct itimerspec when = {
        .it_interval = {.tv_nsec = (long)tick_ns},
        .it_value = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)}};

    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, timer) != 0) {
        error_set(err, "refused", "timer_create: %s", strerror(errno));
        return -1;
    }
    if (timer_settime(*timer, TIMER_ABSTIME, &when, NULL) != 0) {
        error_set(err, "refused", "timer_settime: %s", strerror(errno));
        (void)timer_delete(*timer);
        return -1;
    }
    return 0;
}

static bool is_over(const struct tester *shared)
{
    return __atomic_load_n(&shared->sending.over_ns, __ATOMIC_RELAXED) != 0;
}

/* How many runs may be asked for at once: no more than make the frames of a burst, which is over with the
 * last. */
static uint32_t runs_for(const struct tester *shared)
{
    const struct tester_plan *plan = &shared->plan;
    uint64_t left = plan->limit - shared->sending.sequence;

    return !plan->paced && !plan->closed && left < RUNS_MAX ? (uint32_t)left + 1 : RUNS_MAX;
}

/* Runs the generator until sending is over or the role stopped. */
static int send_all(struct xdp_generator *generator, unsigned batch, const struct role *role,
                    struct error *err)
{
    const struct frame_set *frames = generator->frames;
    struct tester *shared = generator->shared;
    uint8_t data[TESTER_FRAME_MAX] = {0};
    struct xdp_md context = {.data_end = frames->longest, .ingress_ifindex = shared->plan.ifindex};

    while (!is_over(shared) && !role_stopped(role)) {
        LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = data, .data_size_in = frames->longest,
                    .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = (int)runs_for(shared),
                    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = batch);
        int failed = bpf_prog_test_run_opts(generator->program, &run);

        if (failed != 0 && failed != -EINTR) {
            error_set(err, "refused", "bpf(BPF_PROG_TEST_RUN) with live frames of %u bytes: %s%s",
                      frames->longest, strerror(-failed),
                      failed == -EINVAL
                          ? ": the kernel has no such mode (Linux 5.18), or no room for such frames"
                          : "");
            return -1;
        }
    }
    return 0;
}

/* Waits for what is under way, in the kernel: this loop only looks at how far it is. */
static void drain(struct tester *shared, const struct generate_arguments *arguments, const struct role *role)
{
    const volatile struct tester_arrived *arrived = &shared->arrived;
    uint64_t from_ns = monotonic_ns();
    uint64_t quiet_from_ns = from_ns;
    uint64_t last = from_ns;
    uint64_t frames = arrived->frames;

    if (arguments->late_ns > 0 && shared->rtt.n > 0)
        __atomic_store_n(&shared->late_from_ns,
                         shared->sending.sent_ns + shared->rtt.min_ns + arguments->late_ns, __ATOMIC_RELAXED);
    while (arguments->expect_return && !role_stopped(role)) {
        uint64_t now = monotonic_ns();

        /* Time off the core is none in which nothing came. */
        if (now - last > STALL_NS && now - from_ns < NS_PER_S) {
            from_ns += now - last;
            quiet_from_ns += now - last;
        }
        last = now;
        if (arrived->frames != frames) {
            frames = arrived->frames;
            quiet_from_ns = now;
        }
        if (goal_drained(arguments, shared->sending.sequence - arrived->received, from_ns, quiet_from_ns,
                         now))
            return;
    }
}

/* Waits for what the trial before has left, until all of it has come or nothing comes any more; how many
 * frames. */
static uint64_t take_leftover(const struct xdp_generator *generator, const struct role *role)
{
    const volatile struct tester_arrived *arrived = &generator->shared->arrived;
    const uint64_t quiet_ns = leftover_quiet_ns(&generator->left);
    uint64_t frames = arrived->frames;
    uint64_t last_ns = monotonic_ns();
    uint64_t now = last_ns;

    while (frames - generator->seen < generator->left.frames && now - last_ns < quiet_ns &&
           !role_stopped(role)) {
        now = monotonic_ns();
        if (arrived->frames != frames)
            last_ns = now;
        frames = arrived->frames;
    }
    return frames - generator->seen;
}

struct accepted {
    uint64_t taken; /* by the driver of the other end */
    uint64_t refused;
};

static struct accepted accepted_now(const struct io *io)
{
    return (struct accepted){driver_stats_sum(io->port[0].name, "_xdp_xmit"),
                             driver_stats_sum(io->port[0].name, "_xdp_xmit_errors")};
}

static void fill_trial(const struct tester *shared, struct trial *trial, int64_t apart_ns)
{
    const struct tester_sending *sending = &shared->sending;
    const struct tester_arrived *arrived = &shared->arrived;
    uint64_t sent_ns = sending->sequence > 0 ? sending->sent_ns : shared->plan.start_ns;

    trial->start_ns = shared->plan.start_ns + (uint64_t)apart_ns;
    trial->tx_end_ns = sent_ns + (uint64_t)apart_ns;
    trial->stale = arrived->stale;
    trial->foreign = arrived->foreign;
    trial->corrupt = arrived->corrupt;
    trial->late = arrived->late;
    /* Those behind the last that came are not in time either. */
    trial->above_run = arrived->above_run + sending->sequence - arrived->next;
    trial->longest_above =
        trial->above_run > arrived->longest_above ? trial->above_run : arrived->longest_above;
    trial->polls = sending->runs;
    trial->empty_polls = sending->idle;
    trial->stall_max_ns = sending->stall_max_ns;
    trial->stall_total_ns = sending->stall_total_ns;
    trial->sequence.received = arrived->received;
    trial->sequence.duplicates = arrived->duplicates;
    trial->sequence.reordered = arrived->reordered;
    memcpy(&trial->rtt, &shared->rtt, sizeof(trial->rtt));
    memcpy(&trial->service, &shared->service, sizeof(trial->service));
    memcpy(&trial->lag, &shared->lag, sizeof(trial->lag));
}

/* Whether the counts are whole; sets io->lost where not. */
static void check_counts(const struct xdp_generator *generator, struct io *io, struct accepted accepted)
{
    const struct tester *shared = generator->shared;
    const uint64_t made = shared->sending.sequence;

    if (shared->sending.refused > 0)
        error_set(&io->lost, "internal", "the kernel had no room for the bytes of %llu frames",
                  (unsigned long long)shared->sending.refused);
    else if (accepted.taken + accepted.refused != made)
        error_set(&io->lost, "refused",
                  "%s: %llu frames were made, but its driver took %llu and refused %llu: the other end is "
                  "down, or has "
                  "no XDP program and no GRO, or the frames are longer than its MTU",
                  io->port[0].name, (unsigned long long)made, (unsigned long long)accepted.taken,
                  (unsigned long long)accepted.refused);
    else if (shared->arrived.forgotten > 0)
        error_set(
            &io->lost, "internal",
            "%llu frames came back after %d million others: whether they are copies is not known any more",
            (unsigned long long)shared->arrived.forgotten, TESTER_WORDS / 1000000 * 64);
}

void xdp_generator_run(struct xdp_generator *generator, struct io *io, int ifindex, struct role *role,
                       const struct generate_arguments *arguments, struct trial *trial)
{
    struct tester *shared = generator->shared;
    const unsigned batch = batch_for(arguments);
    struct accepted before;
    struct accepted after;
    struct goal goal;
    uint64_t start_ns;
    int64_t apart_ns;
    uint64_t stale;
    timer_t timer;
    bool ends_by_itself;
    bool lost;

    trial_clear(trial);
    stale = take_leftover(generator, role);
    io->lost.code[0] = '\0';
    shared->plan.tag = arguments->tag; /* first: what comes from now on of another trial is stale */
    clear(shared);
    generator->seen = 0;
    generator->left = (struct leftover){0};
    before = accepted_now(io);
    apart_ns = generator->clocks_apart_ns = clocks_apart_ns();
    generator->batch = batch;
    start_ns = monotonic_ns() + LEAD_NS;
    goal = plan_trial(generator, ifindex, arguments, batch, start_ns);
    ends_by_itself = arguments->counted && arguments->unpaced && !arguments->closed; /* with its last frame */
    if (!ends_by_itself &&
        timer_start(&timer, expected_end_ns(arguments, start_ns),
                    arguments->counted && arguments->unpaced ? SLOW_TICK_NS : TICK_NS, &io->lost) != 0)
        return;
    lost = send_all(generator, batch, role, &io->lost) != 0;
    if (!ends_by_itself)
        (void)timer_delete(timer);
    generator->stretches += shared->sending.sequence / 64 + 1;
    if (lost)
        return;
    trial->aborted = role_stopped(role);
    drain(shared, arguments, role);
    trial->aborted = trial->aborted || role_stopped(role);
    after = accepted_now(io);
    after.taken -= before.taken;
    after.refused -= before.refused;
    check_counts(generator, io, after);
    fill_trial(shared, trial, apart_ns);
    trial->end_ns = clock_now_ns();
    trial->drain_ns = trial->end_ns - trial->tx_end_ns;
    trial->stale += stale;
    trial->sent = after.taken + (generator->ring_is_duts ? after.refused : 0);
    trial->tx_full = after.refused;
    trial->intended = goal_intended(arguments, goal, trial->sent);
    leftover_note(&generator->left, trial, arguments->expect_return);
    generator->seen = shared->arrived.frames;
    trial->usage = usage_since(&role->began);
    counter_set(&role->counters->tx_frames, trial->sent);
    counter_set(&role->counters->rx_frames, shared->arrived.frames);
    counter_set(&role->counters->foreign, trial->foreign);
    counter_set(&role->counters->polls, trial->polls);
    counter_set(&role->counters->empty_polls, trial->empty_polls);
}

json_t *xdp_generator_proof(const struct xdp_generator *generator)
{
    struct bpf_prog_info info = {0};
    __u32 length = sizeof(info);

    (void)bpf_obj_get_info_by_fd(generator->program, &info, &length);
    return json_pack("{s:s, s:I, s:b, s:s, s:I, s:s, s:{s:s, s:f, s:I}}", "program", info.name, "program_id",
                     (json_int_t)info.id, "spare", generator->spare.fd >= 0, "ring",
                     generator->ring_is_duts ? "dut" : "tester", "batch", (json_int_t)generator->batch,
                     "departure", "when a batch is flushed", "clock", "source", "monotonic",
                     "read_overhead_ns", generator->clock_read_ns, "probe_ahead_ns",
                     (json_int_t)generator->clocks_apart_ns);
}
