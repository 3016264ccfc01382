"""Quantities as people write them ("10 Mpps", "<= 100 us", "50% PDR"), read into floats with the unit in the name.

It must not know what a quantity is for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from labkit.errors import ConfigInvalid

_NUMBER = r"(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"

_PPS = {"pps": 1.0, "kpps": 1e3, "Mpps": 1e6, "Gpps": 1e9}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_RATIO = {"%": 0.01, "": 1.0, "x": 1.0}


class Unit(StrEnum):
    """Dimension of a quantity."""

    PPS = "pps"
    SECONDS = "s"
    BYTES = "B"
    RATIO = "ratio"


_TABLES: dict[Unit, dict[str, float]] = {
    Unit.PPS: _PPS,
    Unit.SECONDS: _SECONDS,
    Unit.BYTES: {k: float(v) for k, v in _BYTES.items()},
    Unit.RATIO: _RATIO,
}


def parse_quantity(text: str, unit: Unit) -> float:
    """Read "10 Mpps" as 1e7 (pps), "100 us" as 1e-4 (s), "2 MiB" as 2097152 (bytes), "0.5 %" as 0.005.

    Raises:
        ConfigInvalid: no number, or a unit of another dimension; names the units that would do.
    """
    table = _TABLES[unit]
    match = re.fullmatch(rf"\s*{_NUMBER}\s*(?P<unit>[A-Za-zµ%]*)\s*", text)
    if match is None or match["unit"] not in table:
        known = ", ".join(repr(u) for u in table if u)
        raise ConfigInvalid(f"{text!r}: expected a number with one of the units {known}")
    return float(match["number"]) * table[match["unit"]]


@dataclass(frozen=True, slots=True)
class Bound:
    """One side of a comparison: `operator` is one of >=, <=, >, <; `value` is in the base unit of `unit`."""

    operator: str
    value: float
    unit: Unit
    text: str

    def holds(self, value: float) -> bool:
        """Whether `value` (in the same base unit) satisfies the bound."""
        return {
            ">=": value >= self.value,
            "<=": value <= self.value,
            ">": value > self.value,
            "<": value < self.value,
        }[self.operator]

    @property
    def at_least(self) -> bool:
        """True where more is better."""
        return self.operator in (">=", ">")


def parse_bound(text: str, unit: Unit) -> Bound:
    """Read ">= 10 Mpps". Raises ConfigInvalid on a missing operator or a wrong unit."""
    match = re.fullmatch(r"\s*(?P<op>>=|<=|>|<)\s*(?P<rest>.+?)\s*", text)
    if match is None:
        raise ConfigInvalid(f"{text!r}: expected a comparison such as '>= 10 Mpps' or '<= 100 us'")
    return Bound(match["op"], parse_quantity(match["rest"], unit), unit, text.strip())
