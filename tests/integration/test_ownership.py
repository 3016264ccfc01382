"""What sudo made belongs to who called it. Owners are changed for real, so most of it needs root."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from sample_run import sample_run

from labkit.machine import ownership
from labkit.probe import cache
from labkit.record.store import RunStore
from labkit.results import report

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as sudo gives it")
USER = next(one for one in pwd.getpwall() if 0 < one.pw_uid < 65534)


@pytest.fixture
def by_sudo(monkeypatch):
    monkeypatch.setenv("SUDO_UID", str(USER.pw_uid))
    monkeypatch.setenv("SUDO_GID", str(USER.pw_gid))
    return USER


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


@needs_root
def test_folders_made_on_the_way_are_the_callers_and_those_that_were_there_are_not(by_sudo, tmp_path):
    (tmp_path / "there").mkdir()

    ownership.make_folders(tmp_path / "there" / "a" / "b")

    theirs = (USER.pw_uid, USER.pw_gid)
    assert owner(tmp_path / "there") == (0, 0)
    assert [owner(tmp_path / "there" / name) for name in ("a", "a/b")] == [theirs, theirs]


@needs_root
def test_a_folder_is_handed_over_with_all_that_root_made_in_it_and_nothing_beyond_a_link(by_sudo, tmp_path):
    other = USER.pw_uid + 1
    made, outside = tmp_path / "made", tmp_path / "outside"
    (made / "inner").mkdir(parents=True)
    outside.mkdir()
    for file in (
        made / "file",
        made / "inner" / "file",
        made / "others",
        outside / "file",
        outside / "twice",
    ):
        file.touch()
    os.chown(made / "others", other, other)
    (made / "link").symlink_to(outside / "file")
    (made / "folder").symlink_to(outside)
    (made / "twice").hardlink_to(outside / "twice")

    ownership.hand_over(made)

    theirs = (USER.pw_uid, USER.pw_gid)
    assert {owner(made / name) for name in (".", "file", "inner", "inner/file")} == {theirs}
    assert owner(made / "others") == (other, other)
    assert {owner(p) for p in (outside, outside / "file", outside / "twice")} == {(0, 0)}
    link = tmp_path / "to-outside"
    link.symlink_to(outside)
    ownership.hand_over(link)
    assert owner(outside) == (0, 0)


@needs_root
def test_run_folder_and_report_are_the_callers(by_sudo, tmp_path):
    with RunStore.create(tmp_path / "results", command=["labkit"], quick=True, seed=1) as store:
        folder = store.folder
    report.render(sample_run(), folder)

    found = {str(p.relative_to(tmp_path)): owner(p) for p in tmp_path.rglob("*")}
    assert set(found.values()) == {(USER.pw_uid, USER.pw_gid)}, found
    assert {Path(name).name for name in found} >= {"results", "records.jsonl", "results.json", "report.html"}


@needs_root
def test_folders_of_a_junit_file_of_ones_own_are_the_callers(by_sudo, tmp_path):
    (tmp_path / "there").mkdir()
    run = ("run", "--quick", "-m", "dpdk and loss", "--topology", "sim", "--", "--junitxml=there/k/l/j.xml")

    done = subprocess.run(
        [sys.executable, "-m", "labkit.cli", *run], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert owner(tmp_path / "there") == (0, 0)
    made = [tmp_path / "there" / name for name in ("k", "k/l", "k/l/j.xml")]
    assert {owner(path) for path in made} == {(USER.pw_uid, USER.pw_gid)}


@pytest.mark.parametrize(
    "environment",
    [{}, {"SUDO_UID": "0", "SUDO_GID": "0"}, {"SUDO_UID": "x", "SUDO_GID": "1"}, {"SUDO_UID": "4294967290"}],
)
def test_nobody_called_sudo(monkeypatch, tmp_path, environment):
    for name in ("SUDO_UID", "SUDO_GID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = owner(tmp_path)

    ownership.make_folders(tmp_path / "a")
    ownership.hand_over(tmp_path)

    assert ownership.caller() is None
    assert owner(tmp_path) == before == owner(tmp_path / "a")


@needs_root
def test_root_by_sudo_takes_the_probe_that_the_caller_has_built_and_no_third_users(
    by_sudo, tmp_path, monkeypatch
):
    class There:
        pw_dir = str(tmp_path / "home")

    for name in ("LABKIT_PROBE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "root"))
    monkeypatch.setattr(ownership.pwd, "getpwuid", lambda uid: There)
    (tmp_path / "home").mkdir()
    folder = cache.build_directory()
    assert folder.is_relative_to(tmp_path / "home" / ".cache" / "labkit" / "probe")
    folder.mkdir(parents=True)
    program = folder / "labkit-probe-socket"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    manifest = {"sources": cache.source_hash(), "linked": cache.linked(), "missing": {"socket": None}}
    (folder / "manifest.json").write_text(json.dumps(manifest))

    os.chown(program, USER.pw_uid, USER.pw_gid)
    assert cache.engine_path("socket") == program
    os.chown(program, USER.pw_uid + 1, USER.pw_gid)
    with pytest.raises(cache.EnvironmentBroken, match="root does not run it"):
        cache.engine_path("socket")
    os.chown(program, USER.pw_uid, USER.pw_gid)
    program.chmod(0o757)
    with pytest.raises(cache.EnvironmentBroken, match="root does not run it"):
        cache.engine_path("socket")
