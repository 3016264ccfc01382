"""Symbolic links of our own: what one pointed at before is kept."""

from __future__ import annotations

import os
from pathlib import Path

from .state import Change, State

KIND = "symlink"


def look(path: str, root: Path) -> str | None:
    """What a link points at, None where there is none. Raises ValueError for anything else in its place."""
    link = root / path.lstrip("/")
    if link.is_symlink():
        return os.readlink(link)  # noqa: PTH115 (Path.readlink drops a trailing slash)
    if link.exists():
        raise ValueError(f"{path} is there and is no symbolic link: left alone. Move it away")
    return None


def change(role: str, path: str, target: str, *, root: Path = Path("/"), check: bool = False) -> bool:
    """Have the link point there. Returns whether that changes anything. Its folder must be there."""
    before = look(path, root)
    if before == target:
        return False
    if not check:
        state = State(role, root)
        known = state.noted(KIND, path)
        ours = known is not None and known.ours(before)
        state.note(KIND, path, before, target, earlier=before if ours else None)
        _make(path, target, root)
    return True


def _make(path: str, target: str, root: Path) -> None:
    """In one step: at no time is there no link."""
    link = root / path.lstrip("/")
    fresh = _fresh(link)
    fresh.unlink(missing_ok=True)  # of a run that was killed
    fresh.symlink_to(target)
    fresh.replace(link)


def _fresh(link: Path) -> Path:
    return link.with_name(f".{link.name}.labkit-new")


def restore(change: Change, root: Path) -> str | None:
    """Restore what was there, unless somebody else has changed it since; None when done, else why not."""
    if reason := refusal(change, root):
        return reason
    link = root / change.target.lstrip("/")
    _fresh(link).unlink(missing_ok=True)
    if change.old is None:
        link.unlink(missing_ok=True)
    else:
        _make(change.target, change.old, root)
    return None


def refusal(change: Change, root: Path) -> str | None:
    """Why `restore` would leave it; None: it would not. Changes nothing."""
    now = look(change.target, root)
    if now is None or now == change.old or change.ours(now):
        return None
    return f"{change.target} points at {now} by now, which is somebody else's work: left as it is"
