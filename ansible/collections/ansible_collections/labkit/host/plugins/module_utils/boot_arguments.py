"""Kernel arguments as an ordered list: which may be written, and whether a command line has them in effect. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z0-9_.,:=/@+%-]+")
"""What means itself to the shell that reads /etc/default/grub.d and in GRUB's own language."""


def faults(arguments: Sequence[str]) -> list[str]:
    """Arguments that cannot be written, each with the reason."""
    found = []
    for argument in arguments:
        if not _PLAIN.fullmatch(argument):
            found.append(
                f"kernel argument {argument!r}: expected one word of letters, digits and _.,:=/@+%- "
                "(blanks, quotes and $ mean something to GRUB)"
            )
        elif argument in ("-", "--"):
            found.append(f"kernel argument {argument!r}: all after it would go to init")
    return found


def _key(argument: str) -> str:
    """The kernel takes - and _ for one another."""
    return argument.partition("=")[0].replace("-", "_")


def missing(wanted: Sequence[str], present: Sequence[str]) -> list[str]:
    """Why `wanted` is not in effect on a command line; empty: it is.

    In effect means: each is there, in order, and of a parameter that we give once none comes later, for the kernel
    takes the last.
    """
    reasons = []
    rest = iter(present)
    for argument in wanted:
        if argument not in rest:  # an iterator: goes on after the one before
            where = "is there, but not in its order" if argument in present else "is not there"
            reasons.append(f"{argument} {where}")
            rest = iter(present)
    keys = [_key(argument) for argument in wanted]
    for argument in wanted:
        same = [other for other in present if _key(other) == _key(argument)]
        if keys.count(_key(argument)) == 1 and argument in same and same[-1] != argument:
            reasons.append(f"{argument} is there, but {same[-1]} comes later and counts")
    return reasons


def replaced(present: Sequence[str], ours: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """A command line on which `wanted` stands where `ours`, in one piece, did; at its end if that is not there."""
    size = len(ours)
    for at in range(len(present) - size + 1) if size else ():
        if list(present[at : at + size]) == list(ours):
            return [*present[:at], *wanted, *present[at + size :]]
    return [*present, *wanted]
