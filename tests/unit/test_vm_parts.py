"""Parts of the tests on real machines that need no machine."""

from __future__ import annotations

import pytest

from tests.vm import apt_source, limits
from tests.vm.playbook import RAN_OUT, Played

TARGETS = """\
http://mirror.example/debian|bookworm|main|Debian
http://mirror.example/debian|bookworm-updates|main|Debian
http://mirror.example/debian-security|bookworm-security|main|Debian
https://elsewhere.example|stable|main|Somebody
"""
OPTIONS = (
    'Acquire "";\nAcquire::http::Proxy "http://proxy.example:3128";\nAcquire::Check-Valid-Until "false";\n'
)


@pytest.fixture
def host(monkeypatch):
    def said(*command):
        return OPTIONS if command[0] == "apt-config" else TARGETS

    monkeypatch.setattr(apt_source, "_output", said)
    monkeypatch.setattr(
        apt_source.platform,
        "freedesktop_os_release",
        lambda: {"ID": "debian", "VERSION_CODENAME": "bookworm"},
    )
    for name in ("LABKIT_VM_SUITE", "LABKIT_VM_MIRROR"):
        monkeypatch.delenv(name, raising=False)


def test_guests_take_packages_from_where_this_host_takes_its_distribution(host):
    source = apt_source.find()

    assert source.suite == "bookworm"
    assert source.lines == (
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/debian-security bookworm-security main",
    )
    assert source.options == (
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::Check-Valid-Until "false";',
    )


def test_another_release_comes_from_the_same_mirror(host, monkeypatch):
    monkeypatch.setenv("LABKIT_VM_SUITE", "trixie")

    assert apt_source.find().lines == ("deb http://mirror.example/debian trixie main",)


def test_a_host_of_another_distribution_must_be_given_suite_and_mirror(host, monkeypatch):
    monkeypatch.setattr(
        apt_source.platform, "freedesktop_os_release", lambda: {"ID": "ubuntu", "VERSION_CODENAME": "noble"}
    )
    with pytest.raises(apt_source.NoSource, match="give LABKIT_VM_SUITE"):
        apt_source.find()
    monkeypatch.setenv("LABKIT_VM_MIRROR", "http://own.example/debian")
    with pytest.raises(apt_source.NoSource, match="give LABKIT_VM_SUITE"):
        apt_source.find()

    monkeypatch.setenv("LABKIT_VM_SUITE", "trixie")

    assert apt_source.find().lines == ("deb http://own.example/debian trixie main",)


def test_a_mirror_that_is_given_is_the_only_one(host, monkeypatch):
    monkeypatch.setenv("LABKIT_VM_MIRROR", "http://own.example/debian")

    assert apt_source.find().lines == ("deb http://own.example/debian bookworm main",)


def test_a_host_without_sources_is_reported_with_what_to_give(host, monkeypatch):
    monkeypatch.setattr(apt_source, "_output", lambda *_: "")

    with pytest.raises(apt_source.NoSource, match="give LABKIT_VM_SUITE and LABKIT_VM_MIRROR"):
        apt_source.find()


def test_a_playbooks_output_tells_what_changed_on_which_host():
    played = Played(
        0,
        "TASK [one : Look] ****\nok: [dut]\n\nTASK [one : Change] ****\nchanged: [dut]\nchanged: [dut] => (item=x)\n\n"
        "PLAY RECAP ****\ndut    : ok=7   changed=2    unreachable=0    failed=0\n"
        "tester : ok=1   changed=0    unreachable=0    failed=1\n",
        1.0,
    )

    assert played.changed_tasks() == ["one : Change", "one : Change"]
    assert (played.count("dut", "changed"), played.count("tester", "failed")) == (2, 1)
    with pytest.raises(AssertionError, match="no changed of nobody"):
        played.count("nobody", "changed")


def test_limits_follow_the_time_that_a_guest_took_to_boot():
    assert limits.slowness(limits.REFERENCE_BOOT_S) == 1.0
    assert limits.slowness(8.0) == 1.0, "a fast machine may be busy later: no limit is shorter"
    assert limits.slowness(2.5 * limits.REFERENCE_BOOT_S) == 2.5
    assert limits.slowness(1e6) == limits.SLOWER_AT_MOST


OUTPUT = (
    "PLAY [all] ****\n\nTASK [one : Look] ****\nok: [dut]\n\nRUNNING HANDLER [one : Write [x] anew] ***\n"
)


def test_a_step_that_runs_out_of_time_names_its_task():
    assert limits.last_task(OUTPUT) == "one : Write [x] anew"
    assert limits.last_task("") == ""
    assert limits.ran_out("site.yml", 3000.0, 2.0, OUTPUT) == (
        "site.yml was ended after 3000 s in the task [one : Write [x] anew]; "
        "the limit is for a machine 2.0 times slower"
    )
    assert "before its first task" in limits.ran_out("site.yml", 3000.0, 2.0, "")


def test_a_playbook_that_failed_says_how_and_where_in_one_line():
    assert Played(0, OUTPUT, 1.0, "site.yml").trouble == ""
    assert Played(2, OUTPUT, 1.0, "site.yml").trouble == (
        "site.yml ended with 2 in the task [one : Write [x] anew]"
    )
    assert Played(RAN_OUT, f"{OUTPUT}\nsite.yml was ended\n", 1.0, "site.yml").trouble == "site.yml was ended"
