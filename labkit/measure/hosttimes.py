"""Latencies of the host itself: how late it wakes a thread, how long it keeps a busy one from running.

Pure: the counts of a tool are passed in. Nothing here knows which tool counted, or how cores are chosen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labkit.errors import LabkitBug
from labkit.measure.gate import Gate
from labkit.measure.histogram import percentiles_us, record
from labkit.measure.noise import Limits
from labkit.measure.trial import Histogram

PERCENTILES = {"p50_us": 50.0, "p90_us": 90.0, "p99_us": 99.0, "p999_us": 99.9, "p9999_us": 99.99}
"""By field of CoreTimes."""

CLAIM_US = 100.0
"""The 0.1 ms that are claimed for low-latency kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreTimes:
    """What was counted on one core."""

    core: int
    counted: int
    """As the tool counted."""
    beyond: int
    """Of these: beyond the end of the tool's histogram. Their values are not known, so each counts as the maximum."""
    omitted: int
    """Wake-ups that fell due while a late one was still waiting, and never took place: each is recorded with the time
    that it would have waited. Without them one stall of 100 ms would count as one late wake-up, not as a hundred."""
    mean_us: float
    """As the tool counted."""
    min_us: float
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None
    p999_us: float | None
    p9999_us: float | None
    """A percentile with fewer than 10/(1-p) samples is None."""
    max_us: float
    """The tool's own maximum."""
    times: Histogram
    at_least: Histogram | None = None
    """What surely was: only the wake-ups that took place, and those beyond the histogram where it ends (the maximum
    once). None: that is `times`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTimes:
    """The same on all measured cores."""

    duration_s: float
    interval_us: float | None
    """Between two wake-ups; None where nothing sleeps."""
    resolution_us: float
    """The tool truncates to this: if it is 1, a value of 13 us stands for 13 to 14."""
    cores: tuple[CoreTimes, ...]

    def worst(self, field: str) -> CoreTimes | None:
        """The core on which `field` ("p999_us", "max_us") is highest; None where one core has too few samples."""
        values = [getattr(core, field) for core in self.cores]
        if not values or None in values:
            return None
        return max(self.cores, key=lambda core: float(getattr(core, field)))


def core_times(
    *,
    core: int,
    counted: int,
    bins_us: Mapping[int, int],
    max_us: int,
    min_us: int,
    mean_us: float,
    interval_us: int | None = None,
    reach_us: int = 0,
) -> CoreTimes:
    """Read one core's histogram: whole microseconds to how often.

    Counts that the histogram does not hold are recorded at the maximum. With an interval the wake-ups that a late one
    omitted are added (HdrHistogram's correction for coordinated omission; here it is exact, for a thread that is
    woken L late has slept through the L / interval wake-ups that were due meanwhile; of those beyond `reach_us`, where
    the histogram ends, as many are added as there were at least). Raises LabkitBug where the histogram holds more than
    was counted.
    """
    beyond = counted - sum(bins_us.values())
    if beyond < 0 or not counted:
        raise LabkitBug(f"core {core}: {counted} counted, {counted - beyond} in the histogram")
    values = Counter({us: n for us, n in bins_us.items() if n})
    omitted: Counter[int] = Counter()
    if interval_us:
        # Of those beyond one value is known, the maximum; the others took longer than the histogram reaches.
        late = [*values.items(), *([(max_us, 1), (reach_us, beyond - 1)] if beyond else [])]
        for us, n in late:
            for waited in range(us - interval_us, 0, -interval_us):
                omitted[waited] += n
    at_least = None
    if omitted or beyond > 1:
        seen = values + Counter({max_us: 1, reach_us: beyond - 1} if beyond else {})
        at_least = record({us * 1000: n for us, n in seen.items()})
    values[max_us] += beyond
    everything = values + omitted
    times = record({us * 1000: n for us, n in everything.items()})
    # Whole microseconds went in: what the histogram's own resolution added is taken off again.
    known = {
        p: None if us is None else float(math.floor(us))
        for p, us in percentiles_us(times, PERCENTILES.values()).items()
    }
    return CoreTimes(
        core=core,
        counted=counted,
        beyond=beyond,
        omitted=omitted.total(),
        mean_us=mean_us,
        min_us=float(min_us),
        p50_us=known[50.0],
        p90_us=known[90.0],
        p99_us=known[99.0],
        p999_us=known[99.9],
        p9999_us=known[99.99],
        max_us=float(max_us),
        times=times,
        at_least=at_least,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareTimes:
    """Gaps caused by hardware or firmware, with interrupts off: the kernel does not cause them (hwlat)."""

    duration_s: float
    threshold_us: float
    """Shorter gaps are not counted."""
    width_us: float
    """The part of each window in which it watches, with interrupts off on one core."""
    window_us: float
    gaps: int
    """Samples above the threshold."""
    max_us: float | None
    """None: none was above the threshold."""
    smis: int | None = None
    """System management interrupts while it watched; None where the CPU does not count them."""


def switches_gate(count: int, *, duration_s: float, limits: Limits) -> Gate:
    """Involuntary context switches of a measuring thread. It only warns: their effect is in the figures."""
    rate = count / duration_s if duration_s else 0.0
    return Gate(
        name="switches",
        state="warn" if rate > limits.switches_warn_per_s else "ok",
        value=f"{rate:.1f}/s",
        limit=f"warn > {limits.switches_warn_per_s:g}/s",
        why="a thread of higher priority ran on a measured core",
    )


def guest_gate(guest: bool | None) -> Gate:
    """Whether the host is a virtual machine. It only warns: the figures stand, as those of this guest on its host."""
    state, value = {
        True: ("warn", "a virtual machine"),
        False: ("ok", "not virtual"),
        None: ("ok", "not known"),
    }[guest]
    return Gate(
        name="guest",
        state=state,
        value=value,
        limit="warn in a virtual machine",
        why="every time includes the scheduling of the hypervisor: a bound on it says nothing about this kernel",
    )


def beyond_gate(cores: Sequence[CoreTimes]) -> Gate:
    """Whether the tool's histogram reached far enough."""
    beyond, counted = sum(c.beyond for c in cores), sum(c.counted for c in cores)
    return Gate(
        name="beyond",
        state="warn" if beyond else "ok",
        value=f"{beyond} of {counted}",
        limit="warn if any",
        why="values beyond the end of the tool's histogram: each counts as the maximum",
    )


def omitted_gate(cores: Sequence[CoreTimes]) -> Gate:
    """Whether wake-ups took so long that others fell due meanwhile."""
    omitted, counted = sum(c.omitted for c in cores), sum(c.counted for c in cores)
    return Gate(
        name="omitted",
        state="warn" if omitted else "ok",
        value=f"{omitted} in addition to {counted} that took place",
        limit="warn if any",
        why="wake-ups that fell due during a late one: each is counted with the time that it would have waited",
    )
