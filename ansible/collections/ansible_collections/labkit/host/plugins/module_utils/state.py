"""What a role changed on this host, and what was there before: one JSON file a role, written before each change."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DIRECTORY = "var/lib/labkit/state"
FORMAT = 1
_TRIES = 1000
"""How often another may remove the folder just when we want it, before there must be some other cause."""


class StateUnreadable(Exception):
    """The state file is not what we write. Nothing is changed then: the old values in it would be lost."""


@dataclass(frozen=True)
class Change:
    """One thing that was changed."""

    kind: str
    """Which of `undo.KINDS` reverts it."""
    target: str
    """A path, or what else the kind names its things by."""
    old: Any
    """What was there before our first change; None: nothing."""
    new: Any = None
    """What we made of it at last."""
    persist: bool = False
    """Whether it is made so again at every boot: the kernel forgets it (see replay.py)."""
    earlier: Any = None
    """What we had made of it before `new`, and is still there where a run was killed before it made that."""

    def ours(self, now: Any) -> bool:  # noqa: ANN401 (any JSON)
        """Whether what is there now is of our making."""
        return now in (self.new, self.earlier)


class State:
    """The changes of one role, oldest first."""

    def __init__(self, role: str, root: Path = Path("/")) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", role):
            raise ValueError(f"role {role!r}: expected lower-case letters, digits and underscores")
        self.path = root / DIRECTORY / f"{role}.json"

    def changes(self) -> list[Change]:
        """All that is written down. Raises StateUnreadable."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}, expected {FORMAT}")
            return [Change(**change) for change in content["changes"]]
        except (ValueError, KeyError, TypeError) as error:
            raise StateUnreadable(
                f"{self.path}: not a state file of labkit ({error}). It holds the old values of this host, so nothing "
                "was changed. Correct it, or move it away if those values don't matter."
            ) from error

    def noted(self, kind: str, target: str) -> Change | None:
        """What is written down of one thing."""
        found = (change for change in self.changes() if (change.kind, change.target) == (kind, target))
        return next(found, None)

    def note(
        self,
        kind: str,
        target: str,
        old: Any,  # noqa: ANN401 (any JSON)
        new: Any,  # noqa: ANN401
        *,
        persist: bool = False,
        earlier: Any = None,  # noqa: ANN401
    ) -> None:
        """Write down a change that is about to be made. The first `old` stays, whatever later runs find.

        A kind that finds out by `Change.ours` whether somebody else was there gives as `earlier` what is there of ours.
        """
        with self._alone():
            changes = self.changes()
            for at, change in enumerate(changes):
                if (change.kind, change.target) == (kind, target):
                    changes[at] = Change(kind, target, change.old, new, persist, earlier)
                    break
            else:
                changes.append(Change(kind, target, old, new, persist, earlier))
            self._write(changes)

    def inherit(self, change: Change) -> None:
        """Take over a change of another role's, to be reverted after all of this one's own."""
        with self._alone():
            if self.noted(change.kind, change.target) is None:
                self._write([change, *self.changes()])

    def forget(self, change: Change) -> None:
        """It is reverted. The file goes with its last change, and so do folders that are empty then."""
        with self._alone():
            left = [
                other
                for other in self.changes()
                if (other.kind, other.target) != (change.kind, change.target)
            ]
            if left:
                self._write(left)
            else:
                self._clear()

    def clear(self) -> None:
        """Leave nothing behind where nothing is written down, also of a run that was killed before its first change."""
        if self.path.parent.parent.exists():  # one that was killed may have removed ours alone
            with self._alone():
                if not self.changes():
                    self._clear()

    def _clear(self) -> None:
        remove(self.path)
        for folder in (self.path.parent, self.path.parent.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for other writers: a module goes on when SSH has dropped, while its operator begins anew."""
        for _ in range(_TRIES):
            folder = self._locked()
            if folder is not None:
                break
        else:
            raise OSError(f"{self.path.parent}: expected a folder, which could not be made")
        try:
            yield
        finally:
            os.close(folder)

    def _locked(self) -> int | None:
        """The folder, open and locked; None: another has removed it meanwhile, with its last change."""
        try:
            with contextlib.suppress(FileExistsError):
                # Root's alone, as the files in it: whoever can open it can keep us waiting.
                self.path.parent.mkdir(parents=True, mode=0o700)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        fcntl.flock(folder, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(folder), self.path.parent.stat()):
                return folder
        os.close(folder)
        return None

    def _write(self, changes: list[Change]) -> None:
        content = {"format": FORMAT, "changes": [asdict(change) for change in changes]}
        write_whole(self.path, (json.dumps(content, indent=1) + "\n").encode(), mode=0o600)


def roles(root: Path = Path("/")) -> list[str]:
    """Those that have changed anything here."""
    return sorted(file.stem for file in (root / DIRECTORY).glob("[a-z]*.json"))


def write_whole(path: Path, content: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replace a file so that, whatever happens, the old or the new one is there, never half of one.

    `owner`: its user and group by number; ours unless given.
    """
    temporary = half_written(path)
    temporary.unlink(missing_ok=True)  # of a run that was killed
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if owner:
                os.fchown(stream.fileno(), *owner)  # before the mode: it takes setuid away
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove(path: Path) -> None:
    """Remove a file if it is there, and what a run that was killed while it wrote it left beside it."""
    path.unlink(missing_ok=True)
    half_written(path).unlink(missing_ok=True)


def half_written(path: Path) -> Path:
    """Where `write_whole` has the new content until it is whole."""
    return path.with_name(f".{path.name}.labkit-new")
