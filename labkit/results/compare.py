"""Two runs of one host beside each other: a generic and a low-latency boot, before and after.

Like is compared with like, or not at all: the same machine, the same labs. That kernels and command lines differ is
what a comparison is for, so that is named first; whatever else differs is named too. Pure: runs in, findings out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from labkit.measure.hosttimes import HostTimes
from labkit.results.codec import encode
from labkit.results.flavour import describe
from labkit.results.likeness import (
    environment,
    host_words,
    kernel_facts,
    other_facts,
    same_host,
    same_labs,
)
from labkit.results.model import Key, Measurement
from labkit.results.rows import HOST_KINDS, host_times, listed
from labkit.results.run import Run
from labkit.results.spread import Reading, readings

NOT_COMPARABLE = "not comparable"

WORDS = (
    "A low-latency or real-time kernel is about wake-ups, not about throughput: expect the rare late wake-up to go, "
    "and rates to stay or to fall a little. Whether that is a gain depends on what you run."
)
SPREAD = (
    "Within spread: what the method leaves open (a search's width, a 95 % interval) overlaps. From run to run there is "
    "more: measure A, B, A, B in turn before you believe a small difference."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of one row in both runs."""

    key: Key
    kind: str
    metric: str
    unit: str
    a: Reading | None
    b: Reading | None
    ratio: float | None
    """B to A."""
    difference: float | None
    """B less A, in `unit`."""
    finding: str
    """better, worse (B than A), within spread, invalid, or not comparable."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A fact that differs between the runs."""

    what: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that two runs say of each other."""

    a: str
    """The run's id."""
    b: str
    host: str
    """What both were made on."""
    kernel_a: str
    kernel_b: str
    kernel: tuple[Changed, ...]
    """What differs of the kernel and its command line: what is compared."""
    besides: tuple[Changed, ...]
    """What else differs: a difference of figures may be theirs."""
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def compared(self) -> int:
        """Metrics of which something could be said."""
        return sum(d.finding in ("better", "worse", "within spread") for d in self.differences)

    @property
    def counts(self) -> Counter[str]:
        """How many metrics of each finding."""
        return Counter(d.finding for d in self.differences)

    def as_json(self) -> object:
        """For `labkit compare --json`."""
        return encode(self)


def compare(a: Run, b: Run) -> Comparison:
    """Compare B with A. Raises ConfigInvalid where they are of unlike hosts or labs, or one does not say of which."""
    was, now = environment(a, "A"), environment(b, "B")
    same_host(was, now)
    same_labs(was, now)
    kernel = tuple(
        Changed(what=what, a=then, b=later)
        for (what, then), (_, later) in zip(kernel_facts(was), kernel_facts(now), strict=True)
        if then != later
    )
    besides = tuple(
        Changed(what=what, a=then, b=later)
        for (what, then), (_, later) in zip(other_facts(a, was), other_facts(b, now), strict=True)
        if then != later
    )
    notes = [] if kernel else ["Kernel and command line are the same in both: what differs is not theirs."]
    if besides:
        notes.append("More than the kernel differs: a difference of figures may come from that.")
    if now.virtualisation.guest:
        notes.append("A virtual machine: the hypervisor's scheduling is in every figure of both.")
    notes += _cores_notes(a, b)
    notes += [
        f"Run {name} was interrupted." for name, run in (("A", a), ("B", b)) if run.state == "interrupted"
    ]
    return Comparison(
        a=a.start.id,
        b=b.start.id,
        host=host_words(was),
        kernel_a=describe(was.kernel),
        kernel_b=describe(now.kernel),
        kernel=kernel,
        besides=besides,
        differences=tuple(_differences(a, b)),
        notes=(*notes, WORDS, SPREAD),
    )


def _last(run: Run) -> dict[tuple[Key, str], Measurement]:
    """By row and kind; the last one where it was repeated."""
    return {(m.key, m.kind): m for m in run.measurements}


