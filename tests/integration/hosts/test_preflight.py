"""What can't come right on a host is reported before anything is changed: all of it, with the way out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ansible_collections.labkit.host.plugins.module_utils import apt_trouble, locks, preflight

HOLD = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def rpm_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "RPM", (str(tmp_path / ".rpm.lock"),))
    monkeypatch.setattr(locks, "DNF", (str(tmp_path / "rpmdb_lock.pid"),))
    return tmp_path


def test_other_rpm_is_reported_by_its_process(rpm_locks):
    command = [sys.executable, "-c", HOLD, str(rpm_locks / ".rpm.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        [problem] = preflight.locks(0)
        holder.stdin.close()

    assert problem.startswith(f"dnf or rpm is in use: process {holder.pid} (")
    assert list(preflight.locks(0)) == []


def test_other_dnf_is_reported_by_the_process_that_its_lock_names_until_that_has_ended(rpm_locks):
    command = [sys.executable, "-c", HOLD, str(rpm_locks / "another.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dnf:
        assert dnf.stdout.readline() == b"held\n"
        (rpm_locks / "rpmdb_lock.pid").write_text(f"{dnf.pid}")
        [problem] = preflight.locks(0)
        dnf.stdin.close()

    assert f"process {dnf.pid} ({sys.executable} -c " in problem
    assert f"holds {rpm_locks}/rpmdb_lock.pid" in problem
    assert list(preflight.locks(0)) == []


def test_other_apt_is_reported_by_its_process_and_command(tmp_path, monkeypatch):
    lock = tmp_path / "lock-frontend"
    monkeypatch.setattr(apt_trouble, "LOCKS", (str(lock),))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        [problem] = preflight.locks(0)
    finally:
        holder.communicate()

    assert f"process {holder.pid} (" in problem
    assert str(lock) in problem
    assert list(preflight.locks(0)) == []
