"""A run's folder on disk: what was finished stays, whatever happens next.

    results/<UTC time>-<short id>/
        records.jsonl   one line a record, fsynced as it comes: the truth until the run ends
        results.json    all of it, put in place whole when the run ends

Several processes may write one run (`shared`): all append to the same records, and one of them ends the run.

`RunStore` writes, `load` (labkit.record.load) reads either file. Neither knows how a result is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import labkit
from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitBug
from labkit.machine import durable, fix
from labkit.machine.ownership import hand_over, make_folders
from labkit.record.codec import CodecError, encode
from labkit.record.load import RECORDS, RESULTS, latest, load, parse_json
from labkit.record.model import Measurement, Verdict
from labkit.record.naming import new_name
from labkit.record.provenance import Environment
from labkit.record.recordfile import RecordFile
from labkit.record.run import SCHEMA_VERSION, Run, RunEnd, RunStart, State
from labkit.record.schema import validate
from labkit.record.space import unwritable

__all__ = ["RunStore", "latest", "load"]


def _now() -> datetime:
    return datetime.now(UTC)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class RunStore:
    """The folder of one run, open for writing. Leaving the context ends the run if `finish` has not."""

    def __init__(self, folder: Path, start: RunStart, records: RecordFile) -> None:
        self.folder = folder
        self._run = Run(
            schema_version=SCHEMA_VERSION,
            start=start,
            end=None,
            environment=None,
            measurements=(),
            verdicts=(),
        )
        self._records = records

    @classmethod
    def create(
        cls, root: Path, *, command: list[str], quick: bool, seed: int, shared: str | None = None
    ) -> RunStore:
        """Make the folder of a new run below `root`. What runs there that were killed left half written is removed.

        `shared`: the folder's name, of a run that other processes store, too: who comes first begins it. Raises
        EnvironmentBroken where it can't be written (read-only, full, not ours), or a shared run can't be kept apart.
        """
        name = shared or new_name()
        start = RunStart(
            id=name,
            started=_iso(_now()),
            labkit_version=labkit.__version__,
            command=_without_names(command),
            quick=quick,
            seed=seed,
        )
        folder = root / name
        try:
            make_folders(root)
            _clear_abandoned(root)
            with suppress(FileExistsError) if shared else nullcontext():
                folder.mkdir()
                hand_over(folder)
            with nullcontext() if shared else _removed_unless_begun(folder):
                store = cls(folder, start, RecordFile(folder / RECORDS))
                store._begin(shared=bool(shared))
        except OSError as e:
            raise unwritable(root, e.strerror or str(e)) from e
        return store

    def _begin(self, *, shared: bool) -> None:
        try:
            began, locked = self._records.begin(_line("start", self._run.start))
            if shared and not locked:
                raise unwritable(
                    self.folder.parent,
                    "its file system has no locks, by which several processes store one run (-n0: one process)",
                )
            if not began:
                self._run = load(self.folder / RECORDS)
            durable.sync_folder(self.folder)
        except BaseException:
            self._records.close()
            raise

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

    def close(self) -> None:
        """Leave the run to the process that ends it."""
        self._records.close()

    def finish(self, state: State = "finished") -> Path:
        """End the run: put results.json in place, read it back, check it against the schema.

        The raw records stay where they are until results.json is proven good.

        Raises:
            EnvironmentBroken: it could not be written.
            LabkitBug: what was read back does not fit the schema, or is not what was stored.

        """
        if self._run.end is None:
            self._append("end", RunEnd(state=state, ended=_iso(_now())))
        self._records.reserved.release()
        target = self.folder / RESULTS
        try:
            with durable.replacing(target) as draft:
                durable.write_synced(draft, json.dumps(encode(self._run), indent=1, allow_nan=False).encode())
                self._check(draft)
            hand_over(target)
            durable.sync_folder(self.folder)
        except OSError as e:
            raise self._broken(e, f"{RESULTS} could not be written") from e
        self._records.close()
        return target

    def _check(self, draft: Path) -> None:
        """What lies on the disk must fit the schema, and be what was stored."""
        document = parse_json(draft.read_text(), RESULTS)
        try:
            validate(document, RESULTS)
        except ConfigInvalid as e:
            raise LabkitBug(f"{e.message}; the raw records are kept in {self.folder / RECORDS}") from e
        if document != encode(self._run):
            raise LabkitBug(f"{RESULTS} read back differs from what was stored; see {self.folder / RECORDS}")

    def _append(self, kind: str, record: object) -> None:
        data = _line(kind, record)
        try:
            full = self._records.append(data)
        except OSError as e:
            raise self._broken(e, f"the {kind} that was just finished could not be stored") from e
        self._remember(record)
        if full is not None:
            raise self._broken(
                full, f"no more results can be stored; the {kind} just finished is kept too"
            ) from full

    def _remember(self, record: object) -> None:
        """Keep in memory what is on disk."""
        run = self._run
        match record:
            case Measurement():
                self._run = run.with_measurement(record)
            case Verdict():
                self._run = run.with_verdict(record)
            case Environment():
                self._run = run.with_environment(record)
            case RunEnd():
                self._run = replace(run, end=record)

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
            e.add_note(str(late))  # the first error is the one to report
        finally:
            self._records.close()


def _line(kind: str, record: object) -> bytes:
    try:
        line = {"record": kind, "schema_version": SCHEMA_VERSION, "value": encode(record)}
    except CodecError as e:
        raise LabkitBug(f"{kind} record: {e}") from e
    return json.dumps(line, allow_nan=False).encode() + b"\n"


@contextmanager
def _removed_unless_begun(folder: Path) -> Iterator[None]:
    """Remove the folder of a run that could not begin: a reader would take it for a run."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            (folder / RECORDS).unlink(missing_ok=True)
            folder.rmdir()
        raise


def _clear_abandoned(root: Path) -> None:
    """Remove the drafts that runs which were killed left below `root`; what a process still writes is left alone."""
    with suppress(OSError):
        for folder in root.iterdir():
            with suppress(OSError):  # another user's
                if (folder / RECORDS).is_file() and not folder.is_symlink():
                    durable.clear_abandoned(folder)


def _without_names(command: list[str]) -> tuple[str, ...]:
    """The command without the folders that show who typed it: the program's own, and home folders."""
    home = re.escape(str(Path.home()))
    rest = [re.sub(rf"(?:{home}|/home/[^/\s]+)(?=/|$)", "~", word) for word in command[1:]]
    return (*(Path(word).name for word in command[:1]), *rest)
