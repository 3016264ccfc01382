"""Tunables on files of our own: the old value is on disk before the new one is written, and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import EnvironmentBroken, LabkitBug
from labkit.machine.journal import Journal
from labkit.machine.tunables import FileTunable, HugepagesTunable, tunable_from, turn, undo


class Grudging(HugepagesTunable):
    """A kernel that grants at most 3."""

    def write(self, value: str) -> None:
        HugepagesTunable.write(self, str(min(int(value), 3)))


@pytest.fixture
def setting(tmp_path: Path) -> Path:
    path = tmp_path / "setting"
    path.write_text("1\n")
    return path


@settings(deadline=None, max_examples=30)  # the disk decides how long an fsync takes
@given(old=st.integers(0, 9), new=st.integers(0, 9))
def test_undo_brings_back_what_was(tmp_path_factory: pytest.TempPathFactory, old: int, new: int) -> None:
    path = tmp_path_factory.mktemp("tunable") / "setting"
    path.write_text(str(old))
    journal = Journal(path.parent)
    entry = turn(FileTunable(path), str(new), journal=journal, lab="a")
    assert path.read_text() == str(new)
    assert undo(entry, journal=journal) is None
    assert path.read_text() == str(old)
    assert journal.read().entries == ()


def test_the_old_value_is_on_disk_before_the_write(tmp_path: Path, setting: Path) -> None:
    journal = Journal(tmp_path)
    seen = []

    class Watched(FileTunable):
        def write(self, value: str) -> None:
            seen.append([(e.old, e.new) for e in Journal(tmp_path).read().entries])
            FileTunable.write(self, value)

    turn(Watched(setting), "2", journal=journal, lab="a")
    assert seen == [[("1", "2")]]


def test_what_someone_else_set_since_is_left_and_reported(tmp_path: Path, setting: Path) -> None:
    journal = Journal(tmp_path)
    entry = turn(FileTunable(setting), "2", journal=journal, lab="a")
    setting.write_text("7")
    assert "changed by another program" in (undo(entry, journal=journal) or "")
    assert setting.read_text() == "7"


def test_a_short_grant_is_an_error_and_is_given_back(tmp_path: Path, setting: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(EnvironmentBroken, match="wrote 8, read back 3"):
        turn(Grudging(setting), "8", journal=journal, lab="a")
    assert setting.read_text() == "1"
    assert journal.read().entries == ()


@pytest.mark.parametrize(("now", "then"), [("1", "1"), ("3", "1"), ("8", "1"), ("9", "9"), ("0", "0")])
def test_hugepages_up_to_what_we_asked_for_are_ours(setting: Path, now: str, then: str) -> None:
    setting.write_text(now)
    HugepagesTunable(setting).restore("1", "8")
    assert setting.read_text() == then


def test_a_tunable_is_known_again_from_its_journal_line(setting: Path) -> None:
    for tunable in (FileTunable(setting), HugepagesTunable(setting)):
        assert tunable_from(tunable.describe()) == tunable
    with pytest.raises(LabkitBug):
        tunable_from({"kind": "teapot"})
