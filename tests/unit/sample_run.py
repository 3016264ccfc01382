"""A whole run made of generated numbers: test data, measured nowhere, shaped like the real thing."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

from hdrh.histogram import HdrHistogram

from labkit.measure.back_to_back import BackToBack
from labkit.measure.gate import Gate
from labkit.measure.goals import Goal
from labkit.measure.hosttimes import HardwareTimes, HostTimes, core_times, guest_gate
from labkit.measure.latency import LatencyLadder, LatencyPoint
from labkit.measure.proof import Proof
from labkit.measure.rates import LossCurve, LossPoint, Mrr
from labkit.measure.search import GoalResult, SearchResult
from labkit.measure.trial import Histogram, TrialResult
from labkit.record.codec import decode
from labkit.record.model import DatapathKey, HostKey, Key, Measurement, Outcome, Verdict
from labkit.record.provenance import Environment
from labkit.record.run import SCHEMA_VERSION, Run, RunEnd, RunStart

DATAPATHS = {
    # backend, mode, topology, frame: capacity pps, base RTT us, maximum offered load pps
    ("kernel", "", "veth", "64"): (415e3, 11.0, 1.31e6),
    ("kernel", "", "veth", "1518"): (362e3, 12.1, 1.22e6),
    ("af_packet", "", "veth", "64"): (540e3, 9.2, 1.31e6),
    ("xdp", "", "veth", "64"): (1.29e6, 5.4, 1.31e6),
    ("af_xdp", "", "veth", "64"): (880e3, 7.3, 1.31e6),
    ("af_xdp", "busy_poll", "veth", "64"): (935e3, 6.9, 1.31e6),
    ("dpdk", "net_af_xdp", "veth", "64"): (640e3, 8.8, 1.31e6),
    ("dpdk", "", "vhost", "64"): (11.3e6, 0.92, 17.4e6),
    ("dpdk", "", "vhost", "1518"): (6.1e6, 1.1, 9.9e6),
    ("dpdk", "", "memif", "64"): (8.7e6, 0.81, 14.0e6),
}


@cache
def histogram(seed: int, median_us: float, tail: float, n: int = 20_000) -> Histogram:
    rng = random.Random(seed)
    hdr = HdrHistogram(1, 10_000_000_000, 3)
    values = [int(median_us * 1e3 * rng.lognormvariate(0, 0.12)) for _ in range(600)]
    values += [int(median_us * 1e3 * (1 + tail * rng.paretovariate(1.4))) for _ in range(40)]
    each = n // len(values)
    for value in values:
        hdr.record_value(value, each)
    hdr.record_value(int(max(values) * 1.7), 1)
    return Histogram(
        n=hdr.get_total_count(),
        min_ns=min(values),
        max_ns=hdr.get_max_value(),
        mean_ns=hdr.get_mean_value(),
        hdr=hdr.encode().decode(),
    )


def trial(
    load_pps: float | None, capacity_pps: float, seed: int, duration_s: float = 0.2, **more: object
) -> TrialResult:
    rng = random.Random(seed)
    load = capacity_pps * 1.08 if load_pps is None else load_pps
    sent = int(load * duration_s)
    through = capacity_pps * rng.gauss(1, 0.004)
    received = sent if load < through else int(through * duration_s)
    return TrialResult(
        intended_load_pps=load_pps,
        duration_s=duration_s,
        intended=sent,
        sent=sent,
        received=min(received, sent),
        tx_duration_s=duration_s,
        overhead_s=0.03,
        **more,  # type: ignore[arg-type]
    )


def search(capacity_pps: float, max_offered_load_pps: float, seed: int) -> SearchResult:
    rng = random.Random(seed)
    trials = [trial(max_offered_load_pps, capacity_pps, seed)]
    low, high = 9e3, max_offered_load_pps
    while high / low > 1.005:
        load = (low * high) ** 0.5
        repeats = [
            trial(load, capacity_pps, rng.randrange(10**6)) for _ in range(2 if high / low > 1.1 else 7)
        ]
        trials += repeats
        bad = sum(t.loss_ratio > 0 for t in repeats)
        low, high = (low, load) if bad * 2 > len(repeats) else (load, high)

    def goal(name: str, loss: float, at: float) -> GoalResult:
        return GoalResult(
            goal=Goal(
                name=name,
                loss_ratio=loss,
                exceed_ratio=0.5,
                relative_width=0.005,
                initial_trial_duration_s=0.2,
                final_trial_duration_s=0.2,
                duration_sum_s=4.2,
            ),
            regular=True,
            irregularity=None,
            relevant_lower_bound_pps=at,
            relevant_upper_bound_pps=at * 1.005,
            conditional_throughput_pps=at * (1 - loss / 2),
        )

    return SearchResult(
        ndr=goal("NDR", 0.0, low * 0.985),
        pdr=goal("PDR", 0.005, low),
        min_load_pps=9e3,
        max_load_pps=max_offered_load_pps,
        trials=tuple(trials),
        duration_s=len(trials) * 0.23,
    )


def point(
    load: str, load_pps: float, capacity: float, base_us: float, stress: float, seed: int
) -> LatencyPoint:
    rtt = histogram(seed, round(base_us * (1 + stress), 3), 0.6 + 3 * stress)
    hdr = HdrHistogram.decode(rtt.hdr)
    at = {q: hdr.get_value_at_percentile(q) / 1e3 for q in (50, 90, 99, 99.9)}
    return LatencyPoint(
        load=load,
        load_pps=load_pps,
        trial=trial(load_pps, capacity, seed, duration_s=1.0, rtt=rtt, service=rtt),
        n=rtt.n,
        min_us=rtt.min_ns / 1e3,
        p50_us=at[50],
        p90_us=at[90],
        p99_us=at[99],
        p999_us=at[99.9],
        p9999_us=None,
        max_us=rtt.max_ns / 1e3,
        pdv_us=at[99.9] - rtt.min_ns / 1e3,
    )


def gates(steal: str = "ok") -> tuple[Gate, ...]:
    return (
        Gate(
            name="steal",
            state=steal,
            value="0.2 %" if steal == "ok" else "3.1 %",
            limit="1 %",
            why="CPU time taken by the hypervisor",
        ),
        Gate(
            name="affinity",
            state="ok",
            value="tester 0, DUT 1",
            limit="apart",
            why="read back from the kernel",
        ),
        Gate(name="clock", state="ok", value="tsc", limit="tsc", why="constant and nonstop"),
    )


def measurements(
    key: Key, capacity: float, base_us: float, offered_pps: float, seed: int, steal: str
) -> list[Measurement]:
    limited = "tester" if capacity > 0.95 * offered_pps else "dut"
    found = search(capacity, offered_pps, seed)
    pdr = found.pdr.conditional_throughput_pps
    assert pdr is not None
    deviations = ("trials of 0.2 s instead of 60 s (RFC 2544 section 24)", "drain time 20 ms instead of 2 s")

    def one(kind: str, **payload: object) -> Measurement:
        return Measurement(
            key=key,
            kind=kind,
            started="2026-01-02T03:04:05Z",
            duration_s=12.5,
            tester={
                "engine": "af_xdp" if key.link == "veth" else "dpdk",
                "core": 0,
                "clock": "tsc",
                "max_offered_load_pps": offered_pps,
            },
            proof=Proof(
                proven=True,
                claim=f"{key.backend} on {key.link}, read back",
                evidence={"bind_flags": 2, "queue": 0},
            ),
            gates=gates(steal if kind == "latency" else "ok"),
            limited_by=limited,
            deviations=deviations,
            **payload,  # type: ignore[arg-type]
        )

    rates = sorted(trial(None, capacity, seed + i).forwarding_rate_pps for i in range(10))
    mrr = Mrr(
        trials=tuple(trial(None, capacity, seed + i) for i in range(10)),
        median_pps=rates[5],
        min_pps=rates[0],
        max_pps=rates[-1],
        ci95_low_pps=rates[1],
        ci95_high_pps=rates[-2],
    )
    ladder = LatencyLadder(
        pdr_pps=pdr,
        points=(
            point("idle", 1e3, capacity, base_us, 0, seed),
            point("10% PDR", pdr * 0.1, capacity, base_us, 0.1, seed + 1),
            point("50% PDR", pdr * 0.5, capacity, base_us, 0.6, seed + 2),
            point("90% PDR", pdr * 0.9, capacity, base_us, 2.5, seed + 3),
        ),
        deviations=("streams of 1 s instead of 120 s (RFC 2544 section 26.2)",),
    )
    out = [one("throughput", throughput=found), one("mrr", mrr=mrr), one("latency", latency=ladder)]
    if key.frame == "64" and not key.mode:
        curve = LossCurve(
            max_load_pps=offered_pps,
            points=tuple(
                LossPoint(percent_of_max=p, trial=trial(offered_pps * p / 100, capacity, seed + p))
                for p in range(100, 0, -10)
            ),
            deviations=("trials of 0.2 s instead of 60 s",),
        )
        burst = BackToBack(
            average_frames=812.4,
            min_frames=256,
            max_frames=1024,
            stdev_frames=140.2,
            repeats=tuple(256 + (i * 97) % 768 for i in range(50)),
            burst_rate_pps=offered_pps,
            implied_buffer_time_s=812.4 / offered_pps,
            corrected_buffer_time_s=500 / offered_pps,
            deviations=("bursts up to 0.2 s instead of 2 s (RFC 9004)",),
        )
        out += [one("loss_curve", loss_curve=curve), one("back_to_back", back_to_back=burst)]
    return out


ENVIRONMENT = {
    "collected": "2026-01-02T03:04:00+00:00",
    "cpu": {
        "model": "Example CPU 9000 (test data)",
        "vendor": "ExampleVendor",
        "family_model_stepping": "1/2/3",
        "microcode": "0x1",
        "online": "0-1",
        "online_count": 2,
        "threads_per_core": 1,
        "sockets": 1,
        "smt_active": False,
        "l2_bytes": 1 << 20,
        "l3_bytes": 32 << 20,
        "isolated": "",
        "nohz_full": None,
        "features": ["constant_tsc", "nonstop_tsc"],
        "mitigations": {"meltdown": "Not affected", "spectre_v2": "Mitigation: Retpolines; STIBP: disabled"},
    },
    "kernel": {
        "release": "6.1.0-test",
        "version": "#1 SMP PREEMPT_DYNAMIC",
        "machine": "x86_64",
        "cmdline": "root=/dev/vda1 quiet",
        "preempt": "PREEMPT_DYNAMIC",
        "preempt_source": "uname -v",
        "realtime": False,
        "hz": 250,
        "distribution": "Example Linux 1 (test data)",
    },
    "clock": {
        "clocksource": "tsc",
        "available": ["tsc"],
        "constant_tsc": True,
        "nonstop_tsc": True,
        "tsc_known_freq": True,
    },
    "power": {
        "frequency_driver": None,
        "governors": [],
        "frequency_min_khz": None,
        "frequency_max_khz": None,
        "turbo": None,
        "idle_driver": "haltpoll",
        "idle_governor": "haltpoll",
        "idle_states": ["POLL"],
    },
    "memory": {
        "total_bytes": 8 << 30,
        "available_bytes": 7 << 30,
        "transparent_hugepages": "madvise",
        "hugepages": [{"page_bytes": 2 << 20, "total": 512, "free": 512}],
        "numa_nodes": "0",
        "numa_balancing": False,
    },
    "virtualisation": {"guest": True, "hypervisor": None, "container": None},
    "load": {
        "load_1min": 0.4,
        "load_5min": 0.5,
        "load_15min": 0.3,
        "uptime_s": 1234.5,
        "steal_ratio": 0.002,
        "cpu_pressure_avg10_percent": 0.1,
    },
    "network": {
        "sysctls": {"net.core.busy_poll": "0"},
        "irq_default_affinity": "3",
        "irqbalance_running": False,
        "links": {"veth": {"tester0": {"gro": True, "tx-checksumming": False}, "mtu_bytes": 1500}},
    },
    "privileged": True,
    "python": "CPython 3.11.2",
    "labkit": "0.1.0",
    "tools": [{"name": "labkit-probe-af_xdp", "version": None, "sha256": "ab" * 32}],
    "source": {"commit": "0" * 40, "dirty": False},
    "topologies": [
        {"name": "veth", "tier": "software", "sha256": "cd" * 32},
        {"name": "vhost", "tier": "software", "sha256": "ef" * 32},
    ],
    "seed": 7,
    "parameters": {"trial_duration_s": 0.2, "relative_width": 0.005},
    "unreadable": {"/sys/kernel/debug/sched/preempt": "Operation not permitted"},
}


def host_measurements(*, scale: float = 1.0, cores: tuple[int, ...] = (0, 1)) -> list[Measurement]:
    """The host itself: gaps of the hardware, wake-ups, and a busy loop; `scale` stretches the late ones."""

    def one(kind: str, **payload: object) -> Measurement:
        return Measurement(
            key=HostKey(topology="veth", kind=kind),
            kind=kind,
            started="2026-01-02T03:04:05Z",
            duration_s=30.0,
            tester={"tool": kind, "version": "2.40", "arguments": ["--quiet"], "cores": list(cores)},
            proof=Proof(
                proven=True,
                claim="2 threads of SCHED_FIFO 95, memory locked",
                evidence={"core 0": "SCHED_FIFO 95"},
            ),
            gates=(*gates(), guest_gate(guest=False)),
            limited_by="none",
            deviations=("30 s; telco practice takes 600 s to 12 h",),
            **payload,  # type: ignore[arg-type]
        )

    def times(*, interval_us: int | None) -> HostTimes:
        found = []
        for core in cores:
            rng = random.Random(core)
            bins = Counter(int(12 * rng.lognormvariate(0, 0.2)) for _ in range(30_000))
            bins.update(int((40 + 20 * rng.paretovariate(1.5)) * scale) for _ in range(300))
            found.append(
                core_times(
                    core=core,
                    counted=bins.total(),
                    bins_us=bins,
                    max_us=max(bins),
                    min_us=min(bins),
                    mean_us=13.2,
                    interval_us=interval_us,
                )
            )
        step_us = 0.0 if interval_us is None else 1.0
        return HostTimes(
            duration_s=30.0,
            interval_us=None if interval_us is None else float(interval_us),
            resolution_us=step_us,
            cores=tuple(found),
        )

    gaps = HardwareTimes(
        duration_s=30.0, threshold_us=10.0, width_us=5e5, window_us=1e6, gaps=2, max_us=16.0, smis=None
    )
    return [
        one("hardware", hardware=gaps),
        one("wakeup", wakeup=times(interval_us=100_000)),
        one("busy_loop", busy_loop=times(interval_us=None)),
    ]


def sample_run(*, quick: bool = False, ended: bool = True, hostile: str = "", host: bool = False) -> Run:
    """`hostile` is put into every text that a backend, a user or a system may word; `host`: the host itself too."""
    found: list[Measurement] = host_measurements() if host else []
    verdicts: list[Verdict] = []
    for i, ((backend, mode, link, frame), (capacity, base_us, offered_pps)) in enumerate(DATAPATHS.items()):
        key = DatapathKey(backend=backend + hostile, mode=mode, topology=link, link=link, frame=frame)
        found += measurements(
            key, capacity, base_us, offered_pps, 1000 * i, "invalid" if mode == "busy_poll" else "ok"
        )
        outcome, reason = Outcome.PASS, "loss 0 at 10 % of MRR"
        if mode == "net_af_xdp":
            outcome, reason = Outcome.FAIL, "PDR 1.54 times kernel, wanted >= 2"
        if mode == "busy_poll":
            outcome, reason = Outcome.INVALID, "steal: 3.1 % of CPU time taken by the hypervisor, limit 1 %"
        verdicts.append(
            Verdict(
                test=f"test_throughput[{key.id}]",
                key=key,
                target="pdr >= 1 x kernel" + hostile,
                outcome=outcome,
                value=capacity,
                unit="pps",
                reason=reason + hostile,
            )
        )
    verdicts += [
        Verdict(
            test="test_throughput[onload-nics-64]",
            key=DatapathKey(backend="onload", mode="", topology="nics", link="nic", frame="64"),
            target="measured",
            outcome=Outcome.SKIP,
            value=None,
            unit=None,
            reason="onload: no program onload: Onload is not installed (fix: none but by the role openonload: "
            "openonload_version and openonload_sha256, then ansible-playbook -i INVENTORY ansible/site.yml "
            f"--tags openonload){hostile}",
        ),
        Verdict(
            test="test_version",
            key=None,
            target="measured",
            outcome=Outcome.SKIP,
            value=None,
            unit=None,
            reason="labkit doctor: not root; fix: sudo labkit run" + hostile,
        ),
    ]
    return Run(
        schema_version=SCHEMA_VERSION,
        start=RunStart(
            id="20260102T030405Z-abc123",
            started="2026-01-02T03:04:05.000Z",
            labkit_version="0.1.0",
            command=("labkit", "run" + hostile),
            quick=quick,
            seed=7,
        ),
        end=RunEnd(state="finished", ended="2026-01-02T03:12:40.000Z") if ended else None,
        environment=decode(Environment, ENVIRONMENT),
        measurements=tuple(found),
        verdicts=tuple(verdicts),
    )
