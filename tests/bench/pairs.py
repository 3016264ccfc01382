"""A comparison: two sides measured in turn, and what their ratio must reach."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from labkit.errors import EnvironmentBroken
from labkit.lab import live as labs
from labkit.lab import topology_file
from labkit.lab.live import Lab
from labkit.lab.topology import Topology
from labkit.units import Unit, format_quantity

ATTEMPTS = 3
Say = Callable[[str], None]
Pairs = Iterator[tuple[float, float]]
"""What we reach and what the other does, pair by pair."""
Measured = Callable[[int, Say], Pairs]
"""So many pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of the table."""

    name: str
    title: str
    against: str
    unit: str
    floor: float
    aim: float
    measure: Measured
    less_is_better: bool = False
    ceiling: float | None = None
    """For two that are to be alike; then the aim is that our median is within the extremes of the other's runs. It
    fails where all pairs are under the floor, or all over the ceiling: noise is at times on either side. What their
    sides measure while other programs disturb them is `Disturbed`."""

    def ratio(self, ours: float, theirs: float) -> float:
        """How many times as good as the other."""
        return theirs / ours if self.less_is_better else ours / theirs


class Disturbed(EnvironmentBroken):
    """Other programs took time of the cores that were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two."""

    name: str
    topology: str | Callable[[], Topology]
    measure: Callable[[Lab], float]
    """Its figure, in a lab that nobody has used yet."""


def figure(value: float, unit: str) -> str:
    """In words."""
    if unit == "pps":
        return format_quantity(value, Unit.PPS)
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def in_turn(ours: Side, theirs: Side, unit: str) -> Measured:
    """Measure both, each in a lab of its own and each first in every other pair.

    A pair that is disturbed is made again, up to ATTEMPTS times, and then left out. Raises Disturbed where all were.
    """

    def of(side: Side) -> float:
        found = side.topology
        with labs.lab_up(topology_file.load(found) if isinstance(found, str) else found()) as lab:
            return side.measure(lab)

    def pair(order: Iterable[Side], say: Say) -> dict[str, float] | None:
        for _ in range(ATTEMPTS):
            try:
                return {side.name: of(side) for side in order}
            except Disturbed as error:
                say(f"disturbed: {error.message}")
        return None

    def measure(pairs: int, say: Say) -> Pairs:
        left_out = 0
        for number in range(pairs):
            found = pair((ours, theirs) if number % 2 == 0 else (theirs, ours), say)
            if found is None:
                left_out += 1
                continue
            say(", ".join(f"{side.name} {figure(found[side.name], unit)}" for side in (ours, theirs)))
            yield found[ours.name], found[theirs.name]
        if left_out == pairs:
            raise Disturbed("all pairs were disturbed", hint="end what else runs here, and measure again")

    return measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison's outcome."""

    name: str
    ratio: float
    low: float
    high: float
    floor: float
    ceiling: float | None
    aim: float
    against: str
    unit: str
    ours: float
    theirs: float
    theirs_low: float
    theirs_high: float

    @property
    def failed(self) -> bool:
        """Whether the median is under the floor; of two that are to be alike, whether all are out of bounds."""
        if self.ceiling is None:
            return self.ratio < self.floor
        return self.high < self.floor or self.low > self.ceiling

    @property
    def within_spread(self) -> bool:
        """Whether our median is within the extremes of the other's runs."""
        return self.theirs_low <= self.ours <= self.theirs_high

    @property
    def reached(self) -> bool:
        """Whether it is where it is to be."""
        return self.within_spread if self.ceiling is not None else self.ratio >= self.aim


def summarise(comparison: Comparison, pairs: Iterable[tuple[float, float]]) -> Line:
    """Median and extremes of the ratios, pair by pair."""
    made = list(pairs)
    ratios = [comparison.ratio(ours, theirs) for ours, theirs in made]
    others = [theirs for _, theirs in made]
    return Line(
        name=comparison.name,
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        floor=comparison.floor,
        ceiling=comparison.ceiling,
        aim=comparison.aim,
        against=comparison.against,
        unit=comparison.unit,
        ours=statistics.median(ours for ours, _ in made),
        theirs=statistics.median(others),
        theirs_low=min(others),
        theirs_high=max(others),
    )
