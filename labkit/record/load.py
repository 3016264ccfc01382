"""Reading a run back: from results.json, or from the records of a run that never got that far."""

from __future__ import annotations

import json
import os
import shlex
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from labkit.errors import ConfigInvalid
from labkit.machine import fix
from labkit.record.codec import CodecError, decode
from labkit.record.model import Measurement, Verdict
from labkit.record.provenance import Environment
from labkit.record.run import SCHEMA_VERSION, Run, RunEnd, RunStart
from labkit.record.upgrade import upgrade_record, upgrade_run

RECORDS = "records.jsonl"
RESULTS = "results.json"


def load(path: Path) -> Run:
    """The run in `path`: its folder, its results.json or its records.jsonl.

    A folder without results.json is a run that was killed or is still going: its records are read, and it counts
    as interrupted unless they hold another end. A last line that was not written to its end is left out.

    Raises ConfigInvalid: no run there, not JSON, from a newer labkit, or not what the schema expects (with JSON path).
    """
    try:
        path = _file(path)
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise _unreadable(path, e) from e
    return _from_records(text, path) if path.suffix == ".jsonl" else _from_results(text, path)


def _file(path: Path) -> Path:
    """The file that holds the run."""
    if stat.S_ISDIR(path.stat().st_mode):
        found = next((path / n for n in (RESULTS, RECORDS) if (path / n).is_file()), None)
        if found is None:
            raise ConfigInvalid(
                f"{path}: no run here: expected {RESULTS} or {RECORDS}",
                hint=f"`{fix.labkit('run')}` makes one below results/; name that folder",
            )
        return found
    return path


def _unreadable(path: Path, e: OSError | UnicodeDecodeError) -> ConfigInvalid:
    hint = None
    if isinstance(e, PermissionError):
        folder = path if path.suffix not in (".json", ".jsonl") else path.parent
        hint = fix.as_root(f"chown -R {os.geteuid()}:{os.getegid()} {shlex.quote(str(folder))}")
    return ConfigInvalid(f"{path}: can't be read: {getattr(e, 'strerror', None) or e}", hint=hint)


def latest(root: Path) -> Path:
    """The folder of the newest run below `root`. Raises ConfigInvalid where there is none, or none that can be read."""
    runs: list[Path] = []
    try:
        for folder in root.iterdir() if root.is_dir() else ():
            # One that was killed before its first record was written is no run yet.
            if (folder / RECORDS).is_file() and (folder / RECORDS).stat().st_size:
                runs.append(folder)
    except OSError as e:
        # A newer run that can't be read must not make an older one the latest.
        raise _unreadable(root if e.filename is None else Path(e.filename), e) from e
    if not runs:
        raise ConfigInvalid(
            f"{root}: no run there yet",
            hint=f"`{fix.labkit('run', '--quick')}` makes one in under two minutes",
        )
    # Names begin with the UTC second; within one, the order of writing decides.
    return max(runs, key=lambda p: (p.name.partition("-")[0], (p / RECORDS).stat().st_mtime_ns))


def parse_json(text: str, where: str) -> Any:  # noqa: ANN401 - any JSON value
    """Strict JSON: no NaN, no infinity. Raises ConfigInvalid with the line."""

    def refuse(word: str) -> NoReturn:
        raise ConfigInvalid(f"{where}: {word} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except (json.JSONDecodeError, RecursionError) as e:
        place = f":{e.lineno}" if isinstance(e, json.JSONDecodeError) else ""
        raise ConfigInvalid(f"{where}{place}: not JSON: {e}") from e


def _version(document: object, where: str) -> int:
    """The version in which it was stored. Raises ConfigInvalid where there is none, or a newer one."""
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigInvalid(
            f"{where}: $.schema_version: expected a whole number from 1, got {version!r}: no labkit results"
        )
    if version > SCHEMA_VERSION:
        raise ConfigInvalid(
            f"{where}: written by a newer labkit (results schema {version}; this one reads up to {SCHEMA_VERSION})",
            hint=fix.newer(),
        )
    return version


def _from_results(text: str, path: Path) -> Run:
    document = parse_json(text, str(path))
    version = _version(document, str(path))
    try:
        return decode(Run, upgrade_run(document, version))
    except CodecError as e:
        raise ConfigInvalid(f"{path}: {e}") from e


def _from_records(text: str, path: Path) -> Run:
    lines = text.split("\n")
    whole = [(i, line) for i, line in enumerate(lines[:-1], 1) if line]  # without a line end it is not whole
    if not whole:
        raise ConfigInvalid(f"{path}: the run ended before its first record was written")
    run: Run | None = None
    for number, line in whole:
        where = f"{path}:{number}"
        record = parse_json(line, where)
        version = _version(record, where)
        try:
            run = _add(run, record, version, where)
        except CodecError as e:
            raise ConfigInvalid(f"{where}: {e}") from e
    assert run is not None
    return run


def _add(run: Run | None, record: dict[str, Any], version: int, where: str) -> Run:
    kind = record.get("record")
    value = upgrade_record(str(kind), record.get("value"), version)
    if run is None:
        if kind != "start":
            raise ConfigInvalid(f"{where}: expected the start record first, got {kind!r}")
        return Run(
            schema_version=SCHEMA_VERSION,
            start=decode(RunStart, value, "$.value"),
            end=None,
            environment=None,
            measurements=(),
            verdicts=(),
        )
    match kind:
        case "environment":
            return run.with_environment(decode(Environment, value, "$.value"))
        case "measurement":
            return run.with_measurement(decode(Measurement, value, "$.value"))
        case "verdict":
            return run.with_verdict(decode(Verdict, value, "$.value"))
        case "end":
            return replace(run, end=decode(RunEnd, value, "$.value"))
    raise ConfigInvalid(f"{where}: $.record: unknown kind {kind!r}")
