"""Reads the figures that measuring programs print: an unreadable count or time must not become a good one."""

from __future__ import annotations

import math


def whole(value: object) -> int:
    """A count, or a time in whole units: 0 or more. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a whole number, got {value!r}")
    try:
        found = int(value)
    except (ValueError, OverflowError):
        raise ValueError(f"expected a whole number, got {value!r}") from None
    if found < 0 or (isinstance(value, float) and found != value):
        raise ValueError(f"expected a whole number of 0 or more, got {value!r}")
    return found


def decimal(value: object) -> float:
    """A mean or a time: 0 or more, and no "nan" or "inf". Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a number, got {value!r}")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"expected a number, got {value!r}") from None
    if not math.isfinite(found) or found < 0:
        raise ValueError(f"expected a number of 0 or more, got {value!r}")
    return found
