"""Which measurements of two runs are compared: those of one row, and of the host only on cores that both measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labkit import format as fmt
from labkit.measure.hosttimes import HostTimes
from labkit.record.model import HostKey, Key, Measurement
from labkit.record.run import Run
from labkit.results.lookup import host_times

SAME_DURATION = 0.10
"""A maximum grows with the time that one looks for it: durations are the same within this share of the longer one."""


def by_row(run: Run) -> dict[tuple[Key, str], list[Measurement]]:
    """By row and kind, in the order in which they were measured."""
    out: dict[tuple[Key, str], list[Measurement]] = {}
    for measurement in run.measurements:
        out.setdefault((measurement.key, measurement.kind), []).append(measurement)
    return out


def repeats(name: str, run: Run) -> list[str]:
    """What was measured several times in one run, and what of that is compared."""
    return [
        f"Run {name}: {kind.replace('_', ' ')} {key.id} was measured {len(all_of)} times: "
        + (
            "the last that has a comparable one in the other run is compared."
            if isinstance(key, HostKey)
            else "the last of each metric is compared."
        )
        for (key, kind), all_of in by_row(run).items()
        if len(all_of) > 1
    ]


def comparable(was: list[Measurement], now: list[Measurement]) -> tuple[Measurement, Measurement]:
    """The last two that can be compared: of one interval, with a core in common, of the same duration if any are."""
    pairs = [(one, other) for other in reversed(now) for one in reversed(was)]
    return min(pairs, key=lambda pair: (on_the_same_cores(*pair)[2] != "", not _same_duration(*pair)))


def _same_duration(a: Measurement, b: Measurement) -> bool:
    old, new = (host_times(m) or m.hardware for m in (a, b))
    return old is None or new is None or near(old.duration_s, new.duration_s, SAME_DURATION)


def near(a: float, b: float, share: float) -> bool:
    """Whether two values differ by no more than this share of the larger one."""
    return abs(a - b) <= share * max(a, b)


def on_the_same_cores(a: Measurement, b: Measurement) -> tuple[Measurement, Measurement, str]:
    """Both, with only those cores that were measured in both: one boot may have isolated some.

    The last is why they can't be compared at all; empty: they can.
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


def cores_notes(a: Run, b: Run) -> list[str]:
    """Where the two runs measured the host on different cores."""
    then, now = by_row(a), by_row(b)
    notes = []
    for key, kind in then:
        if not isinstance(key, HostKey) or (key, kind) not in now:
            continue
        old, new = map(host_times, comparable(then[key, kind], now[key, kind]))
        if old is None or new is None:
            continue
        there, here = ({core.core for core in times.cores} for times in (old, new))
        if there != here and there & here:
            notes.append(
                f"{kind.replace('_', ' ')}: cores {fmt.cores(there)} in A, {fmt.cores(here)} in B: compared on "
                f"{fmt.cores(there & here)}."
            )
    return notes
