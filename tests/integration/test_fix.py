"""Commands that are printed to be pasted: each names programs that are there, for the right user."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit import doctor
from labkit.machine import fix, privilege

LABKIT = str(Path(sys.executable).with_name("labkit"))
ADVICE = ("none ", "give this machine ", "more rights: ", "install ")
"""How words begin that are no command."""


@pytest.fixture(autouse=True)
def shell(tmp_path, monkeypatch):
    """An ordinary user's shell, in which labkit is not on PATH, on a machine with sudo."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sudo", "apt-get", "sysctl", "mount", "dmesg"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    for name in ("SUDO_UID", "SUDO_GID", "LABKIT_PROBE_DIR", "LABKIT_STATE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fix.os, "geteuid", lambda: 1000)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "archive_dists_stable_main_binary-amd64_Packages.lz4").touch()
    monkeypatch.setattr(fix, "_APT_LISTS", lists)
    monkeypatch.setattr(fix, "_APT", programs / "apt-get")
    return programs


def root(monkeypatch, *, by_sudo: bool = False) -> None:
    monkeypatch.setattr(fix.os, "geteuid", lambda: 0)
    if by_sudo:
        monkeypatch.setenv("SUDO_UID", "1000")
        monkeypatch.setenv("SUDO_GID", "1000")
        monkeypatch.setattr("labkit.machine.ownership.pwd.getpwuid", lambda uid: os.stat_result)
        monkeypatch.setattr(os.stat_result, "pw_dir", "/home/someone", raising=False)


def test_labkit_is_named_in_full_where_the_shell_would_not_find_it(shell, tmp_path, monkeypatch):
    assert fix.labkit("build") == f"{LABKIT} build"
    (shell / "labkit").symlink_to(LABKIT)  # as pipx does
    assert fix.labkit("build") == "labkit build"
    (shell / "labkit").unlink()
    (shell / "labkit").write_text("#!/bin/sh\n")  # another one
    (shell / "labkit").chmod(0o755)
    assert fix.labkit("build") == f"{LABKIT} build"


def test_sudo_gets_the_full_path_for_its_own_path_has_other_folders(shell):
    (shell / "labkit").symlink_to(LABKIT)
    assert fix.labkit("doctor", root=True) == f"sudo {LABKIT} doctor"


def test_sudo_is_given_the_folder_where_labkit_keeps_its_things(monkeypatch):
    monkeypatch.setenv("LABKIT_PROBE_DIR", "/srv/my probe")
    assert fix.labkit("doctor", root=True) == f"sudo env 'LABKIT_PROBE_DIR=/srv/my probe' {LABKIT} doctor"


def test_under_sudo_the_probe_is_built_as_the_user_and_the_lab_goes_down_as_root(monkeypatch, shell):
    (shell / "labkit").symlink_to(LABKIT)
    root(monkeypatch, by_sudo=True)
    assert fix.labkit("build", root=False) == f"{LABKIT} build"
    assert fix.labkit("down") == f"sudo {LABKIT} down"
    monkeypatch.setenv("LABKIT_PROBE_DIR", "/srv/probe")
    assert fix.labkit("build", root=False) == f"env LABKIT_PROBE_DIR=/srv/probe {LABKIT} build"
    assert fix.packages("gcc") == "sudo apt-get install gcc"


def test_root_itself_needs_no_sudo(monkeypatch):
    root(monkeypatch)
    assert fix.labkit("down") == f"{LABKIT} down"
    assert fix.as_root("mount -t bpf bpf /sys/fs/bpf") == "mount -t bpf bpf /sys/fs/bpf"
    assert fix.again_as_root().startswith("more rights")


@pytest.mark.parametrize("by_sudo", [False, True])
def test_root_that_lacks_rights_is_not_sent_to_sudo_again(monkeypatch, by_sudo):
    root(monkeypatch, by_sudo=by_sudo)
    assert fix.again_as_root().startswith("more rights")
    assert fix.lockable_memory() == "ulimit -l unlimited"


