"""Two runs of one host beside each other: a generic and a low-latency boot, before and after.

Like is compared with like, or not at all: the same machine, the same labs. That kernels and command lines differ is
what a comparison is for, so that is named first; whatever else differs is named too. Pure: runs in, findings out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from labkit import format as fmt
from labkit.measure.hosttimes import HostTimes
from labkit.record.codec import encode
from labkit.record.model import HostKey, Key, Measurement
from labkit.record.run import Run
from labkit.results.flavour import describe
from labkit.results.likeness import (
    environment,
    host_words,
    kernel_facts,
    other_facts,
    same_host,
    same_labs,
)
from labkit.results.lookup import host_times
from labkit.results.rows import place
from labkit.results.spread import Reading, readings

NOT_COMPARABLE = "not comparable"
INVALID = "invalid"

WORDS = (
    "A low-latency or real-time kernel is about wake-ups, not about throughput: expect the rare late wake-up to go, "
    "and rates to stay or to fall a little. Whether that is a gain depends on what you run."
)
SPREAD = (
    "Within spread: what the method leaves open (a search's width, a 95 % interval) overlaps. Lower and higher are so "
    "in these two runs; from run to run there is more: measure A, B, A, B in turn before you believe a difference."
)
ALIKE_TIMES = 0.10
"""A maximum grows with the time that one looks for it: durations within this share of the longer one are alike."""
ALIKE_LOADS = 0.05
"""Round trips wait longer under more load: loads within this share of the higher one are alike."""
JUDGED = ("lower", "higher", "within spread")
"""Findings that say something."""


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
    """B to A; None where they are not compared: what is invalid has no ratio."""
    difference: float | None
    """B less A, in `unit`; None as of the ratio."""
    finding: str
    """lower, higher (B than A, in these two runs), within spread, invalid, or not comparable."""
    reason: str

    @property
    def bound(self) -> str:
        """What ratio and difference are where one figure is a lower bound: "at least" or "at most"."""
        if self.a is None or self.b is None or (self.a.high is None) == (self.b.high is None):
            return ""
        return "at least" if self.b.high is None else "at most"


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
    """What is to be known of these two runs; what holds of all (WORDS, SPREAD) stands beside it."""

    @property
    def compared(self) -> int:
        """Metrics of which something could be said."""
        return sum(d.finding in JUDGED for d in self.differences)

    @property
    def counts(self) -> Counter[str]:
        """How many metrics of each finding."""
        return Counter(d.finding for d in self.differences)

    def as_json(self) -> dict[str, Any]:
        """For `labkit compare --json`."""
        notes = [*self.notes, WORDS, SPREAD]
        return {**encode(self), "notes": notes, "counts": dict(self.counts)}


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
    if a.start.id == b.start.id:
        notes.insert(0, "A and B are one and the same run.")
    if not (was.host and now.host):
        notes.append("A machine id is missing: that both runs are of one machine is taken on trust.")
    if besides:
        notes.append("More than the kernel differs: a difference of figures may come from that.")
    if now.virtualisation.guest:
        notes.append("A virtual machine: the hypervisor's scheduling is in every figure of both.")
    notes += _cores_notes(a, b)
    notes += [*_repeats("A", a), *_repeats("B", b)]
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
        notes=tuple(notes),
    )


def _by_row(run: Run) -> dict[tuple[Key, str], list[Measurement]]:
    """By row and kind, in the order in which they were measured."""
    out: dict[tuple[Key, str], list[Measurement]] = {}
    for measurement in run.measurements:
        out.setdefault((measurement.key, measurement.kind), []).append(measurement)
    return out


def _repeats(name: str, run: Run) -> list[str]:
    """What was measured several times in one run, and what of that is compared."""
    return [
        f"Run {name}: {kind.replace('_', ' ')} {key.id} was measured {len(all_of)} times: "
        + (
            "the last that has its like is compared."
            if isinstance(key, HostKey)
            else "the last of each metric is compared."
        )
        for (key, kind), all_of in _by_row(run).items()
        if len(all_of) > 1
    ]


def _differences(a: Run, b: Run) -> list[Difference]:
    then, now = _by_row(a), _by_row(b)
    out: list[Difference] = []
    for key, kind in sorted(dict.fromkeys([*then, *now]), key=lambda row: place(row[0])):
        was, is_ = then.get((key, kind), []), now.get((key, kind), [])
        unlike = ""
        if was and is_ and isinstance(key, HostKey):
            one, other, unlike = _on_the_same_cores(*_alike(was, is_))
            was, is_ = [one], [other]
        # A ladder and a single load are two measurements of one kind: neither takes the other's place.
        old = {r.metric: r for m in was for r in readings(m)}
        new = {r.metric: r for m in is_ for r in readings(m)}
        for name in dict.fromkeys([*old, *new]):
            told = _judge(key, kind, name, old.get(name), new.get(name))
            out.append(replace(told, finding=NOT_COMPARABLE, reason=unlike) if unlike else told)
    return out


def _alike(was: list[Measurement], now: list[Measurement]) -> tuple[Measurement, Measurement]:
    """The last two that can be compared: of one interval, with a core in common, and of like durations if any are."""
    pairs = [(one, other) for other in reversed(now) for one in reversed(was)]
    return min(pairs, key=lambda pair: (_on_the_same_cores(*pair)[2] != "", not _like_times(*pair)))


def _like_times(a: Measurement, b: Measurement) -> bool:
    old, new = (host_times(m) or m.hardware for m in (a, b))
    return old is None or new is None or _near(old.duration_s, new.duration_s, ALIKE_TIMES)


def _near(a: float, b: float, share: float) -> bool:
    return abs(a - b) <= share * max(a, b)


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
    then, now = _by_row(a), _by_row(b)
    notes = []
    for key, kind in then:
        if not isinstance(key, HostKey) or (key, kind) not in now:
            continue
        old, new = map(host_times, _alike(then[key, kind], now[key, kind]))
        if old is None or new is None:
            continue
        there, here = ({core.core for core in times.cores} for times in (old, new))
        if there != here and there & here:
            notes.append(
                f"{kind.replace('_', ' ')}: cores {fmt.cores(there)} in A, {fmt.cores(here)} in B: compared on "
                f"{fmt.cores(there & here)}."
            )
    return notes


def _judge(key: Key, kind: str, metric: str, a: Reading | None, b: Reading | None) -> Difference:
    ratio = difference = None
    if a is None or b is None:
        lacking = "A" if a is None else "B"
        finding, reason = NOT_COMPARABLE, f"not measured (or too few samples) in {lacking}"
    else:
        finding, reason = _finding(a, b)
        if finding in JUDGED and a.value is not None and b.value is not None:
            ratio = b.value / a.value if a.value else None
            difference = b.value - a.value
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
    """Whether B is lower or higher than A in these two runs; where their spreads overlap, that nothing is shown.

    Never better or worse: a spread is of one run, and what a repetition would bring is not known of either.
    """
    invalid = [f"{name}: {r.invalid}" for name, r in (("A", a), ("B", b)) if r.invalid]
    if invalid:
        return INVALID, "; ".join(invalid)
    if unlike := _unlike(a, b):
        return NOT_COMPARABLE, unlike
    higher = a.high is not None and b.low > a.high
    lower = b.high is not None and b.high < a.low
    if higher or lower:
        name, longer = ("B", b) if higher else ("A", a)
        return (INVALID, f"{name}: {longer.doubt}") if longer.doubt else ("higher" if higher else "lower", "")
    open_ended = [name for name, r in (("A", a), ("B", b)) if r.high is None]
    if open_ended:
        return NOT_COMPARABLE, f"{' and '.join(open_ended)}: at least; no upper limit was found"
    return "within spread", ""


def _unlike(a: Reading, b: Reading) -> str:
    """Why two readings of one name are not of one thing; empty: they are."""
    if not (a.judged and b.judged):
        return "the hardware's and not the kernel's: shown, and not judged"
    if a.cores and b.cores and a.cores != b.cores:
        return f"{a.cores} in A; {b.cores} in B"
    if a.tester and b.tester and a.tester != b.tester:
        return f"the tester's engine was {a.tester} in A, {b.tester} in B"
    if a.load_pps is not None and b.load_pps is not None and not _near(a.load_pps, b.load_pps, ALIKE_LOADS):
        return f"at {fmt.pps(a.load_pps)} in A, at {fmt.pps(b.load_pps)} in B"
    if a.over_s is not None and b.over_s is not None and not _near(a.over_s, b.over_s, ALIKE_TIMES):
        return f"the longest of {a.over_s:g} s in A, of {b.over_s:g} s in B"
    return ""
