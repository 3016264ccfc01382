"""What was changed on this machine and is not reverted yet: written to disk before the change is made.

JSON lines, appended and fsynced under a lock. `begin` records a change with the old value, `end` that it is reverted,
`lab` that a lab is up until `labkit down`, `gone` that it is not any more. A line that a crash cut off is the last one
and belongs to a change that was not made yet: it is dropped.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labkit.errors import EnvironmentBroken
from labkit.machine.durable import sync_folder
from labkit.machine.process import Identity, boot_id, identify


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change that is not reverted yet."""

    id: str
    lab: str
    owner: Identity
    """The controller that made it; while that lives, it undoes its own."""
    boot: str
    """The kernel's boot id: changes of an earlier boot are gone."""
    tunable: Mapping[str, Any]
    """What was changed, as `machine.tunables` reads it."""
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalState:
    """The journal as it stands: open changes in the order they were made, and labs that are up for good."""

    entries: tuple[Entry, ...]
    labs: Mapping[str, Mapping[str, Any]]
    unreadable: tuple[str, ...]
    """Lines that can't be read: where they are, and their text."""


class Journal:
    """The journal in one directory (made when first written to)."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.jsonl"

    def read(self) -> JournalState:
        """What is open now."""
        try:
            self.path.stat()
        except FileNotFoundError:
            return JournalState(entries=(), labs={}, unreadable=())
        except OSError as error:
            raise self._refused(error) from None
        with self._locked(os.O_RDONLY) as file:
            return _parse(self.path, _whole_lines(file))

    def begin(self, *, lab: str, tunable: Mapping[str, Any], old: str, new: str) -> Entry:
        """Record a change; it is on disk when this returns."""
        entry = Entry(
            id=uuid.uuid4().hex,
            lab=lab,
            owner=identify(os.getpid()),
            boot=boot_id(),
            tunable=dict(tunable),
            old=old,
            new=new,
        )
        self._append({"op": "begin", **asdict(entry)})
        return entry

    def end(self, entry: Entry) -> None:
        """Record that the change is reverted."""
        self._append({"op": "end", "id": entry.id})

    def lab_is_up(self, lab: str, record: Mapping[str, Any]) -> None:
        """Record that the lab now stays up without its controller."""
        self._append({"op": "lab", "lab": lab, "record": dict(record)})

    def lab_is_gone(self, lab: str) -> None:
        """Record that all of the lab is reverted."""
        self._append({"op": "gone", "lab": lab})

    def _append(self, line: Mapping[str, Any]) -> None:
        with self._locked() as file:
            os.ftruncate(file, len(_whole_lines(file)))  # a torn tail goes, so that this line starts a line
            try:
                with os.fdopen(os.dup(file), "ab") as stream:
                    stream.write(json.dumps(line).encode() + b"\n")
                    stream.flush()
                    os.fsync(file)
            except OSError as error:  # what was written of it is cut off by whoever comes next
                raise self._refused(error) from None
            state = _parse(self.path, _whole_lines(file))
            if not (state.entries or state.labs or state.unreadable):
                os.ftruncate(file, 0)  # nothing is open: start afresh
                os.fsync(file)

    def _refused(self, error: OSError) -> EnvironmentBroken:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return EnvironmentBroken(
            f"the journal {self.path} cannot be written: {error.strerror}",
            hint=f"free some space in {self.path.parent}"
            if full
            else "set LABKIT_STATE_DIR to a directory that you may write to",
        )

    @contextmanager
    def _locked(self, mode: int = os.O_RDWR | os.O_APPEND | os.O_CREAT) -> Iterator[int]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = not self.path.exists()
            file = os.open(self.path, mode | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refused(error) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if new:
                sync_folder(self.path.parent)
            yield file
        finally:
            os.close(file)


def _whole_lines(file: int) -> bytes:
    """The file without a torn last line."""
    data = os.pread(file, os.fstat(file).st_size, 0)
    return data[: data.rfind(b"\n") + 1]


def _parse(path: Path, data: bytes) -> JournalState:
    entries: dict[str, Entry] = {}
    labs: dict[str, Mapping[str, Any]] = {}
    unreadable: list[str] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            item = json.loads(line)
            match item.pop("op"):
                case "begin":
                    if "knob" in item:  # as labkit 0.1 wrote it
                        item["tunable"] = item.pop("knob")
                    entries[item["id"]] = Entry(**{**item, "owner": Identity(**item["owner"])})
                case "end":
                    entries.pop(item["id"], None)
                case "lab":
                    labs[item["lab"]] = item["record"]
                case "gone":
                    labs.pop(item["lab"], None)
                case other:
                    raise ValueError(f"unknown op {other!r}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            unreadable.append(f"{path}:{number}: {error}: {line[:200].decode(errors='replace')}")
    return JournalState(entries=tuple(entries.values()), labs=labs, unreadable=tuple(unreadable))


def this_boot(entry: Entry) -> bool:
    """Whether the change was made since the machine came up."""
    return entry.boot == boot_id()