def test_root_of_a_users_own_namespace_is_that_user(monkeypatch, tmp_path):
    root(monkeypatch)
    table = tmp_path / "uid_map"
    table.write_text("         0       1000          1\n")
    monkeypatch.setattr(fix, "_UID_MAP", table)
    assert fix.packages("gcc") == "sudo apt-get install gcc"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["/home/u/bin/labkit", "run", "--topology", "my lab.yml"],
            f"sudo {LABKIT} run --topology 'my lab.yml'",
        ),
        (["-m", "pytest", "-k", "a b"], f"sudo {sys.executable} -m pytest -k 'a b'"),
        (["-c", "import labkit"], f"sudo {LABKIT} run"),
        (["-u", "-c", "import labkit"], f"sudo {LABKIT} run"),  # a worker of pytest-xdist
    ],
)
def test_what_runs_is_run_again_as_root(monkeypatch, words, expected):
    monkeypatch.setattr(fix.sys, "orig_argv", [sys.executable, *words])
    assert fix.again_as_root() == expected


def test_packages_of_a_fresh_image_need_apts_lists_first(monkeypatch, tmp_path):
    assert fix.packages("gcc", "meson", "gcc") == "sudo apt-get install gcc meson"
    monkeypatch.setattr(fix, "_APT_LISTS", tmp_path / "nothing")
    assert fix.packages("gcc") == "sudo apt-get update && sudo apt-get install gcc"


def test_a_package_that_the_archives_lack_is_no_command(shell):
    (shell / "apt-cache").write_text('#!/bin/sh\ncase "$*" in *rtla*) exit 100;; esac\n')
    (shell / "apt-cache").chmod(0o755)
    assert fix.packages("rtla") == "none from this distribution's archives, which have no rtla"
    assert fix.packages("gcc") == "sudo apt-get install gcc"


def test_without_apt_the_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(fix, "_APT", tmp_path / "apt-get")
    assert fix.packages("libdpdk-dev") == "install libdpdk-dev (the names of Debian's packages)"


def test_python_packages_go_where_labkit_is(monkeypatch, tmp_path):
    command = fix.python_packages("rich>=13.9")
    assert command.endswith("'rich>=13.9'")
    assert sys.executable in command
    (tmp_path / "labkit").mkdir()
    (tmp_path / "labkit" / "pipx_metadata.json").touch()
    monkeypatch.setattr(fix.sys, "prefix", str(tmp_path / "labkit"))
    assert fix.python_packages("rich>=13.9") == "pipx inject labkit 'rich>=13.9'"


def test_an_extra_is_named_by_its_packages_for_an_index_may_know_a_stranger_of_our_name():
    command = fix.packages_of("ansible")
    assert "ansible-core" in command
    assert "pytest-testinfra" in command
    assert not re.search(r"\blabkit\[", command)
    assert fix.requirement("hdrhistogram").startswith("hdrhistogram>=")
    assert all(not re.match(r"labkit\b", name) for name in fix.requirements())


def commands() -> dict[str, str]:
    return {check.id: check.fix() for check in doctor.checks()} | {
        "allow": privilege.allow_user_namespaces() or "none here"
    }


@pytest.mark.parametrize("who", ["user", "sudo", "root"])
def test_every_fix_of_the_doctor_is_words_or_a_command_whose_programs_are_there(monkeypatch, who):
    if who != "user":
        root(monkeypatch, by_sudo=who == "sudo")
    found = commands()

    assert {"sudo"} == {w for c in found.values() for w in shlex.split(c) if w == "sudo"} or who == "root"
    for name, command in found.items():
        assert not re.search(r"\.\.\.|labkit\[|install labkit|\s{2,}|\(", command) or command.startswith(
            ADVICE
        ), name
        if command.startswith(ADVICE):
            continue
        subprocess.run(["/bin/bash", "-n", "-c", command], check=True)
        for part in command.split(" && "):
            words = [word for word in shlex.split(part) if word != "sudo"]
            if words[0] != "ulimit":  # a shell's own
                assert shutil.which(words[0], path=f"{os.environ['PATH']}:/usr/bin:/bin"), (name, command)
            if "labkit" in words[0]:
                assert Path(words[0]).is_absolute(), (name, command)


def test_the_fix_that_names_labkit_runs():
    done = subprocess.run(
        ["/bin/bash", "-c", f"{fix.labkit('--version')}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("labkit ")


def test_no_fix_is_written_beside_this_one_place():
    """In the code, what looks like a command for people comes from labkit.machine.fix."""
    package = Path(fix.__file__).parent
    # A command, not a sentence that has the word.
    spelled = re.compile(
        r"""(?:hint|fix)=f?["'][^"']*(?:sudo [a-z]+ |apt(?:-get)? install|pip install|labkit (?:build|down|doctor))"""
    )
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text().splitlines()
        if spelled.search(line) and not any(words in line for words in ("name it: ", "whose sudo asks"))
    ]
    assert found == []
