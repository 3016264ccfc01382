"""Quantities for people to read: three significant digits and the unit that fits. Rounded here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from labkit.units import parse_whole

MORE_OF_TRAFFIC = ": "
"""Between the name of what a lab's frames are, and all of it."""
CAPTURED = "frames of "
"""Before the name of a capture, which may have any character in it."""
DASH = "–"  # noqa: RUF001 - an en dash: not measured


def significant(value: float, digits: int = 3, *, bound: str = "") -> str:
    """1234.5 as "1230", 0.98765 as "0.988": never an exponent.

    What is "at least" so much is rounded down, what is "at most" up: a bound must hold as it is written.
    """
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    exact = Decimal(repr(value))
    rounded = exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUNDING[bound])
    text = f"{rounded:.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def pps(value: float | None, *, bound: str = "") -> str:
    """Such as "11.2 Mpps"."""
    if value is None:
        return DASH
    for unit, size in (("Gpps", 1e9), ("Mpps", 1e6), ("kpps", 1e3)):
        if abs(value) >= size * (1.0 if bound == "at least" else 0.9995):
            return f"{significant(value / size, bound=bound)} {unit}"
    return f"{significant(value, bound=bound)} pps"


def bits_per_s(value: float) -> str:
    """Such as "11.2 Gbit/s"."""
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if value >= size * 0.9995:
            return f"{significant(value / size)} {unit}"
    return f"{significant(value)} bit/s"


def us(value: float | None) -> str:
    """Microseconds, as "12.3" (the unit stands in the column's head)."""
    return DASH if value is None else significant(value)


def duration_us(value: float | None) -> str:
    """Such as "850 ns", "12.3 µs", "1.2 ms"."""
    if value is None:
        return DASH
    if value < 1:
        return f"{significant(value * 1e3)} ns"
    return f"{significant(value)} µs" if value < 999.5 else f"{significant(value / 1e3)} ms"


def ratio(value: float | None, *, bound: str = "") -> str:
    """Such as "12.3x"."""
    return DASH if value is None else f"{significant(value, bound=bound)}×"  # noqa: RUF001


def loss(value: float) -> str:
    """A loss ratio in percent; "0" only where nothing at all was lost."""
    return "0" if value == 0 else f"{significant(value * 100)} %"


def count(value: int) -> str:
    """Such as "1,234,567"."""
    return f"{value:,}"


def frame(name: str) -> str:
    """A frame size as "64 B"; a mix of sizes by its name."""
    return f"{name} B" if parse_whole(name) is not None else name


def mix(sizes: Iterable[tuple[int, int]]) -> str:
    """(frame size, weight) as "28 of 64 B, 16 of 570 B"."""
    return ", ".join(f"{share} of {size_bytes} B" for size_bytes, share in sizes)


def traffic(words: str) -> tuple[str, str]:
    """Of what a lab's frames are: what stands in the name of a row, and the rest; empty where that is all."""
    if words.startswith(CAPTURED):
        return words, ""
    name, _, more = words.partition(MORE_OF_TRAFFIC)
    return name, more


def size(value: int | None) -> str:
    """Such as "32 MiB"."""
    if value is None:
        return DASH
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= step:
            return f"{significant(value / step)} {unit}"
    return f"{value} B"


ROUNDING = {"at least": ROUND_FLOOR, "at most": ROUND_CEILING, "": ROUND_HALF_EVEN}


def cores(numbers: Iterable[int]) -> str:
    """As the kernel writes it: "0-2,5"."""
    spans: list[list[int]] = []
    for core in sorted(numbers):
        if spans and core == spans[-1][1] + 1:
            spans[-1][1] = core
        else:
            spans.append([core, core])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
