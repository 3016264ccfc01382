# ruff: noqa: PT012 - a store fails inside its own context: the block is what is tested
from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import ENVIRONMENT, sample_run

from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitBug
from labkit.machine import durable
from labkit.record.model import Outcome, Verdict
from labkit.record.run import SCHEMA_VERSION
from labkit.record.space import RESERVED_BYTES
from labkit.record.store import RunStore, latest, load

RUN = sample_run()


def create(root: Path) -> RunStore:
    return RunStore.create(root, command=["labkit", "run"], quick=True, seed=7)


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def held_back(folder: Path) -> int:
    """Bytes of files without a name that this process holds open on the disk of `folder`."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target, status = str(descriptor.readlink()), descriptor.stat()
        except OSError:
            continue
        if target.startswith(str(folder)) and status.st_nlink == 0:
            found.append(status.st_blocks * 512)
    return sum(found)


def test_a_finished_run_comes_back_whole_and_leaves_no_helper_files(tmp_path):
    with create(tmp_path) as store:
        store.set_environment(RUN.environment)
        for m in RUN.measurements:
            store.add_measurement(m)
        for v in RUN.verdicts:
            store.add_verdict(v)
        assert held_back(store.folder) == RESERVED_BYTES
        assert files(store.folder) == {"records.jsonl"}
    back = load(store.folder)
    assert back.state == "finished"
    assert (back.measurements, back.verdicts) == (RUN.measurements, RUN.verdicts)
    assert back.environment == RUN.environment
    assert back == load(store.folder / "results.json") == load(store.folder / "records.jsonl")
    assert files(store.folder) == {"records.jsonl", "results.json"}


def test_the_environment_is_stored_field_by_field_as_it_is(tmp_path):
    with create(tmp_path) as store:
        store.set_environment(RUN.environment)
    stored = {
        **ENVIRONMENT,
        "host": None,
        "hosts": {},
    }  # fields that were added later are there with their default
    (line,) = [
        json.loads(line)
        for line in (store.folder / "records.jsonl").read_text().splitlines()
        if "environment" in line
    ]
    assert line == {"record": "environment", "schema_version": SCHEMA_VERSION, "value": stored}
    assert json.loads((store.folder / "results.json").read_text())["environment"] == stored
    assert load(store.folder).environment == store.run.environment


def test_the_command_is_stored_without_what_tells_who_typed_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/root")
    command = [
        "/home/someone/bin/labkit",
        "run",
        "--results=/home/someone/r",
        "/root/lab.yml",
        "/rooted",
        "a b",
    ]
    with RunStore.create(tmp_path, command=command, quick=False, seed=1) as store:
        pass
    assert load(store.folder).start.command == (
        "labkit",
        "run",
        "--results=~/r",
        "~/lab.yml",
        "/rooted",
        "a b",
    )


def test_an_exception_ends_the_run_as_interrupted_and_keeps_what_was_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt), create(tmp_path) as store:
        store.add_measurement(RUN.measurements[0])
        raise KeyboardInterrupt
    back = load(store.folder / "results.json")
    assert back.state == "interrupted"
    assert back.measurements == RUN.measurements[:1]


def test_a_torn_last_line_is_left_out_at_every_length(tmp_path):
    store = create(tmp_path)
    store.add_measurement(RUN.measurements[0])
    store.add_verdict(RUN.verdicts[0])
    records = store.folder / "records.jsonl"
    whole = records.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole)):
        records.write_bytes(whole[:cut])
        assert load(records).verdicts == ()
    records.write_bytes(whole)
    assert load(records).verdicts == RUN.verdicts[:1]


class FullDisk:
    """os.write with `room` bytes left on the disk: a part goes through, then ENOSPC. Space given back adds room."""

    def __init__(self, room: int, folder: Path, reserved: int = 0) -> None:
        self.room, self.folder, self.reserved = room, folder, reserved

    def __call__(self, descriptor: int, data: memoryview) -> int:
        if self.reserved and not held_back(self.folder):
            self.room, self.reserved = self.room + self.reserved, 0
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = min(len(data), self.room)
        self.room -= n
        return WRITE(descriptor, data[:n])


WRITE = os.write


@pytest.mark.parametrize("room", [0, 1, 100, 1000])
def test_a_full_disk_keeps_even_the_measurement_being_written(tmp_path, monkeypatch, room):
    with pytest.raises(EnvironmentBroken, match="No space left") as e, create(tmp_path) as store:
        store.add_measurement(RUN.measurements[0])
        monkeypatch.setattr(os, "write", FullDisk(room, store.folder, reserved=1 << 20))
        store.add_measurement(RUN.measurements[1])
    assert "just finished is kept too" in str(e.value)
    assert str(store.folder / "records.jsonl") in str(e.value)
    assert "2 measurements" in str(e.value)
    assert load(store.folder).measurements == RUN.measurements[:2]
    assert load(store.folder).state == "interrupted"


@pytest.mark.parametrize("room", [0, 1, 100, 1000])
def test_a_full_disk_without_space_held_back_says_what_is_kept_and_leaves_no_torn_line(
    tmp_path, monkeypatch, room
):
    with pytest.raises(EnvironmentBroken, match="could not be stored") as e, create(tmp_path) as store:
        store.add_measurement(RUN.measurements[0])
        store._records.reserved.release()
        monkeypatch.setattr(os, "write", FullDisk(room, store.folder))
        store.add_measurement(RUN.measurements[1])
    assert "1 measurements" in str(e.value)
    assert load(store.folder).measurements == RUN.measurements[:1]
    assert (store.folder / "records.jsonl").read_bytes().endswith(b"\n")
    assert "results.json" not in files(store.folder)


@pytest.mark.parametrize("room", [200, 5000])
def test_a_disk_that_fills_at_the_end_leaves_no_truncated_results(tmp_path, monkeypatch, room):
    with (
        pytest.raises(EnvironmentBroken, match=r"results\.json could not be written"),
        create(tmp_path) as store,
    ):
        store.add_measurement(RUN.measurements[0])
        monkeypatch.setattr(os, "write", FullDisk(room, store.folder))
    assert files(store.folder) == {"records.jsonl"}
    back = load(store.folder)
    assert back.state == "finished"
    assert back.measurements == RUN.measurements[:1]


def test_results_that_do_not_fit_the_schema_are_not_put_in_place(tmp_path, monkeypatch):
    store = create(tmp_path)
    store.add_measurement(RUN.measurements[0])

    def garble(path: Path, data: bytes) -> None:
        path.write_bytes(data.replace(b'"quick": true', b'"quick": "yes"'))

    monkeypatch.setattr(durable, "write_synced", garble)
    with pytest.raises(LabkitBug, match=r"\$\.start\.quick.*records\.jsonl"):
        store.finish()
    assert "results.json" not in files(store.folder)
    assert load(store.folder).measurements == RUN.measurements[:1]


def test_results_that_read_back_differently_are_not_put_in_place(tmp_path, monkeypatch):
    store = create(tmp_path)
    monkeypatch.setattr(
        durable,
        "write_synced",
        lambda path, data: path.write_bytes(data.replace(b'"seed": 7', b'"seed": 8')),
    )
    with pytest.raises(LabkitBug, match="differs"):
        store.finish()
    assert "results.json" not in files(store.folder)


def finished(tmp_path: Path) -> Path:
    with create(tmp_path) as store:
        store.add_verdict(RUN.verdicts[0])
    return store.folder / "results.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"schema_version": SCHEMA_VERSION + 1},
            rf"written by a newer labkit \(results schema {SCHEMA_VERSION + 1}; .* up to {SCHEMA_VERSION}\)",
        ),
        ({"schema_version": "1"}, r"\$\.schema_version: expected a whole number"),
        ({"schema_version": None}, r"\$\.schema_version"),
        ({"surprise": 1}, r"\$: unknown key 'surprise'"),
        ({"verdicts": [{}]}, r"\$\.verdicts\[0\]: key 'test' is missing"),
    ],
)
def test_results_that_cannot_be_read_are_refused_with_the_reason(tmp_path, change, message):
    path = finished(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigInvalid, match=message) as e:
        load(path)
    assert str(path) in str(e.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": NaN}', "\x00", "[" * 100_000])
def test_a_file_that_is_no_results_is_refused(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=r"results\.json"):
        load(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigInvalid, match="can't be read"):
        load(path)


def test_records_from_a_newer_labkit_are_refused_with_the_line(tmp_path):
    path = finished(tmp_path).with_name("records.jsonl")
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace(
        f'"schema_version": {SCHEMA_VERSION}', f'"schema_version": {SCHEMA_VERSION + 1}'
    )
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigInvalid, match=r"records\.jsonl:2: written by a newer labkit"):
        load(path)


@pytest.mark.parametrize("where", ["nothing", "empty"])
def test_where_no_run_is_the_hint_says_how_to_make_one(tmp_path, where):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigInvalid) as e:
        load(tmp_path / where)
    with pytest.raises(ConfigInvalid, match="no run there yet") as none:
        latest(tmp_path / where)
    assert str(tmp_path / where) in str(e.value)
    assert "labkit run" in str(none.value)


def test_the_latest_of_several_runs_in_one_second_is_the_last_written(tmp_path):
    folders = []
    for _ in range(4):
        with create(tmp_path) as store:
            pass
        folders.append(store.folder)
        time.sleep(0.005)
    assert latest(tmp_path) == folders[-1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; run as another user to check this")
def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentBroken, match="Permission denied"):
        create(tmp_path)


def test_a_run_that_finds_no_room_leaves_no_folder_that_looks_like_a_run(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(EnvironmentBroken, match="no room for results"):
        create(tmp_path)
    assert files(tmp_path) == set()


def test_a_file_in_the_way_is_reported(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(EnvironmentBroken, match=r"Not a directory|File exists"):
        create(tmp_path / "results")


def test_what_cannot_be_stored_is_refused_before_it_reaches_the_disk(tmp_path):
    with create(tmp_path) as store:
        bad = Verdict(
            test="t", key=None, target="t", outcome=Outcome.PASS, value=float("nan"), unit=None, reason=""
        )
        with pytest.raises(LabkitBug, match=r"\$\.value"):
            store.add_verdict(bad)
        with pytest.raises(LabkitBug, match=r"\$\.parameters\.width: a set"):
            store.set_environment(replace(RUN.environment, parameters={"width": {1}}))
    assert load(store.folder).verdicts == ()


@contextmanager
def unreadable(folder: Path) -> Iterator[None]:
    """To root nothing is: then as another user, who may not enter."""
    folder.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o700)


def test_a_run_that_may_not_be_read_is_no_bug_and_no_missing_run(tmp_path: Path) -> None:
    root = tmp_path / "results"
    with RunStore.create(root, command=["labkit"], quick=True, seed=1) as store:
        folder = store.folder
    for place, read in ((folder, load), (root, latest)):
        with (
            unreadable(folder),
            pytest.raises(ConfigInvalid, match="can't be read: Permission denied") as refused,
        ):
            read(place)
        assert "chown -R " in str(refused.value.hint)
    assert latest(root) == folder
