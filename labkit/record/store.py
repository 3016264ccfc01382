"""A run's folder on disk: what was finished stays, whatever happens next.

    results/<UTC time>-<short id>/
        records.jsonl   one line a record, fsynced as it comes: the truth until the run ends
        results.json    all of it, put in place whole when the run ends

Beside them room is held back for the last records, should the disk fill up: a file without a name, so that a run that
is killed leaves none.

`RunStore` writes, `load` (labkit.record.load) reads either file. Neither knows how a result is shown.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import labkit
from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitBug
from labkit.machine import fix
from labkit.machine.ownership import hand_over, make_folders
from labkit.record.codec import CodecError, encode
from labkit.record.load import RECORDS, RESULTS, latest, load, parse_json
from labkit.record.model import Measurement, Verdict
from labkit.record.provenance import Environment
from labkit.record.run import SCHEMA_VERSION, Run, RunEnd, RunStart, State
from labkit.record.schema import validate

__all__ = ["RunStore", "check_root", "latest", "load"]

BALLAST_BYTES = 4 << 20
"""More than the largest record (a search of some hundred trials with three histograms each)."""


def _now() -> datetime:
    return datetime.now(UTC)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_root(root: Path, *, room_bytes: int = 0) -> None:
    """Raise EnvironmentBroken where no run folder can be made below `root`, or no file of `room_bytes` in it."""
    place = next(p for p in (root, *root.absolute().parents) if p.exists())
    if not place.is_dir():
        raise _unwritable(root, f"{place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise _unwritable(root, f"{place} may not be written to")
    disk = os.statvfs(place)
    free_bytes = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and free_bytes < room_bytes:  # no blocks at all: a file system that doesn't count them
        raise EnvironmentBroken(
            f"results can't be written to {root}: {free_bytes // 1024:,} KiB are free there, "
            f"a run needs {room_bytes // 1024:,}",
            hint=f"make room (df -h {place}), or choose another folder (--results DIR)",
        )


def _unwritable(root: Path, why: str) -> EnvironmentBroken:
    return EnvironmentBroken(
        f"results can't be written to {root}: {why}",
        hint=f"make {root} a folder that you may write to, or choose another (--results DIR)",
    )


class RunStore:
    """The folder of one run, open for writing. Leaving the context ends the run if `finish` has not."""

    def __init__(self, folder: Path, start: RunStart, descriptor: int) -> None:
        self.folder = folder
        self._run = Run(
            schema_version=SCHEMA_VERSION,
            start=start,
            end=None,
            environment=None,
            measurements=(),
            verdicts=(),
        )
        self._descriptor = descriptor
        self._ballast = -1
        self._size = 0

    @classmethod
    def create(cls, root: Path, *, command: list[str], quick: bool, seed: int) -> RunStore:
        """Make the folder of a new run below `root`.

        Raises EnvironmentBroken where it can't be written (read-only, full, not ours).
        """
        now = _now()
        name = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        start = RunStart(
            id=name,
            started=_iso(now),
            labkit_version=labkit.__version__,
            command=_without_names(command),
            quick=quick,
            seed=seed,
        )
        folder = root / name
        try:
            make_folders(root)
            folder.mkdir()
            hand_over(folder)
            descriptor = os.open(folder / RECORDS, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        except OSError as e:
            raise _unwritable(root, e.strerror or str(e)) from e
        hand_over(folder / RECORDS)
        store = cls(folder, start, descriptor)
        try:
            store._take_ballast()
            store._append("start", start)
            _sync_folder(folder)
        except BaseException:
            store._drop_ballast()
            os.close(descriptor)
            with suppress(OSError):  # nothing is in it: a reader would take it for a run
                (folder / RECORDS).unlink()
                folder.rmdir()
            raise
        return store

    @property
    def run(self) -> Run:
        """What has been stored until now."""
        return self._run

    def set_environment(self, environment: Environment) -> None:
        """Store what the machine is. Called again, it replaces the former."""
        self._append("environment", environment)

    def add_measurement(self, measurement: Measurement) -> None:
        """Store a finished measurement; it is on disk when this returns."""
        self._append("measurement", measurement)

    def add_verdict(self, verdict: Verdict) -> None:
        """Store a verdict; it is on disk when this returns."""
        self._append("verdict", verdict)

    def finish(self, state: State = "finished") -> Path:
        """End the run: put results.json in place, read it back, check it against the schema.

        The raw records stay where they are until results.json is proven good.

        Raises:
            EnvironmentBroken: it could not be written.
            LabkitBug: what was read back does not fit the schema, or is not what was stored.

        """
        if self._run.end is None:
            self._append("end", RunEnd(state=state, ended=_iso(_now())))
        self._drop_ballast()
        target = self.folder / RESULTS
        draft = self.folder / f".{RESULTS}.tmp"
        try:
            _write_whole(draft, json.dumps(encode(self._run), indent=1, allow_nan=False).encode())
            self._check(draft)
            draft.replace(target)
            hand_over(target)
            _sync_folder(self.folder)
        except OSError as e:
            raise self._broken(e, f"{RESULTS} could not be written") from e
        finally:
            draft.unlink(missing_ok=True)
        self._close()
        return target

    def _check(self, draft: Path) -> None:
        """What lies on the disk must fit the schema, and be what was stored."""
        document = parse_json(draft.read_text(), draft.name)
        try:
            validate(document, draft.name)
        except ConfigInvalid as e:
            raise LabkitBug(f"{e.message}; the raw records are kept in {self.folder / RECORDS}") from e
        if document != encode(self._run):
            raise LabkitBug(f"{RESULTS} read back differs from what was stored; see {self.folder / RECORDS}")

    def _append(self, kind: str, record: object) -> None:
        try:
            line = {"record": kind, "schema_version": SCHEMA_VERSION, "value": encode(record)}
        except CodecError as e:
            raise LabkitBug(f"{kind} record: {e}") from e
        data = json.dumps(line, allow_nan=False).encode() + b"\n"
        try:
            self._write(data)
        except OSError as e:
            if e.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._drop_ballast():
                raise self._broken(e, f"the {kind} that was just finished could not be stored") from e
            try:
                self._write(data)
            except OSError:
                raise self._broken(e, f"the {kind} that was just finished could not be stored") from e
            self._remember(record)
            raise self._broken(
                e, f"no more results can be stored; the {kind} just finished is kept too"
            ) from e
        self._remember(record)

    def _remember(self, record: object) -> None:
        """Keep in memory what is on disk."""
        run = self._run
        match record:
            case Measurement():
                self._run = run.with_measurement(record)
            case Verdict():
                self._run = run.with_verdict(record)
            case Environment():
                self._run = replace(run, environment=record)
            case RunEnd():
                self._run = replace(run, end=record)

    def _write(self, data: bytes) -> None:
        """Append `data` whole or not at all: a part that was written before an error or a signal is cut off."""
        os.ftruncate(self._descriptor, self._size)
        os.lseek(self._descriptor, self._size, os.SEEK_SET)
        try:
            _write_all(self._descriptor, data)
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)

    def _take_ballast(self) -> None:
        """Hold back room now, so that a disk that fills up later can't cost the record being written."""
        descriptor = _nameless(self.folder)
        try:
            os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
        except OSError as e:
            os.close(descriptor)
            if e.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise self._broken(e, "there is no room for results") from e
            return
        self._ballast = descriptor

    def _drop_ballast(self) -> bool:
        """Give the room back; whether there was any."""
        if self._ballast < 0:
            return False
        os.close(self._ballast)
        self._ballast = -1
        return True

    def _broken(self, e: OSError, what: str) -> EnvironmentBroken:
        run, shows = self._run, fix.labkit("report", str(self.folder), root=False)
        return EnvironmentBroken(
            f"{what}: {e.strerror}. {len(run.measurements)} measurements and {len(run.verdicts)} verdicts "
            f"are kept in {self.folder / RECORDS}",
            hint=f"df -h {self.folder}; make room, then `{shows}` shows what is kept",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if self._run.end is None:
                self.finish("finished" if e is None else "interrupted")
        except EnvironmentBroken as late:
            if e is None:
                raise
            e.add_note(str(late))  # the first error is the one to hear about
        finally:
            self._drop_ballast()
            self._close()

    def _close(self) -> None:
        """Nothing is added to a run that has ended."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _without_names(command: list[str]) -> tuple[str, ...]:
    """The command without the folders that tell who typed it: the program's own, and home folders."""
    home = re.escape(str(Path.home()))
    rest = [re.sub(rf"(?:{home}|/home/[^/\s]+)(?=/|$)", "~", word) for word in command[1:]]
    return (*(Path(word).name for word in command[:1]), *rest)


def _nameless(folder: Path) -> int:
    """A file on the disk of `folder` that is gone when it is closed, whatever ends this process."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(folder, flags | os.O_TMPFILE, 0o600)
    except OSError as e:
        if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    path = folder / f".ballast-{secrets.token_hex(3)}"  # a file system that knows only files with names
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    path.unlink()
    return descriptor


def _write_all(descriptor: int, data: bytes) -> None:
    """The one place where bytes go to disk: os.write may take a part only."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _write_whole(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
