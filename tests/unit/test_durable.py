# ruff: noqa: PT012 - a draft fails inside its own context: the block is what is tested
"""Files are put in place whole; drafts that a killed process left are removed, those of a live one are not."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from labkit.machine import durable


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def abandoned(folder: Path, name: str = "results.json") -> Path:
    """What a process leaves that is killed while it writes: a draft on which nobody has a lock."""
    draft = durable.temporary(folder / name)
    draft.write_text('{"half')
    return draft


def test_a_draft_takes_the_place_of_the_file(tmp_path):
    (tmp_path / "page").write_text("old")
    with durable.replacing(tmp_path / "page") as draft:
        draft.write_text("new")
        assert (tmp_path / "page").read_text() == "old"
    assert (tmp_path / "page").read_text() == "new"
    assert names(tmp_path) == ["page"]


def test_a_draft_that_fails_is_removed_and_the_file_stays(tmp_path):
    (tmp_path / "page").write_text("old")
    with pytest.raises(KeyboardInterrupt), durable.replacing(tmp_path / "page") as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "page").read_text() == "old"
    assert names(tmp_path) == ["page"]


def test_what_is_abandoned_is_removed_and_what_is_being_written_is_not(tmp_path):
    left = abandoned(tmp_path)
    with durable.replacing(tmp_path / "results.json") as draft:
        assert not left.exists()  # whoever writes the same file removes it
        left = abandoned(tmp_path, "report.html")
        draft.write_text("whole")
        assert durable.clear_abandoned(tmp_path) == [left]
        assert names(tmp_path) == [draft.name]
    assert (tmp_path / "results.json").read_text() == "whole"


def test_drafts_of_other_files_are_left_to_others(tmp_path):
    mine, others = abandoned(tmp_path, "a.json"), abandoned(tmp_path, "b.a.json")
    assert durable.clear_abandoned(tmp_path, "a.json") == [mine]
    assert names(tmp_path) == [others.name]


def test_what_only_looks_like_a_draft_is_left_alone(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    place = tmp_path / "run"
    place.mkdir()
    (place / ".link.abcdef.tmp").symlink_to(outside)
    (place / ".folder.abcdef.tmp").mkdir()
    os.mkfifo(place / ".pipe.abcdef.tmp")
    for name in (".results.json.tmp", "results.json.abcdef.tmp", ".results.json.nothex.tmp", ".hidden"):
        (place / name).touch()
    before = names(place)
    assert durable.clear_abandoned(place) == []
    assert names(place) == before
    assert outside.read_text() == "mine"


def test_where_no_folder_is_nothing_is_removed(tmp_path):
    assert durable.clear_abandoned(tmp_path / "none") == []


def test_a_draft_that_was_removed_before_its_lock_was_taken_is_made_again(tmp_path, monkeypatch):
    """As when another process looks for abandoned ones at that moment."""
    lock, seen = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not seen:
            seen.extend(tmp_path.iterdir())
            seen[0].unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with durable.replacing(tmp_path / "page") as draft:
        draft.write_text("new")
    assert draft != seen[0]
    assert names(tmp_path) == ["page"]


def test_a_file_system_without_locks_takes_the_file_and_no_draft_there_counts_as_abandoned(
    tmp_path, monkeypatch
):
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    left = abandoned(tmp_path)
    monkeypatch.setattr(fcntl, "flock", none)
    with durable.replacing(tmp_path / "page") as draft:
        draft.write_text("new")
    assert durable.clear_abandoned(tmp_path) == []
    assert names(tmp_path) == [left.name, "page"]
