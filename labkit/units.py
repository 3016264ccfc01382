"""Quantities as people write them ("10 Mpps", "<= 100 us", "50% PDR"), read into floats with the unit in the name.

It must not know what a quantity is for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
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

    Raises ConfigInvalid for no number, or a unit of another dimension; names the units that would do.
    """
    table = _TABLES[unit]
    match = re.fullmatch(rf"\s*{_NUMBER}\s*(?P<unit>[A-Za-zµ%]*)\s*", text)
    if match is None or match["unit"] not in table:
        known = ", ".join(repr(u) for u in table if u)
        raise ConfigInvalid(f"{text!r}: expected a number with one of the units {known}")
    # In decimal, so that "50 us" is the float nearest to 5e-5 and equals the one that code would write.
    return float(Decimal(match["number"]) * Decimal(repr(table[match["unit"]])))


def parse_whole(text: str) -> int | None:
    """Read digits as a whole number. None: they make none.

    Not by str.isdigit, which takes digits that int() refuses ("²") and such of other scripts; int() refuses more than
    4300 of them.
    """
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


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


def format_quantity(value: float, unit: Unit, *, digits: int = 4) -> str:
    """Write 1.234e7 pps as "12.34 Mpps": the largest unit in which the number is at least 1.

    What it writes, `parse_quantity` reads back, to within the `digits` written.
    """
    if unit is Unit.RATIO:
        return f"{_plain(value * 100.0, digits)} %"
    table = {name: scale for name, scale in _TABLES[unit].items() if name not in ("µs", "min")}
    ascending = sorted(table.items(), key=lambda item: item[1])
    # A number that rounds up to the next unit (999.99 kpps with 4 digits) is written in that one.
    rounded = float(f"{value:.{digits}g}")
    name, scale = next((item for item in reversed(ascending) if rounded >= item[1]), ascending[0])
    return f"{_plain(value / scale, digits)} {name}"


def _plain(value: float, digits: int) -> str:
    """`digits` significant digits, without an exponent where the number is not absurd."""
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text and value < 1e15 else text


IDLE, MAX = "idle", "max"


@dataclass(frozen=True, slots=True)
class Load:
    """A load as written: idle, max, a rate, or a share of a rate that is measured first.

    Idle and max have neither `pps` nor `share`.
    """

    text: str
    """As it is shown: "idle", "max", "50% PDR", "100 kpps"."""
    pps: float | None = None
    share: float | None = None
    """Of `of` [1]."""
    of: str | None = None
    """NDR, PDR or MRR."""


def parse_load(text: str) -> Load:
    """Read the load of a latency measurement: "idle", "50% PDR" or "100 kpps". Raises ConfigInvalid."""
    load = _load(text, "'idle', '50% PDR' or '100 kpps'")
    if load.text == MAX:
        raise ConfigInvalid(f"{text!r}: expected a load such as 'idle', '50% PDR' or '100 kpps'")
    if load.pps == 0:
        raise ConfigInvalid(f"{text!r}: expected a load above 0 pps")
    return load


def parse_trial_load(text: str) -> Load:
    """Read the load of a single trial: "100 kpps", or "max" (as fast as the tester goes). Raises ConfigInvalid."""
    load = _load(text, "'100 kpps' or 'max'")
    if load.text != MAX and load.pps is None:
        raise ConfigInvalid(f"{text!r}: expected a load such as '100 kpps' or 'max'")
    return load


def _load(text: str, examples: str) -> Load:
    stripped = text.strip()
    if (word := stripped.lower()) in (IDLE, MAX):
        return Load(word)
    match = re.fullmatch(rf"{_NUMBER}\s*%\s*(?:of\s+)?(?P<of>NDR|PDR|MRR)", stripped, re.IGNORECASE)
    if match is not None:
        share, of = float(match["number"]) / 100.0, match["of"].upper()
        if not 0.0 < share <= 10.0:
            raise ConfigInvalid(f"{text!r}: expected a share above 0 % and at most 1000 %")
        return Load(f"{float(match['number']):g}% {of}", share=share, of=of)
    try:
        pps = parse_quantity(stripped, Unit.PPS)
    except ConfigInvalid:
        raise ConfigInvalid(f"{text!r}: expected a load such as {examples}") from None
    return Load(stripped, pps=pps)
