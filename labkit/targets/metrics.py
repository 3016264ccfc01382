"""The table of metrics that a target can bound: name, unit, what is better, and where the value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labkit.record.model import HOST_KINDS
from labkit.targets.observed import Reader
from labkit.targets.rate_readers import (
    goal_rate,
    loss_at_10_percent,
    mrr_rate,
    offered_within,
    ratio_to_kernel,
)
from labkit.targets.time_readers import hardware_max, host_time, longest_above, round_trip, variation
from labkit.units import Unit, format_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric."""

    name: str
    unit: Unit
    better: str
    """high or low."""
    kinds: tuple[str, ...]
    """Kinds of measurement that have it, the preferred one first."""
    comes_from: str
    read: Reader
    relative: bool = False
    """Taken relative to the kernel's measurement."""

    @property
    def of_host(self) -> bool:
        """Of the host itself, not of a datapath."""
        return set(self.kinds) <= set(HOST_KINDS)

    @property
    def absolute(self) -> bool:
        """A rate or a time: only comparable between runs where the topology declares hardware."""
        return self.unit in (Unit.PPS, Unit.SECONDS)

    def format(self, value: float | None) -> str:
        """Write a value for people; None is a limit that was not found."""
        if value is None:
            return "(no limit found)"
        return f"{value:.3g}x" if self.relative else format_quantity(value, self.unit)


def _wakeup_metrics(kind: str, tool: str) -> tuple[Metric, ...]:
    """How late threads are woken, as one tool sees it."""

    def metric(name: str, percentile: float | None, comes_from: str) -> Metric:
        return Metric(
            name=f"{kind}_{name}",
            unit=Unit.SECONDS,
            better="low",
            kinds=(kind,),
            comes_from=f"{comes_from}, on the slowest core",
            read=host_time(kind, f"{name}_us", percentile),
        )

    percentiles = {"p50": 50, "p99": 99, "p999": 99.9, "p9999": 99.99}
    return (
        *(
            metric(name, percentile, f"{percentile:g}th percentile of the wake-up latency ({tool})")
            for name, percentile in percentiles.items()
        ),
        metric("max", None, f"the latest wake-up ({tool}'s own maximum)"),
    )


def _percentile_metric(name: str, percentile: float) -> Metric:
    return Metric(
        name=name,
        unit=Unit.SECONDS,
        better="low",
        kinds=("latency",),
        comes_from=f"{percentile:g}th percentile of the round trips; the slowest load where several were measured",
        read=round_trip(f"{name}_us", percentile),
    )


_TABLE = (
    Metric(
        name="ndr",
        unit=Unit.PPS,
        better="high",
        kinds=("throughput",),
        comes_from="conditional throughput of the NDR goal (<=: its relevant upper bound)",
        read=goal_rate("ndr"),
    ),
    Metric(
        name="pdr",
        unit=Unit.PPS,
        better="high",
        kinds=("throughput",),
        comes_from="conditional throughput of the PDR goal (<=: its relevant upper bound)",
        read=goal_rate("pdr"),
    ),
    Metric(
        name="mrr",
        unit=Unit.PPS,
        better="high",
        kinds=("mrr",),
        comes_from="95 % confidence interval of the median: its low end (<=: its high end)",
        read=mrr_rate,
    ),
    _percentile_metric("p50", 50),
    _percentile_metric("p90", 90),
    _percentile_metric("p99", 99),
    _percentile_metric("p999", 99.9),
    _percentile_metric("p9999", 99.99),
    Metric(
        name="max",
        unit=Unit.SECONDS,
        better="low",
        kinds=("latency",),
        comes_from="the slowest round trip",
        read=round_trip("max_us", None),
    ),
    Metric(
        name="pdv",
        unit=Unit.SECONDS,
        better="low",
        kinds=("latency", "predictability"),
        comes_from="p99.9 less the minimum (RFC 5481, RFC 8219); over rounds 99 % confidence interval of their median",
        read=variation,
    ),
    Metric(
        name="longest_above",
        unit=Unit.SECONDS,
        better="low",
        kinds=("predictability",),
        comes_from="how long round trips were above the limit of the measurement, or lost, in a row, at the "
        "longest of all rounds: such frames over the load",
        read=longest_above,
    ),
    Metric(
        name="loss_at_10_percent",
        unit=Unit.RATIO,
        better="low",
        kinds=("loss_curve",),
        comes_from="frame loss rate at 10 % of the maximum load, median of its trials",
        read=loss_at_10_percent,
    ),
    Metric(
        name="offered_within",
        unit=Unit.RATIO,
        better="low",
        kinds=("throughput", "latency", "loss_curve"),
        comes_from="difference of offered and intended load over the trials that decide, median",
        read=offered_within,
    ),
    Metric(
        name="ratio_to_kernel",
        unit=Unit.RATIO,
        better="high",
        kinds=("mrr", "throughput"),
        comes_from="MRR (or PDR) over that of the kernel backend, conservative sides of both",
        read=ratio_to_kernel,
        relative=True,
    ),
    *_wakeup_metrics("wakeup", "cyclictest"),
    *_wakeup_metrics("timerlat", "rtla timerlat"),
    Metric(
        name="busy_loop_max",
        unit=Unit.SECONDS,
        better="low",
        kinds=("busy_loop",),
        comes_from="the longest time that a busy loop was kept from running (oslat), on the slowest core",
        read=host_time("busy_loop", "max_us", None),
    ),
    Metric(
        name="hardware_max",
        unit=Unit.SECONDS,
        better="low",
        kinds=("hardware",),
        comes_from="the longest gap that hardware or firmware made (hwlatdetect); its threshold where none was longer",
        read=hardware_max,
    ),
)


METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _TABLE}
