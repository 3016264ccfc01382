"""Gates over what was read around a measurement: whether its figures can be trusted.

Pure: the readings are passed in. A gate is ok, warn (the figure stands, with a warning) or invalid (there is no
verdict, neither pass nor fail).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from labkit.measure.gate import BASE, Gate, state_of
from labkit.measure.trial import TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTicks:
    """One CPU's line of /proc/stat: steal (field 8), user and nice time together, all but guest time [ticks]."""

    steal: int
    total: int
    user: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseReading:
    """What was read before or after a measurement, never during a trial."""

    cpus: Mapping[int, CpuTicks]
    clocksource: str
    allowed_cores: Mapping[str, tuple[int, ...]]
    """Cores that each worker (by its role) may run on, read back from /proc/PID/task/TID/status."""
    own_user: Mapping[int, int] = field(default_factory=dict)
    """By core: user time of the workers that are there, and of the controller where it may run there [ticks]."""
    nics: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Counters of the lab's NICs here, by interface, as the kernel names them (rx_missed_errors, ...) [frames]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a gate warns and where it says invalid. All are shares [1] unless named otherwise."""

    steal_warn: float = 0.001
    steal_invalid: float = 0.01
    contention_warn: float = 0.02
    contention_invalid: float = 0.05
    unsent_warn: float = 0.001
    unsent_invalid: float = 0.01
    offered_invalid: float = 0.01
    stall_warn: float = 0.01
    switches_warn_per_s: float = 1.0


DEFAULT_LIMITS = Limits()

GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")


def steal_gate(before: NoiseReading, after: NoiseReading, *, limits: Limits = DEFAULT_LIMITS) -> Gate:
    """Time that the hypervisor gave to others, on the worst of the CPUs read."""
    worst, worst_cpu = 0.0, None
    for cpu, then in before.cpus.items():
        now = after.cpus.get(cpu)
        ticks = 0 if now is None else now.total - then.total
        if now is not None and ticks > 0:
            share = (now.steal - then.steal) / ticks
            if worst_cpu is None or share > worst:
                worst, worst_cpu = share, cpu
    return Gate(
        name="steal",
        state="warn"
        if worst_cpu is None
        else state_of(worst, warn=limits.steal_warn, invalid=limits.steal_invalid),
        value="not read" if worst_cpu is None else f"{worst:.2%} on CPU {worst_cpu}",
        limit=f"warn > {limits.steal_warn:.1%}, invalid > {limits.steal_invalid:.0%}",
        why="CPU time taken by other guests of this host shows as loss and latency of the DUT",
    )


CONTENTION_TICKS = 3
"""Up to this many ticks can be an artefact of the kernel's sampling."""


def contention_gate(before: NoiseReading, after: NoiseReading, *, limits: Limits = DEFAULT_LIMITS) -> Gate:
    """Time that other programs had on a worker's core, on the worst of the cores read: user time, less that of ours.

    System and interrupt time are left out, since a datapath in the kernel makes its own.
    """
    worst, worst_cpu = 0.0, None
    for cpu, then in before.cpus.items():
        now = after.cpus.get(cpu)
        if now is None or now.total <= then.total:
            continue
        own = after.own_user.get(cpu, 0) - before.own_user.get(cpu, 0)
        others = now.user - then.user - max(own, 0)
        share = others / (now.total - then.total) if others > CONTENTION_TICKS else 0.0
        if worst_cpu is None or share > worst:
            worst, worst_cpu = share, cpu
    return Gate(
        name="contention",
        state="warn"
        if worst_cpu is None
        else state_of(worst, warn=limits.contention_warn, invalid=limits.contention_invalid),
        value="not read" if worst_cpu is None else f"{worst:.1%} of CPU {worst_cpu}",
        limit=f"warn > {limits.contention_warn:.0%}, invalid > {limits.contention_invalid:.0%}",
        why="other programs ran on the core of tester or DUT: their time shows as loss and latency of the DUT",
    )


def affinity_gate(after: NoiseReading, *, intended: Mapping[str, int]) -> Gate:
    """Each worker was allowed on its own core and on no other, and no two share one."""
    wrong = [
        f"{role}: {_cores(after.allowed_cores.get(role))}, not {core}"
        for role, core in intended.items()
        if after.allowed_cores.get(role) != (core,)
    ]
    shared = len(set(intended.values())) < len(intended)
    if shared:
        wrong.append("two workers on one core")
    seen = ", ".join(f"{role} on {_cores(after.allowed_cores.get(role))}" for role in intended)
    return Gate(
        name="affinity",
        state="invalid" if wrong else "ok",
        value="; ".join(wrong) or seen or "no worker is pinned",
        limit="one worker a core, read back",
        why="workers that share or change cores measure the scheduler",
    )


def _cores(cores: tuple[int, ...] | None) -> str:
    return "not read" if cores is None else ",".join(map(str, cores))


def clock_gate(before: NoiseReading, after: NoiseReading) -> Gate:
    """The kernel's clock source was a good one, and stayed."""
    changed = before.clocksource != after.clocksource
    good = after.clocksource in GOOD_CLOCKS
    return Gate(
        name="clock",
        state="invalid" if changed else "ok" if good else "warn",
        value=f"{before.clocksource} -> {after.clocksource}" if changed else after.clocksource,
        limit=f"one of {', '.join(GOOD_CLOCKS)}, throughout",
        why="the kernel drops a clock source when it finds it unstable: times before and after do not compare",
    )


