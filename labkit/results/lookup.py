"""What a run holds of one row: measurements by kind, latency by load, rates, times, and the reasons to doubt them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from labkit.measure.gate import BASE, GATE_SCOPE, Gate, concerns
from labkit.measure.hosttimes import HostTimes
from labkit.measure.latency import LatencyPoint
from labkit.record.model import Key, Measurement
from labkit.record.run import Run
from labkit.targets import rates
from labkit.targets.rates import Rate

HALF = "50% PDR"


def other_machines(run: Run) -> Mapping[str, Mapping[str, Any]]:
    """Environment records of the other machines that took part, as JSON values, by name."""
    found = run.environment.hosts if run.environment else {}
    return cast("Mapping[str, Mapping[str, Any]]", found)


def of_kind(run: Run, key: Key, kind: str) -> Measurement | None:
    """The measurement of that kind; the last one where it was repeated."""
    return next((m for m in reversed(run.measurements) if m.key == key and m.kind == kind), None)


def latencies(run: Run, key: Key) -> list[Measurement]:
    """The row's measurements of latency, one for each set of loads: the one of most loads first.

    Not in the order in which they were made: a repeat of one changes that.
    """
    found = [m for m in run.measurements if m.key == key and m.latency is not None]
    return sorted(found, key=lambda m: (-len(m.latency.points) if m.latency else 0, m.variant))


def at_load(run: Run, key: Key, load: str) -> tuple[Measurement, LatencyPoint] | None:
    """The row's latency at a load, and the measurement that it is of; None where it was not measured."""
    for measurement in latencies(run, key):
        for point in measurement.latency.points if measurement.latency else ():
            if point.load == load:
                return measurement, point
    return None


def point(run: Run, key: Key, load: str) -> LatencyPoint | None:
    """The row's latency at a load."""
    found = at_load(run, key, load)
    return found[1] if found else None


def rate_of(run: Run, key: Key, name: str) -> Rate | None:
    """The row's rate of that name; None where it was not measured."""
    return rates.rate(of_kind(run, key, rates.KINDS[name]), name)


def host_times(measurement: Measurement) -> HostTimes | None:
    """The times by core, of the kinds that have them."""
    return measurement.wakeup or measurement.timerlat or measurement.busy_loop


def doubts(measurement: Measurement, load: str | None = None) -> list[str]:
    """Why its figures can't be trusted (those at a load, for a latency): missed gates, a mode that it could not prove.

    A gate that concerns one metric, or some of the loads, speaks through the targets on that metric or load.
    """
    kind = measurement.kind
    missed = [
        f"{kind}: {g.name}: {g.why}"
        for g in measurement.gates
        if g.state == "invalid"
        and g.name not in GATE_SCOPE
        and (g not in of_some_loads(measurement) if load is None else concerns(g, load))
    ]
    return (
        missed
        if measurement.proof.proven
        else [*missed, f"{kind}: mode not proven: {measurement.proof.claim}"]
    )


def of_some_loads(measurement: Measurement) -> list[Gate]:
    """The missed gates of a latency that leave some of its figures alone: a rate that only some loads rest on."""
    if measurement.latency is None:
        return []
    return [g for g in measurement.gates if g.state == "invalid" and g.name.startswith(BASE)]
