"""Measures the host itself: how late it wakes a thread, how long it interrupts a busy one, gaps of the hardware.

No datapath and no packet: one tool per kind, in the order hardware, wake-up, busy loop (each is a lower limit of the
next). It does not know targets and stores nothing: sessions do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from labkit.errors import ConfigInvalid, LabkitBug, ToolFailed
from labkit.lowlatency import hostcores
from labkit.lowlatency.hostwatch import Watch
from labkit.lowlatency.tools import cyclictest, hwlatdetect, oslat, rt_tests, rtla
from labkit.measure import noise
from labkit.measure.gate import Gate
from labkit.measure.hosttimes import (
    HardwareTimes,
    HostTimes,
    beyond_gate,
    core_times,
    guest_gate,
    omitted_gate,
)
from labkit.measure.proof import Proof
from labkit.record import readings

KINDS: Mapping[str, tuple[str, ...]] = {
    "hardware": ("hwlatdetect",),
    "wakeup": ("cyclictest",),
    "timerlat": ("timerlat",),
    "busy_loop": ("oslat",),
}
"""By kind of measurement, in the order of a run: the doctor's checks that must be ok."""

SIGN_OFF_S = 600
"""Duration of each tool in OpenShift's examples of cnf-tests; 12 h for a sign-off."""

MAX_DURATION_S = 24 * 3600
INTERVALS_US = (50, 1_000_000)

OnSecond = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A measurement to make."""

    kind: str
    """One of KINDS."""
    duration_s: int
    interval_us: int
    """Between two wake-ups (wakeup, timerlat)."""
    cores: tuple[int, ...] | None = None
    """None: the isolated ones, else all."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LabkitBug(f"no such measurement of the host: {self.kind}")
        if not 1 <= self.duration_s <= MAX_DURATION_S:
            raise ConfigInvalid(f"duration {self.duration_s} s: expected 1 s to {MAX_DURATION_S} s (24 h)")
        low, high = INTERVALS_US
        if not low <= self.interval_us <= high:
            raise ConfigInvalid(f"interval {self.interval_us} us: expected {low} us to {high} us")


