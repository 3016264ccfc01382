"""Times read from a measurement: round trips of a datapath, wake-ups and gaps of the host."""

from __future__ import annotations

from labkit.measure.histogram import samples_needed
from labkit.measure.hosttimes import HostTimes
from labkit.measure.predictability import interval, longest_above_us, pdv_us
from labkit.measure.trial import TrialResult
from labkit.record.model import Measurement
from labkit.targets.observed import Observed, Reader, Unknown


def stalled(trial: TrialResult, percentile: float | None, value_s: float) -> str:
    """Say whether the tester's own stalls are enough to make a percentile what it is; empty: they are not.

    Frames that fall due while the tester stands still come back late whatever the DUT does. If that was the case for
    a share of the time as large as the tail beyond the percentile, the tail can be the tester's own. For the maximum
    one stall as long as itself is enough.
    """
    share = trial.stall_total_s / trial.duration_s
    own = trial.stall_max_s >= value_s if percentile is None else share >= 1.0 - percentile / 100.0
    if not own:
        return ""
    return (
        f"the tester itself stalled for {share:.2%} of the time, {trial.stall_max_s * 1e3:.2g} ms at the longest: "
        "enough to cause this by itself"
    )


def round_trip(field: str, percentile: float | None) -> Reader:
    """A time of the latency ladder; the slowest of its loads."""

    def read(measurement: Measurement, load: str | None, _kernel: Measurement | None) -> Observed | Unknown:
        ladder = measurement.latency
        if ladder is None:
            return Unknown("the measurement has no latency")
        points = [p for p in ladder.points if load is None or p.load == load]
        if not points:
            measured = ", ".join(p.load for p in ladder.points) or "none"
            return Unknown(f"no latency at {load or 'any load'}; measured: {measured}")
        values_s: list[float] = []
        for point in points:
            value_us = getattr(point, field)
            if value_us is None:
                needed = samples_needed(percentile if percentile is not None else 99.9)
                return Unknown(f"too few samples at {point.load}: {point.n}, needs {needed}")
            values_s.append(value_us / 1e6)
        worst = points[values_s.index(max(values_s))]
        note = f"at {worst.load}, the slowest load" if len(points) > 1 else f"at {worst.load}"
        doubt = stalled(worst.trial, percentile, max(values_s))
        return Observed(
            low=min(values_s),
            high=max(values_s),
            quoted=max(values_s),
            note=note,
            doubt=doubt,
            doubt_passes=True,
        )

    return read


_OF_ONE = round_trip("pdv_us", 99.9)


def variation(measurement: Measurement, load: str | None, kernel: Measurement | None) -> Observed | Unknown:
    """Packet delay variation at the slowest of the loads: of a latency, or over the rounds of a predictability."""
    if measurement.predictability is None:
        return _OF_ONE(measurement, load, kernel)
    spreads = [one for one in measurement.predictability.spreads if load in (None, one.load)]
    if not spreads:
        measured = ", ".join(one.load for one in measurement.predictability.spreads) or "none"
        return Unknown(f"no spread at {load or 'any load'}; measured: {measured}")
    found = []
    for one in spreads:
        values = interval(one.own, pdv_us)
        if values is None:
            return Unknown(
                f"at {one.load} a round had too few samples for p99.9, or more than 0.1 % of its frames were lost"
            )
        found.append((values, one))
    (low, middle, high), worst = max(found, key=lambda pair: pair[0][1])
    doubts = [stalled(point.trial, 99.9, (pdv_us(point) or 0.0) / 1e6) for point in worst.own]
    in_doubt = [doubt for doubt in doubts if doubt]
    return Observed(
        low=low / 1e6,
        high=high / 1e6,
        quoted=middle / 1e6,
        note=f"at {worst.load}, median of {len(worst.own)} rounds",
        doubt=in_doubt[0]
        if 2 * len(in_doubt) > len(doubts)
        else "",  # then the median may be the tester's own
        doubt_passes=True,
    )