def _differences(a: Run, b: Run) -> list[Difference]:
    then, now = _last(a), _last(b)
    out: list[Difference] = []
    for key, kind in sorted(dict.fromkeys([*then, *now]), key=_place):
        was, is_ = then.get((key, kind)), now.get((key, kind))
        unlike = ""
        if was is not None and is_ is not None:
            was, is_, unlike = _on_the_same_cores(was, is_)
        old = {r.metric: r for r in readings(was)} if was is not None else {}
        new = {r.metric: r for r in readings(is_)} if is_ is not None else {}
        for name in dict.fromkeys([*old, *new]):
            told = _judge(key, kind, name, old.get(name), new.get(name))
            out.append(replace(told, finding=NOT_COMPARABLE, reason=unlike) if unlike else told)
    return out


def _on_the_same_cores(a: Measurement, b: Measurement) -> tuple[Measurement, Measurement, str]:
    """Both, with only those cores that were measured in both: one boot may have isolated some.

    The last is why they do not compare at all; empty: they do.
    """
    old, new = host_times(a), host_times(b)
    if old is None or new is None:
        return a, b, ""
    if old.interval_us != new.interval_us:
        return a, b, f"a wake-up every {old.interval_us:g} us in A, every {new.interval_us:g} us in B"
    both = {core.core for core in old.cores} & {core.core for core in new.cores}
    if not both:
        return a, b, "on other cores in A than in B"
    return _only(a, old, both), _only(b, new, both), ""


def _only(measurement: Measurement, times: HostTimes, cores: set[int]) -> Measurement:
    kept: Any = {measurement.kind: replace(times, cores=tuple(c for c in times.cores if c.core in cores))}
    return replace(measurement, **kept)


def _cores_notes(a: Run, b: Run) -> list[str]:
    """Where the two runs measured the host on different cores."""
    then, now = _last(a), _last(b)
    notes = []
    for key, kind in then:
        old = host_times(then[key, kind])
        new = host_times(now[key, kind]) if (key, kind) in now else None
        if old is None or new is None:
            continue
        there, here = ({core.core for core in times.cores} for times in (old, new))
        if there != here and there & here:
            notes.append(
                f"{kind.replace('_', ' ')}: cores {listed(there)} in A, {listed(here)} in B: compared on "
                f"{listed(there & here)}."
            )
    return notes


def _place(row: tuple[Key, str]) -> int:
    """The host first, in the order of a run; datapaths as they came."""
    key, kind = row
    return HOST_KINDS.index(kind) if key.is_host and kind in HOST_KINDS else len(HOST_KINDS)


def _judge(key: Key, kind: str, metric: str, a: Reading | None, b: Reading | None) -> Difference:
    ratio = difference = None
    if a is None or b is None:
        lacking = "A" if a is None else "B"
        finding, reason = NOT_COMPARABLE, f"not measured (or too few samples) in {lacking}"
    else:
        if a.value is not None and b.value is not None:
            ratio = b.value / a.value if a.value else None
            difference = b.value - a.value
        finding, reason = _finding(a, b)
    known = a or b
    assert known is not None
    return Difference(
        key=key,
        kind=kind,
        metric=metric,
        unit=known.unit,
        a=a,
        b=b,
        ratio=ratio,
        difference=difference,
        finding=finding,
        reason=reason,
    )


def _finding(a: Reading, b: Reading) -> tuple[str, str]:
    """Whether B is better or worse than A; where their spreads overlap, that nothing is shown."""
    invalid = [f"{name}: {r.invalid}" for name, r in (("A", a), ("B", b)) if r.invalid]
    if invalid:
        return "invalid", "; ".join(invalid)
    higher = a.high is not None and b.low > a.high
    lower = b.high is not None and b.high < a.low
    if higher or lower:
        return ("better" if higher is (a.better == "high") else "worse"), ""
    open_ended = [name for name, r in (("A", a), ("B", b)) if r.high is None]
    if open_ended:
        return NOT_COMPARABLE, f"{' and '.join(open_ended)}: at least; no upper limit was found"
    return "within spread", ""
