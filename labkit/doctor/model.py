"""What a check is and what it finds. It must not know how anything is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class Unavailable(Exception):
    """An attempt failed. The message is the real error; `fix` is the command that mends it, where it is known."""

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One prerequisite and the way to try it."""

    id: str
    """Named by `Mode.requires` of the backends; stable."""
    title: str
    required_for: tuple[str, ...]
    """Backends that need it; empty: good to have."""
    attempt: Callable[[], str]
    """Does the thing in the scratch namespace and says what it saw. Raises Unavailable or OSError."""
    mtu_matters: bool = False
    """Whether it can be refused for the MTU of the link: then it is tried at that of the lab."""
    fix: Callable[[], str]
    """Tells what helps when the attempt does not know better: a command to paste, or words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found on this machine."""

    id: str
    title: str
    ok: bool
    required_for: tuple[str, ...]
    detail: str
    """What was done and seen; empty when it failed."""
    error: str | None
    fix: str | None
