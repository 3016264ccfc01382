"""Datapaths that several testers measured in one run, side by side, and what each tester adds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from labkit.record.model import DatapathKey
from labkit.record.run import Run
from labkit.results.lookup import of_kind
from labkit.results.row import Row
from labkit.targets.rates import max_offered_load_pps


@dataclass(frozen=True, slots=True, kw_only=True)
class ByTester:
    """A datapath as one tester measured it."""

    engine: str
    row: Row
    max_offered_load_pps: float | None
    """What this tester can send on the link."""
    own_p50_us: float | None
    """Its own round trips, opposite a reflector that does nothing else."""
    own_p99_us: float | None
    own_disturbed: str
    """Why these may be too long, and not the tester's; empty: nothing disturbed them."""


def side_by_side(run: Run, found: Sequence[Row]) -> list[tuple[ByTester, ...]]:
    """The datapaths that more than one tester measured, in the order of the rows."""
    alike: dict[DatapathKey, list[ByTester]] = {}
    for row in found:
        if isinstance(row.key, DatapathKey) and (one := _by_tester(run, row, row.key)):
            alike.setdefault(replace(row.key, topology=row.key.lab), []).append(one)
    return [tuple(together) for together in alike.values() if len(together) > 1]


def _by_tester(run: Run, row: Row, key: DatapathKey) -> ByTester | None:
    rates = of_kind(run, key, "throughput") or of_kind(run, key, "mrr")
    measured = rates or of_kind(run, key, "latency")
    if measured is None:
        return None
    own = cast("Mapping[str, float | None]", measured.tester.get("rtt_floor_us") or {})
    return ByTester(
        engine=str(measured.tester.get("engine", "unknown")),
        row=row,
        max_offered_load_pps=max_offered_load_pps(rates),
        own_p50_us=own.get("p50"),
        own_p99_us=own.get("p99"),
        own_disturbed=str(measured.tester.get("rtt_floor_disturbed", "")),
    )
