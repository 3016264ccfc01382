"""Temporary folders: whose process was killed is removed, whose process lives is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from labkit.machine import scratch

HOLDS = """
from labkit.machine import scratch
with scratch.folder("ssh") as place:
    (place / "inventory.json").write_text("{}")
    print(place, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_is_gone_with_its_context(tmp_path):
    with scratch.folder("desired") as place:
        assert place.stat().st_mode & 0o777 == 0o700
        (place / "file").touch()
        assert scratch.clear_abandoned() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", ["the next", "down"])
def test_what_a_kill_left_is_removed_and_what_is_in_use_is_not(tmp_path, by):
    killed, lives = (
        subprocess.Popen(
            [sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    )
    left, used = (Path(one.stdout.readline().strip()) for one in (killed, lives))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.is_dir()
    (tmp_path / "labkit-ssh.link").symlink_to(tmp_path / "target")
    (tmp_path / "target").mkdir()
    if by == "down":
        command = [sys.executable, "-m", "labkit.cli", "down"]
        state = {
            "LABKIT_STATE_DIR": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "LABKIT_PROBE_DIR": str(tmp_path),
        }
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=state)
        assert str(left) in done.stdout
        assert "nothing to revert" not in done.stdout
    else:
        with scratch.folder("ssh"):
            pass
    assert not left.exists()
    assert used.is_dir()
    assert (tmp_path / "target").is_dir()
    lives.communicate("\n")
    assert not used.exists()