def longest_above(
    measurement: Measurement, load: str | None, _kernel: Measurement | None
) -> Observed | Unknown:
    """How long round trips were above the measurement's limit: the longest of all rounds, at the worst of the loads."""
    found = measurement.predictability
    if found is None or found.limit_us is None:
        return Unknown("no limit was given: measure.predictability(limit=...)")
    spreads = [one for one in found.spreads if load in (None, one.load)]
    if not spreads:
        return Unknown(
            f"no spread at {load or 'any load'}; measured: {', '.join(one.load for one in found.spreads) or 'none'}"
        )
    seen = []
    for one in spreads:
        for point in one.own:
            value_us = longest_above_us(point)
            if value_us is None:
                return Unknown("the tester does not count frames in a row that are above a limit")
            seen.append((value_us, one.load, point))
    if not seen:
        return Unknown("nothing came back in any round")
    worst_us, where, point = max(seen, key=lambda one: one[0])
    stall_us = point.trial.stall_max_s * 1e6
    return Observed(
        low=worst_us / 1e6,
        high=worst_us / 1e6,
        quoted=worst_us / 1e6,
        note=f"at {where}, {point.trial.longest_above} frames above {found.limit_us:g} us in a row, "
        f"the most of {len(seen)} trials",
        doubt=f"the tester itself stalled for {stall_us / 1e3:.2g} ms at the longest: enough to cause this by itself"
        if stall_us >= worst_us > 0
        else "",
        doubt_passes=True,
    )


def host_time(kind: str, field: str, percentile: float | None) -> Reader:
    """A time of the host itself, on the slowest core."""

    def read(measurement: Measurement, _load: str | None, _kernel: Measurement | None) -> Observed | Unknown:
        times: HostTimes | None = getattr(measurement, kind)
        if times is None:
            return Unknown(f"the measurement has no {kind}")
        worst = times.worst(field)
        if worst is None:
            needed = samples_needed(percentile if percentile is not None else 50.0)
            fewest = min(times.cores, key=lambda core: core.times.n)
            return Unknown(f"too few samples on core {fewest.core}: {fewest.times.n}, needs {needed}")
        value_us = float(getattr(worst, field))
        note = f"core {worst.core}" + (f", the slowest of {len(times.cores)}" if len(times.cores) > 1 else "")
        if times.resolution_us:
            note += f"; the tool says {value_us:g} us, truncated"
        note += f"; in {times.duration_s:g} s"
        # Just under the next step: "< 20 us" holds of 19 us cut off.
        high_us = value_us + max(times.resolution_us - 1e-3, 0.0)
        return Observed(
            low=value_us / 1e6,
            high=high_us / 1e6,
            quoted=value_us / 1e6,
            note=note,
            doubt=_virtual(measurement),
            watched_s=times.duration_s if percentile is None else None,
        )

    return read


def hardware_max(
    measurement: Measurement, _load: str | None, _kernel: Measurement | None
) -> Observed | Unknown:
    """The longest gap that the hardware made."""
    found = measurement.hardware
    if found is None:
        return Unknown("the measurement has no gaps of the hardware")
    if found.max_us is None:
        low_s, high_s, quoted_s, gaps = 0.0, found.threshold_us / 1e6, None, "no gap above the threshold of"
    else:
        low_s = high_s = quoted_s = found.max_us / 1e6
        gaps = f"{found.gaps} gaps above"
    return Observed(
        low=low_s,
        high=high_s,
        quoted=quoted_s,
        note=f"{gaps} {found.threshold_us:g} us, in {found.duration_s:g} s",
        doubt=_virtual(measurement),
        watched_s=found.duration_s,
    )


def _virtual(measurement: Measurement) -> str:
    """Say that the host is a virtual machine; empty: it is none."""
    guest = next((g for g in measurement.gates if g.name == "guest" and g.state != "ok"), None)
    return f"{guest.value}: {guest.why}" if guest is not None else ""
