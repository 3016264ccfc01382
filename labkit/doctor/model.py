"""A check and its finding. It must not know how anything is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class Unavailable(Exception):
    """An attempt failed. The message is the actual error; `fix` is the command that fixes it, where it is known."""

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
    """Backends that need it; empty: optional."""
    attempt: Callable[[], str]
    """Exercises it in the scratch namespace and reports what was done. Raises Unavailable or OSError."""
    mtu_matters: bool = False
    """Whether the MTU of the link can make it fail: then it is tried at the MTU of the lab."""
    fix: Callable[[], str]
    """The fix where the attempt has no better one: a command to paste, or words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found on this machine."""

    id: str
    title: str
    ok: bool
    required_for: tuple[str, ...]
    detail: str
    """What was done; empty when it failed."""
    error: str | None
    fix: str | None
