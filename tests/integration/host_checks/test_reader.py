"""The host reader: real commands on this machine, and hosts that refuse."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

import pytest

from labkit.doctor.host.reader import CommandResult, HostReader
from labkit.errors import EnvironmentBroken, ToolFailed


@dataclass
class Done:
    rc: int
    stdout: str = ""
    stderr: str = ""

    @property
    def stdout_bytes(self) -> bytes:
        return self.stdout.encode("utf-8", "surrogateescape")


class Here:
    """This machine, as whoever runs the tests; a sudo that is not asked."""

    def __init__(self) -> None:
        self.asked = 0

    def run(self, command: str, *args: str) -> Done:
        self.asked += 1
        done = subprocess.run(
            ["/bin/sh", "-c", args[0]],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


class Saying:
    def __init__(self, done: Done | Exception) -> None:
        self.done = done

    def run(self, command: str, *args: str) -> Done:
        if isinstance(self.done, Exception):
            raise self.done
        return self.done


def test_files_links_and_commands_come_in_one_go(tmp_path):
    (tmp_path / "0000:03:00.0").write_text("one\n\ntwo\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "driver").symlink_to("../../drivers/vfio-pci")
    here = Here()

    seen = HostReader(here, name="here").look(
        files=[f"{tmp_path}/*[0y]", f"{tmp_path}/none"],
        links=[f"{tmp_path}/d*", f"{tmp_path}/none"],
        commands={"ok": "printf 'a\\nb'", "no": "echo out; echo why >&2; exit 3", "stdin": "cat"},
    )

    assert here.asked == 1
    assert seen.text(f"{tmp_path}/0000:03:00.0") == "one\n\ntwo"
    assert seen.text(f"{tmp_path}/empty") == ""
    assert seen.text(f"{tmp_path}/none") is None
    assert seen.target(f"{tmp_path}/driver") == "vfio-pci"
    assert seen.target(f"{tmp_path}/none") is None
    assert seen.commands == {
        "ok": CommandResult(0, "a\nb"),
        "no": CommandResult(3, "out\nwhy"),
        "stdin": CommandResult(0, ""),
    }
    assert seen.matching("*/empty") == {f"{tmp_path}/empty": ""}


def test_an_answer_is_cached_and_a_new_reader_reads_again(tmp_path):
    (tmp_path / "file").write_text("before")
    here = Here()
    reader = HostReader(here, name="here")
    for _ in range(2):
        assert reader.look(files=[f"{tmp_path}/file"]).text(f"{tmp_path}/file") == "before"
    assert here.asked == 1

    (tmp_path / "file").write_text("after")

    assert HostReader(here, name="here").look(files=[f"{tmp_path}/file"]).text(f"{tmp_path}/file") == "after"


def test_host_that_cannot_be_reached_is_reported_with_the_reason():
    refused = RuntimeError(Done(255, stderr="ssh: connect to host 198.18.0.1 port 22: Connection refused"))

    with pytest.raises(EnvironmentBroken, match=r"dut cannot be reached: ssh: connect .* Connection refused"):
        HostReader(Saying(refused), name="dut").look(files=["/proc/cmdline"])


def test_sudo_that_asks_for_a_password_is_reported():
    done = Done(1, stderr="sudo: a password is required")

    with pytest.raises(EnvironmentBroken, match=r"dut: commands could not be run as root: sudo: a password"):
        HostReader(Saying(done), name="dut").look(files=["/proc/cmdline"])


def test_file_in_another_encoding_is_read_nevertheless(tmp_path):
    (tmp_path / "latin").write_bytes(b"# caf\xe9\nA=1\n")

    seen = HostReader(Here(), name="here").look(files=[f"{tmp_path}/latin"])

    assert seen.text(f"{tmp_path}/latin") == "# caf\ufffd\nA=1"


def test_what_cannot_be_read_is_reported_with_its_file(tmp_path):
    (tmp_path / "list").write_text("1-3,x\n")
    seen = HostReader(Here(), name="here").look(files=[f"{tmp_path}/list"])

    with pytest.raises(ToolFailed, match=rf"{tmp_path}/list: can't be read, found '1-3,x' \(invalid literal"):
        seen.read(f"{tmp_path}/list", int)
    assert seen.read(f"{tmp_path}/none", int) is None


def test_truncated_answer_is_an_error():
    with pytest.raises(ToolFailed, match="dut: the answer broke off"):
        HostReader(Saying(Done(0, "/proc/cmdline\0quiet\n")), name="dut").look(files=["/proc/cmdline"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the shell asks sudo else")
def test_root_is_not_asked_to_sudo(tmp_path):
    class Shell(Here):
        def run(self, command: str, *args: str) -> Done:
            whole = command % tuple(f"'{arg}'" for arg in args)
            done = subprocess.run(
                ["/bin/sh", "-c", whole],
                capture_output=True,
                text=True,
                check=False,
                env={"PATH": "/usr/bin:/bin"},
            )
            return Done(done.returncode, done.stdout, done.stderr)

    seen = HostReader(Shell(), name="here").look(commands={"who": "id -u"})

    assert seen.commands["who"] == CommandResult(0, "0")