def measure(request: Request, *, guest: bool | None, on_second: OnSecond | None = None) -> HostResult:
    """Make the measurement. Raises ConfigInvalid (cores that do not exist), EnvironmentBroken or ToolFailed."""
    match request.kind:
        case "hardware":
            return _hardware(request, guest, on_second)
        case "wakeup":
            return _wakeup(request, guest, on_second)
        case "timerlat":
            return _timerlat(request, guest, on_second)
        case _:
            return _busy_loop(request, guest, on_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResult:
    """The result of one measurement of the host; `payload` holds one field of Measurement."""

    payload: Mapping[str, HostTimes | HardwareTimes]
    tester: Mapping[str, object]
    proof: Proof
    gates: tuple[Gate, ...]
    deviations: tuple[str, ...] = ()


def wakeup_times(tool: cyclictest.Cyclictest, found: cyclictest.CyclictestResult) -> HostTimes:
    """The times of a run of cyclictest, on any host."""
    return HostTimes(
        duration_s=float(tool.duration_s),
        interval_us=float(tool.interval_us),
        resolution_us=1.0,
        cores=tuple(
            core_times(
                core=t.core,
                counted=t.wakeups,
                bins_us=t.bins_us,
                max_us=t.max_us,
                min_us=t.min_us,
                mean_us=t.mean_us,
                interval_us=tool.interval_us,
                reach_us=tool.histogram_us,
            )
            for t in found.threads
        ),
    )


def _wakeup(request: Request, guest: bool | None, on_second: OnSecond | None) -> HostResult:
    """Wake-up latency by cyclictest."""
    duration_s, interval_us = request.duration_s, request.interval_us
    chosen = hostcores.choose(request.cores)
    tool = cyclictest.Cyclictest(
        cores=chosen, duration_s=duration_s, interval_us=interval_us, main_core=hostcores.aside(chosen)
    )
    watch = Watch(chosen, "SCHED_FIFO")
    found, done = cyclictest.measure(tool, on_start=watch.start, on_second=on_second)
    times = wakeup_times(tool, found)
    right = [t for t in watch.threads if (t.policy, t.priority) == ("SCHED_FIFO", tool.priority)]
    return HostResult(
        payload={"wakeup": times},
        tester=_tester("cyclictest", found.version, done.argv, chosen),
        proof=Proof(
            proven=len(right) == len(chosen) == len(watch.threads)
            and {t.core for t in found.threads} == set(chosen)
            and watch.locked_kib > 0,
            claim=f"{len(right)} threads of SCHED_FIFO {tool.priority}, memory locked, one on each core measured",
            evidence={**watch.evidence(), "VmLck_kib": watch.locked_kib},
        ),
        gates=(
            *watch.gates(switches=done.involuntary_switches, duration_s=float(duration_s), guest=guest),
            beyond_gate(times.cores),
            omitted_gate(times.cores),
        ),
        deviations=(
            "idle states with an exit latency are disabled while cyclictest runs (/dev/cpu_dma_latency 0 us): a "
            "program that does not do that wakes up later",
            *_short(duration_s),
        ),
    )


def _busy_loop(request: Request, guest: bool | None, on_second: OnSecond | None) -> HostResult:
    """How long a busy loop is kept from running, by oslat, as an ordinary thread."""
    duration_s = request.duration_s
    chosen = hostcores.choose(request.cores)
    main_core = hostcores.aside(chosen)
    tool = oslat.Oslat(
        cores=chosen, duration_s=duration_s, main_core=min(chosen) if main_core is None else main_core
    )
    watch = Watch(chosen, "SCHED_OTHER")
    found, done = oslat.measure(tool, on_start=watch.start, on_second=on_second)
    times = HostTimes(
        duration_s=float(duration_s),
        interval_us=None,
        resolution_us=0.0,  # rounded up: 13 us is more than 12 and at most 13
        cores=tuple(
            core_times(
                core=t.core,
                counted=t.loops,
                bins_us=t.bins_us,
                max_us=t.max_us,
                min_us=t.min_us,
                mean_us=t.mean_us,
                reach_us=tool.buckets,
            )
            for t in found.threads
        ),
    )
    deviations = list(_short(duration_s))
    if main_core is None:
        deviations.append("no core was left for oslat's main thread: it shares one that is measured")
    gates = watch.gates(switches=done.involuntary_switches, duration_s=float(duration_s), guest=guest)
    return HostResult(
        payload={"busy_loop": times},
        tester=_tester("oslat", found.version, done.argv, chosen),
        proof=Proof(
            proven=len(watch.threads) == len(chosen) and {t.core for t in found.threads} == set(chosen),
            claim=f"{len(watch.threads)} threads in a busy loop, one on each core measured",
            evidence=watch.evidence(),
        ),
        # Other threads preempt an ordinary thread: that is what it measures, and no reason for doubt.
        gates=(*(g for g in gates if g.name != "switches"), beyond_gate(times.cores)),
        deviations=tuple(deviations),
    )


def _timerlat(request: Request, guest: bool | None, on_second: OnSecond | None) -> HostResult:
    """Wake-up latency of the thread as the kernel's own tracer sees it, by rtla timerlat."""
    duration_s, interval_us = request.duration_s, request.interval_us
    chosen = hostcores.choose(request.cores)
    tool = rtla.Timerlat(cores=chosen, duration_s=duration_s, period_us=interval_us)
    before = readings.read({f"core {core}": (0, core) for core in chosen})
    columns, done = rtla.measure(tool, on_second=on_second)
    after = readings.read({f"core {core}": (0, core) for core in chosen})
    # A core without traced wake-ups is left out of the figures, and the measurement is not proven.
    threads = [c for c in columns if c.context == "thread" and c.counted]
    silent = sorted(set(chosen) - {c.core for c in threads})
    if not threads:
        raise ToolFailed(
            f"rtla timerlat: no wake-up was traced on cores {', '.join(map(str, chosen))} in {duration_s} s",
            hint="check for threads of a higher priority there, or choose other cores (cores=...)",
        )
    times = HostTimes(
        duration_s=float(duration_s),
        interval_us=float(interval_us),
        resolution_us=1.0,
        cores=tuple(
            core_times(
                core=c.core,
                counted=c.counted,
                bins_us=c.bins_us,
                max_us=c.max_us,
                min_us=c.min_us,
                mean_us=c.mean_us,
                interval_us=interval_us,
                reach_us=tool.entries,
            )
            for c in threads
            if c.max_us is not None and c.min_us is not None and c.mean_us is not None
        ),
    )
    irq = {
        f"irq_max_us_core_{c.core}": c.max_us for c in columns if c.context == "irq" and c.max_us is not None
    }
    return HostResult(
        payload={"timerlat": times},
        tester={**_tester("rtla timerlat", rtla.version(), done.argv, chosen), **irq},
        proof=Proof(
            proven={c.core for c in threads} == set(chosen),
            claim=f"the timerlat tracer's threads on cores {', '.join(str(c.core) for c in threads)}"
            + (f"; none on {', '.join(map(str, silent))}" if silent else ""),
            evidence={
                **{f"core {c.core}": f"{c.counted} wake-ups traced" for c in threads},
                **{f"core {core}": "no wake-up traced" for core in silent},
            },
        ),
        gates=(
            noise.steal_gate(before, after),
            noise.clock_gate(before, after),
            guest_gate(guest),
            beyond_gate(times.cores),
            omitted_gate(times.cores),
        ),
        deviations=("these times include the cost of tracing", *_short(duration_s)),
    )


def _hardware(request: Request, guest: bool | None, on_second: OnSecond | None) -> HostResult:
    """Gaps caused by hardware and firmware, by hwlatdetect."""
    duration_s = request.duration_s
    before = readings.read({})
    found, done = hwlatdetect.measure(hwlatdetect.Hwlatdetect(duration_s=duration_s), on_second=on_second)
    return HostResult(
        payload={
            "hardware": HardwareTimes(
                duration_s=float(duration_s),
                threshold_us=float(found.threshold_us),
                width_us=float(found.width_us),
                window_us=float(found.window_us),
                gaps=found.gaps,
                max_us=None if found.max_us is None else float(found.max_us),
                smis=found.smis,
            )
        },
        tester=_tester("hwlatdetect", rt_tests.version(), done.argv, ()),
        proof=Proof(
            proven=True,
            claim="the kernel's hwlat tracer ran to its end",
            evidence={"window_us": found.window_us, "width_us": found.width_us},
        ),
        gates=(noise.clock_gate(before, readings.read({})), guest_gate(guest)),
        deviations=(
            f"watched for {found.width_us / found.window_us:.0%} of the time, one core after the other",
            *_short(duration_s),
        ),
    )


def _tester(tool: str, version: str | None, argv: Sequence[str], cores: tuple[int, ...]) -> dict[str, object]:
    words = [word for word in argv[1:] if not word.startswith("--json=")]
    return {"tool": tool, "version": version, "arguments": words, "cores": list(cores)}


def _short(duration_s: int) -> tuple[str, ...]:
    """The deviation of a run that is shorter than in telco practice."""
    if duration_s >= SIGN_OFF_S:
        return ()
    return (f"{duration_s} s; telco practice measures for {SIGN_OFF_S} s to 12 h, to see rare delays",)
