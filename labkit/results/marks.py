"""Rates and ratios with the mark of a bound, and whose limit they are."""

from __future__ import annotations

from labkit import format as fmt
from labkit.results.row import Row
from labkit.targets.rates import Rate, Ratio

MARKS = {"at least": "≥ ", "at most": "≤ ", "": ""}
"""Put before a figure that is a bound."""


INVALID = "?"
"""Put behind a figure that is invalid by itself."""


def rate(found: Rate) -> str:
    """A rate with its own mark, such as "≥ 11.2 Mpps"."""
    bound = "at least" if found.at_least else ""
    return fmt.DASH if found.pps is None else f"{MARKS[bound]}{fmt.pps(found.pps, bound=bound)}"


def times_kernel(found: Ratio) -> str:
    """A ratio with its mark, such as "≤ 12.3x"."""
    return (
        fmt.DASH
        if found.value is None
        else f"{MARKS[found.bound]}{fmt.ratio(found.value, bound=found.bound)}"
    )


def limits(row: Row) -> str:
    """Whose limit the rates of a row are: "dut", or "tester (NDR, PDR), dut (MRR)" where they differ."""
    by_limit: dict[str, list[str]] = {}
    for found in row.rates:
        if found.pps is not None:
            by_limit.setdefault(found.limited_by, []).append(found.name.upper())
    if len(by_limit) > 1:
        return ", ".join(f"{limit} ({', '.join(names)})" for limit, names in by_limit.items())
    return next(iter(by_limit), fmt.DASH)


def invalid(row: Row) -> str:
    """The mark of a figure that is invalid by itself; empty in a row that is invalid as a whole."""
    return "" if row.verdict == "invalid" else INVALID
