"""Whole numbers as people write them. Pure: reads no host."""

from __future__ import annotations

import re

_WHOLE = re.compile("[0-9]{1,18}")
"""str.isdigit takes digits that int() refuses ("²") and such of other scripts; int() refuses more than 4300 of them."""


def whole(text: str) -> int | None:
    """The number that these digits make; None: they make none."""
    return int(text) if _WHOLE.fullmatch(text) else None
