"""Puts back what a role changed, newest first. Broken off, it goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import files, mounts, settings
from .state import Change, State

KINDS: dict[str, Callable[[Change, Path], str | None]] = {
    settings.KIND: settings.restore,
    files.KIND: files.restore,
    files.FOLDER: files.restore_folder,
    mounts.KIND: mounts.restore,
}
"""Kind of change to what undoes it: None when done, else the reason why it could not."""


def undo(role: str, root: Path = Path("/"), *, check: bool = False) -> tuple[list[str], list[str]]:
    """Undo all of one role. Returns what was put back, and what was left with the reason."""
    state = State(role, root)
    done: list[str] = []
    left: list[str] = []
    for change in reversed(state.changes()):
        name = f"{change.kind} {change.target}"
        if change.kind not in KINDS:
            left.append(f"{name}: a kind of change that this labkit does not know; use the one that made it")
            continue
        reason = None if check else KINDS[change.kind](change, root)
        if reason is None:
            done.append(name)
            if not check:
                state.forget(change)
        else:
            left.append(f"{name}: {reason}")
    return done, left
