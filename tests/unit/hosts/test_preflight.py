"""What can't come right on a host is reported before anything is changed: all of it, with the way out."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.labkit.host.plugins.module_utils import packages, preflight
from ansible_collections.labkit.host.plugins.module_utils.preflight import Host
from ansible_collections.labkit.host.plugins.module_utils.state import DIRECTORY, State

SUPPORTED = {"Debian": "12", "Ubuntu": "24.04"}
MIB = 1 << 20


@pytest.fixture
def root(tmp_path):
    (tmp_path / "sys/devices/system/cpu").mkdir(parents=True)
    (tmp_path / "sys/devices/system/cpu/present").write_text("0-3\n")
    (tmp_path / "sys/kernel/mm/hugepages/hugepages-2048kB").mkdir(parents=True)
    for folder in ("var/lib", "boot", "proc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 4194304 kB\nHugepagesize: 2048 kB\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "version"), [("Debian", "12"), ("Debian", "12.11"), ("Debian", "13"), ("Ubuntu", "24.04")]
)
def test_supported_distribution_is_taken(name, version):
    assert list(preflight.distribution(SUPPORTED, Host(name, version))) == []


@pytest.mark.parametrize(
    ("name", "version"), [("Debian", "11"), ("Debian", "9.13"), ("Ubuntu", "22.04"), ("Alpine", "3.20")]
)
def test_unsupported_distribution_is_reported_with_those_that_are(name, version):
    [problem] = preflight.distribution(SUPPORTED, Host(name, version))

    assert problem == (
        f"{name} {version} is not supported: expected Debian 12 or newer, Ubuntu 24.04 or newer"
    )


@pytest.mark.parametrize(("version", "known"), [("9", True), ("9.6", True), ("8.10", False), ("10.0", False)])
def test_release_that_is_alone_is_the_only_one(version, known):
    supported = {"Debian": "12", "Rocky": "9.*"}

    problems = list(preflight.distribution(supported, Host("Rocky", version)))

    refused = f"Rocky {version} is not supported: expected Debian 12 or newer, Rocky 9.*"
    assert problems == ([] if known else [refused])


@pytest.mark.parametrize(
    ("cores", "online", "expected"),
    [
        ("1-3", "0-1", ["cpu_isolation_cpus: 2-3 of 1-3 are offline (SMT off?)"]),
        ("1", "0-1", []),
        ("1-9", "0-3", []),  # not there: reported as a problem
        ("one", "0-1", []),
        ("", "0-1", []),
        ("1-3", None, []),
    ],
)
def test_isolated_cores_that_do_not_run_are_reported_and_no_reason_to_refuse(root, cores, online, expected):
    if online is not None:
        (root / "sys/devices/system/cpu/online").write_text(f"{online}\n")
    wanted = {"cpu_isolation_cpus": cores}

    found = list(preflight.offline_cores(wanted, root))

    assert [note.partition(": nothing")[0] for note in found] == expected


ANSIBLE = Path(__file__).parents[3] / "ansible"


def shipped(playbook):
    """Distributions that a playbook takes where nobody says otherwise."""
    play, *_ = yaml.safe_load((ANSIBLE / "local.yml").read_text())
    roles = yaml.safe_load((ANSIBLE / "roles/labkit_host/defaults/main.yml").read_text())
    return (play["vars"] if playbook == "local.yml" else roles)["labkit_host_supported"]


@pytest.mark.parametrize(
    ("name", "version", "taken_by"),
    [
        ("Debian", "11.11", []),
        ("Debian", "12.11", ["site.yml", "local.yml"]),
        ("Debian", "13", ["site.yml", "local.yml"]),
        ("Ubuntu", "20.04", []),
        ("Ubuntu", "22.04", ["site.yml"]),
        ("Ubuntu", "24.04", ["site.yml", "local.yml"]),
        ("Ubuntu", "25.10", ["site.yml", "local.yml"]),
        ("RedHat", "8.10", []),
        ("RedHat", "9.6", ["site.yml"]),
        ("Rocky", "9.6", ["site.yml"]),
        ("AlmaLinux", "9.6", ["site.yml"]),
        ("CentOS", "7.9", []),
        ("Fedora", "43", []),
        ("Alpine", "3.22", []),
        ("openSUSE Leap", "15.6", []),
    ],
)
@pytest.mark.parametrize("playbook", ["site.yml", "local.yml"])
def test_distributions_that_are_shipped_as_supported(playbook, name, version, taken_by):
    problems = list(preflight.distribution(shipped(playbook), Host(name, version)))

    assert (problems == []) == (playbook in taken_by)


def test_all_problems_are_reported_at_once(root):
    (root / "var/lib/labkit").touch()
    host = Host("Alpine", "3.20", "sudo: a password is required", root)

    problems = list(preflight.problems({"cpu_isolation_cpus": "2,9"}, host))

    assert [
        word for word in ("Alpine", "sudo", "no core 9", "not a folder") if word in "\n".join(problems)
    ] == [
        "Alpine",
        "sudo",
        "no core 9",
        "not a folder",
    ]
    assert "give --ask-become-pass" in "\n".join(problems)


def test_host_with_which_nothing_is_wrong(root):
    wanted = {"labkit_host_supported": SUPPORTED, "cpu_isolation_cpus": "1-3"}

    assert list(preflight.problems(wanted, Host("Debian", "13", root=root))) == []


@pytest.mark.parametrize(("isolated", "expected"), [("1-9", "there is no core 4-9"), ("0-3", "all cores")])
def test_cores_that_cannot_be_isolated_are_reported_with_their_variable(root, isolated, expected):
    [problem] = preflight.cores({"cpu_isolation_cpus": isolated}, root)

    assert problem.startswith("cpu_isolation_cpus: ")
    assert expected in problem


def test_one_core_may_be_given_as_a_number(root):
    assert list(preflight.cores({"cpu_isolation_cpus": 3}, root)) == []


@pytest.mark.parametrize("full", ["/", "/var", "/boot"])
def test_full_disk_is_reported_with_what_is_free(root, full):
    def free(folder):
        return 3 * MIB if folder == root / full.lstrip("/") else 10_000 * MIB

    [problem] = preflight.room(root, free)

    assert problem.startswith(f"the disk of {full} is full: 3 MiB are free, expected at least ")
    assert "apt-get clean" in problem


@pytest.mark.parametrize("place", ["/", "/var", "/boot"])
def test_disk_without_inodes_is_reported(root, place):
    def look(folder):
        left = 3 if folder == root / place.lstrip("/") else 100_000
        return SimpleNamespace(f_files=200_000, f_favail=left)

    [problem] = preflight.room_for_files(root, look)

    assert problem.startswith(
        f"the file system of {place} has no room for more files: 3 inodes are free, expected"
    )


def test_file_system_that_counts_no_inodes_has_room(root):
    look = SimpleNamespace(f_files=0, f_favail=0)

    assert list(preflight.room_for_files(root, lambda _: look)) == []


def kernels(root):
    """Two of them, a rescue image, and the links that Debian has."""
    for name, mib in (
        *(("vmlinuz-6.1", 8), ("vmlinuz-6.12", 12), ("initrd.img-6.1", 30), ("initrd.img-6.12", 48)),
        ("initramfs-0-rescue-4711.img", 400),
    ):
        (root / "boot" / name).touch()
        os.truncate(root / "boot" / name, mib * MIB)
    (root / "boot/vmlinuz-old").symlink_to("vmlinuz-gone")


@pytest.mark.parametrize(("left_mib", "fits"), [(89, False), (90, True)])
def test_boot_folder_without_room_for_another_kernel_is_reported(root, left_mib, fits):
    kernels(root)

    problems = list(preflight.room_for_kernel(root, lambda _: left_mib * MIB))

    if fits:
        assert problems == []
    else:
        assert "/boot is too full for another kernel: 89 MiB are free, expected at least 90" in problems[0]


def test_boot_folder_without_a_kernel_tells_nothing_of_the_room_for_one(root):
    assert list(preflight.room_for_kernel(root, lambda _: 0)) == []


def test_state_folder_on_a_read_only_disk_is_reported(root):
    [problem] = preflight.state_folder(root, lambda _: False)

    assert "/var/lib can't be written to, so old values can't be kept in /var/lib/labkit" in problem
    assert "findmnt" in problem


def test_looking_makes_nothing(root):
    before = sorted(root.rglob("*"))

    assert list(preflight.state_folder(root, lambda _: True)) == []

    assert sorted(root.rglob("*")) == before


class Manager:
    """Of whose packages some lie about half installed, and nobody is at work."""

    def __init__(self, *broken):
        self._broken = list(broken)

    def wait(self):
        pass

    def broken(self, *, triggers):
        return self._broken


def test_installation_that_somebody_broke_off_is_reported_and_one_of_ours_is_not(root):
    manager = Manager("theirs (half-configured)")

    [problem] = preflight.wreck(0, root, manager)

    assert "interrupted before labkit ran: theirs (half-configured)" in problem
    assert list(preflight.wreck(0, root, Manager())) == []
    State("dpdk", root).note(
        packages.KIND, "apt", None, {"added": ["theirs"], "configured": [], "under_way": ["theirs"]}
    )
    assert list(preflight.wreck(0, root, manager)) == []


def test_notes_that_are_closed_to_an_ordinary_user_are_no_wreck(root, monkeypatch):
    def closed(*_):
        raise PermissionError(13, "Permission denied")

    (root / DIRECTORY).mkdir(parents=True)
    (root / DIRECTORY / "dpdk.json").touch()
    monkeypatch.setattr(State, "changes", closed)

    assert list(preflight.wreck(0, root, Manager("theirs (half-configured)"))) == []
