"""The journal: what is on disk, whatever happens."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.cli import main
from labkit.errors import EnvironmentBroken
from labkit.machine.journal import Journal, this_boot
from labkit.machine.process import Identity, identify
from labkit.machine.undo import down, left_over

TUNABLE = {"kind": "file", "path": "/proc/sys/none"}


def test_a_change_that_an_older_labkit_wrote_down_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entry = journal.begin(lab="a", tunable=TUNABLE, old="0", new="1")
    journal.path.write_text(journal.path.read_text().replace('"tunable"', '"knob"'))
    assert '"knob"' in journal.path.read_text()
    assert journal.read().entries == (entry,)


def test_a_change_is_open_until_it_ends(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state")
    first = journal.begin(lab="a", tunable=TUNABLE, old="0", new="1")
    second = journal.begin(lab="a", tunable=TUNABLE, old="1", new="2")
    assert Journal(tmp_path / "state").read().entries == (first, second)
    assert this_boot(first)
    journal.end(first)
    assert journal.read().entries == (second,)


def test_an_empty_journal_starts_afresh(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.end(journal.begin(lab="a", tunable=TUNABLE, old="0", new="1"))
    assert journal.path.read_bytes() == b""


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path)
    first = journal.begin(lab="a", tunable=TUNABLE, old="0", new="1")
    journal.begin(lab="a", tunable=TUNABLE, old="1", new="2")
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    assert journal.read().entries == (first,)
    third = journal.begin(lab="a", tunable=TUNABLE, old="1", new="3")
    assert journal.read().entries == (first, third)
    assert journal.read().unreadable == ()


def test_a_line_of_nonsense_is_reported_and_the_rest_undone(tmp_path: Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text("2")
    journal = Journal(tmp_path)
    journal.begin(lab="a", tunable={"kind": "file", "path": str(setting)}, old="1", new="2")
    with journal.path.open("a") as file:
        file.write("nonsense\n")
    undone = down(journal=journal, force=True)
    assert setting.read_text() == "1"
    assert [bool(one.left) for one in undone] == [False, True]
    assert f"{journal.path}:2" in (undone[1].left or "")


def test_a_live_controllers_change_is_left_to_it_unless_forced(tmp_path: Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text("2")
    journal = Journal(tmp_path)
    journal.begin(lab="a", tunable={"kind": "file", "path": str(setting)}, old="1", new="2")
    (kept,) = down(journal=journal)
    assert not kept.done
    assert f"process {os.getpid()}" in (kept.left or "")
    assert setting.read_text() == "2"
    (done,) = down(journal=journal, force=True)
    assert done.done
    assert setting.read_text() == "1"
    assert down(journal=journal, force=True) == []


def test_what_another_boot_did_is_gone(tmp_path: Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text("2")
    journal = Journal(tmp_path)
    journal.begin(lab="a", tunable={"kind": "file", "path": str(setting)}, old="1", new="2")
    line = json.loads(journal.path.read_text())
    journal.path.write_text(json.dumps({**line, "boot": "another"}) + "\n")
    assert down(journal=journal, force=True) == []
    assert setting.read_text() == "2"
    assert journal.read().entries == ()


def test_status_names_what_a_killed_process_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path))
    journal = Journal(tmp_path)
    journal.begin(lab="a", tunable=TUNABLE, old="0", new="1")
    assert main(["status"]) == 0
    assert "killed" not in capsys.readouterr().out  # we are alive

    line = json.loads(journal.path.read_text())
    journal.path.write_text(json.dumps({**line, "owner": {**line["owner"], "start_ticks": 1}}) + "\n")
    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert "left by a labkit process that was killed (" in said
    assert "labkit down reverts it):\n  a: /proc/sys/none: 1 -> 0\n" in said

    journal.path.write_text(journal.path.read_text().replace(line["boot"], "another"))
    assert left_over(journal) == []


def test_a_directory_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentBroken, match="LABKIT_STATE_DIR"):
        Journal(tmp_path / "file").begin(lab="a", tunable=TUNABLE, old="0", new="1")
    with pytest.raises(EnvironmentBroken, match="LABKIT_STATE_DIR"):
        Journal(tmp_path / "file").read()


def test_a_recycled_pid_is_not_the_old_process() -> None:
    me = identify(os.getpid())
    assert me.alive
    assert not replace(me, start_ticks=me.start_ticks - 1).alive
    assert not Identity(2**22 + 1, 1).alive