def unsent_gate(trials: Sequence[TrialResult], *, limits: Limits = DEFAULT_LIMITS) -> Gate:
    """Frames that the tester should have sent in the trials behind a figure, and did not: the median trial's share.

    The median, since a search lets up to half of the trials at its lower bound be bad ones (exceed ratio 50 %).
    """
    shares = [trial.unsent / trial.intended for trial in trials if trial.intended]
    share, worst = (median(shares), max(shares)) if shares else (0.0, 0.0)
    return Gate(
        name="unsent",
        state=state_of(share, warn=limits.unsent_warn, invalid=limits.unsent_invalid),
        value=f"{share:.3%}, in the worst trial {worst:.3%}",
        limit=f"warn > {limits.unsent_warn:.1%}, invalid > {limits.unsent_invalid:.0%}",
        why="frames that were not sent say nothing about the DUT",
    )


def offered_gate(trials: Sequence[TrialResult], *, limits: Limits = DEFAULT_LIMITS) -> Gate:
    """Offered load against intended load, in the trials behind a figure: the median trial's error."""
    errors = [offered_error(trial) for trial in trials if trial.intended_load_pps is not None]
    error = median(errors) if errors else 0.0
    return Gate(
        name="offered",
        state="invalid" if abs(error) > limits.offered_invalid else "ok",
        value=f"{error:+.2%}" if errors else "no load was intended",
        limit=f"invalid beyond {limits.offered_invalid:.0%}",
        why="a load that was not offered was not measured",
    )


def offered_error(trial: TrialResult) -> float:
    """Offered load minus intended load, relative to the intended load [1]; 0 if none was intended."""
    if not trial.intended_load_pps:
        return 0.0
    return (trial.sent - trial.intended) / trial.intended if trial.intended else 0.0


def stall_gate(trials: Sequence[TrialResult], *, limits: Limits = DEFAULT_LIMITS) -> Gate:
    """Turns of the tester's loop that took more than 100 us, in trials with a pace. It only warns.

    Near saturation a veth link does the DUT's work inside the tester's own send call, and turns grow long with nobody
    disturbing them. A trial at maximum rate has no pace to fall behind.
    """
    paced = [trial for trial in trials if trial.intended_load_pps is not None]
    total_s = sum(trial.duration_s + trial.overhead_s for trial in paced)
    share = sum(trial.stall_total_s for trial in paced) / total_s if total_s else 0.0
    longest_s = max((trial.stall_max_s for trial in paced), default=0.0)
    return Gate(
        name="stall",
        state="warn" if share > limits.stall_warn else "ok",
        value=f"{share:.2%}, longest {longest_s * 1e3:.2f} ms" if paced else "no trial with a pace",
        limit=f"warn > {limits.stall_warn:.0%}",
        why="a frame that the tester sends late has a longer round trip that is not the DUT's",
    )


def switches_gate(trials: Sequence[TrialResult], *, limits: Limits = DEFAULT_LIMITS) -> Gate:
    """Involuntary context switches of the tester. It only warns: the harm shows as unsent frames."""
    total_s = sum(trial.duration_s for trial in trials)
    rate = sum(trial.involuntary_switches for trial in trials) / total_s if total_s else 0.0
    return Gate(
        name="switches",
        state="warn" if rate > limits.switches_warn_per_s else "ok",
        value=f"{rate:.1f}/s",
        limit=f"warn > {limits.switches_warn_per_s:g}/s; 0 on an isolated core",
        why="something else ran on the tester's core",
    )


def proof_gate(*, proven: bool, claim: str) -> Gate:
    """The datapath proved that traffic took it."""
    return Gate(
        name="proof",
        state="ok" if proven else "invalid",
        value=claim if proven else f"not proven: {claim}",
        limit="proven by what was read back",
        why="without proof it is unknown which datapath was measured",
    )


def base_gate(rate: str, failing: Sequence[Gate]) -> Gate:
    """The rate ("ndr", "pdr" or "mrr") that a measurement rests on is invalid, by these gates of its own."""
    return Gate(
        name=f"{BASE}{rate}",
        state="invalid",
        value=f"{rate.upper()} is invalid by {', '.join(gate.name for gate in failing)}",
        limit="the rate that loads are relative to, or that a search begins at, must be valid",
        why="a load that is relative to a rate which is too low is too low itself",
    )


ONE_MACHINE = ""
"""The name of the only machine, where there is no other."""
_STATES = ("ok", "warn", "invalid")


def of_machines(found: Mapping[str, Gate]) -> Gate:
    """One gate of those of several machines: the worst state, and the value of each."""
    worst = max(found.values(), key=lambda gate: _STATES.index(gate.state))
    if list(found) == [ONE_MACHINE]:
        return worst
    return replace(worst, value="; ".join(f"{machine}: {gate.value}" for machine, gate in found.items()))


def gates(
    *,
    before: Mapping[str, NoiseReading],
    after: Mapping[str, NoiseReading],
    intended_cores: Mapping[str, Mapping[str, int]],
    deciding: Sequence[TrialResult],
    proven: bool,
    claim: str,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Gate, ...]:
    """All gates of one measurement; `deciding` are the trials that its figures rest on, not those on the way.

    Readings and cores (by role) are by machine: ONE_MACHINE, or the names of several.
    """

    def each(gate: Callable[[str], Gate]) -> Gate:
        return of_machines({machine: gate(machine) for machine in after})

    return (
        proof_gate(proven=proven, claim=claim),
        each(lambda m: steal_gate(before[m], after[m], limits=limits)),
        each(lambda m: contention_gate(before[m], after[m], limits=limits)),
        each(lambda m: affinity_gate(after[m], intended=intended_cores.get(m, {}))),
        each(lambda m: clock_gate(before[m], after[m])),
        unsent_gate(deciding, limits=limits),
        offered_gate(deciding, limits=limits),
        stall_gate(deciding, limits=limits),
        switches_gate(deciding, limits=limits),
    )
