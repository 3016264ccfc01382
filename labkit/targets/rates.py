"""The rates of a row, one by one: NDR, PDR and MRR, each with its own limit and its own doubts, and their ratios.

A search has two figures, and the tester may have come to its limit for one of them only; a measurement stores one
word for both.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit import format as fmt
from labkit.measure.limits import DUT, NONE, TESTER, goal_limited_by
from labkit.measure.search import GoalResult
from labkit.record.model import Measurement

KINDS = {"ndr": "throughput", "pdr": "throughput", "mrr": "mrr"}
"""The kind of measurement that has a rate."""
FAR_BELOW = 0.5
"""A PDR below this share of the MRR is doubted.

The MRR shows what the path can forward. At half of that rate random arrivals and service times lose no more than
0.5 % where the queue has 7 places (M/M/1/7: 0.39 %), and every datapath has many times as many. So more than 0.5 %
lost below half of the MRR is not for lack of speed: something stood still for longer than the queues reach.
"""


def max_offered_load_pps(measurement: Measurement | None) -> float | None:
    """What the tester itself could do on that link; None where that was not measured."""
    value = measurement.tester.get("max_offered_load_pps") if measurement else None
    return float(value) if isinstance(value, int | float) and value > 0 else None


def goal(measurement: Measurement, name: str) -> GoalResult | None:
    """The result of the goal "ndr" or "pdr"."""
    if measurement.throughput is None:
        return None
    return {"ndr": measurement.throughput.ndr, "pdr": measurement.throughput.pdr}[name]


def limited_by(measurement: Measurement, name: str) -> str:
    """Whose limit "ndr", "pdr" or "mrr" is: dut, tester, or none (no upper bound was found).

    What is stored is the worse of both goals. Where neither goal by itself explains it (an older record, without the
    tester's maximum offered load), it holds for both.
    """
    if measurement.throughput is None or measurement.limited_by == DUT:
        return measurement.limited_by
    found = measurement.throughput
    by_goal = {
        which: goal_limited_by(
            result, found.trials[1:], max_offered_load_pps=max_offered_load_pps(measurement)
        )
        for which, result in (("ndr", found.ndr), ("pdr", found.pdr))
    }
    return by_goal[name] if measurement.limited_by in by_goal.values() else measurement.limited_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One rate of a row."""

    name: str
    """ndr, pdr or mrr."""
    pps: float | None
    """None: none was found."""
    limited_by: str
    low_pps: float | None = None
    """The least and the most that it can be, by the search's bounds or the MRR's interval."""
    high_pps: float | None = None
    silent: int = 0
    """Trials at full load in which nothing came back (MRR)."""

    @property
    def at_least(self) -> bool:
        """Whether it is a lower bound. A rate of zero is none."""
        return bool(self.pps) and self.limited_by in (TESTER, NONE)


def rate(measurement: Measurement | None, name: str) -> Rate | None:
    """The rate of that name; None where it was not measured."""
    if measurement is None:
        return None
    if name == "mrr":
        mrr = measurement.mrr
        if mrr is None:
            return None
        return Rate(
            name=name,
            pps=mrr.median_pps,
            limited_by=limited_by(measurement, name),
            low_pps=mrr.ci95_low_pps,
            high_pps=mrr.ci95_high_pps,
            silent=mrr.silent,
        )
    found = goal(measurement, name)
    if found is None:
        return None
    # The conditional throughput, else the load that it carried at least.
    pps = found.conditional_throughput_pps or found.at_least_pps
    return Rate(
        name=name,
        pps=pps,
        limited_by=limited_by(measurement, name),
        low_pps=pps,
        high_pps=found.relevant_upper_bound_pps,
    )


def far_below(pdr: Rate | None, mrr: Rate | None) -> str:
    """Say that a PDR is so far below the MRR that it is no measure of the path's speed; empty: it is not."""
    if pdr is None or mrr is None or not pdr.pps or not mrr.pps or pdr.pps >= FAR_BELOW * mrr.pps:
        return ""
    return (
        f"PDR is {fmt.significant(100 * pdr.pps / mrr.pps, 2)} % of MRR ({fmt.pps(pdr.pps)} and {fmt.pps(mrr.pps)}): "
        "frames were lost at that load, but not for lack of speed. Something stalled for longer than the queues reach "
        "(another program on a core, the tester), or a queue is very short: "
        "measure again on a quiet machine before you use this PDR"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One rate to the kernel's rate of the same name."""

    value: float | None
    bound: str = ""
    """ "at least" or "at most", where one of the two rates is a lower bound."""
    why: str = ""
    """Why there is none."""
    base: str = ""
    """The topology of the kernel's row."""


def ratio(own: Rate, base: Rate) -> Ratio:
    """The ratio of two rates of one name, both of which can be trusted."""
    word = own.name.upper()
    if not own.pps:
        return Ratio(value=None, why=f"it has no {word}")
    if not base.pps:
        return Ratio(value=None, why=f"the kernel has no {word}")
    if base.silent:
        # A ratio to that would flatter every other.
        return Ratio(value=None, why=f"overload silences the kernel: its {word} can't be compared with")
    if own.at_least and base.at_least:
        return Ratio(value=None, why=f"its {word} and the kernel's are both lower bounds (≥)")
    # A ratio that is a bound must hold: it is taken between the sides that make it one.
    if own.at_least:
        return Ratio(value=(own.low_pps or own.pps) / (base.high_pps or base.pps), bound="at least")
    if base.at_least:
        return Ratio(value=(own.high_pps or own.pps) / (base.low_pps or base.pps), bound="at most")
    return Ratio(value=own.pps / base.pps)
