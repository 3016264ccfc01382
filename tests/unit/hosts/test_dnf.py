"""What dnf 4.14 printed is read right: what comes, what would go, and why it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import dnf
from ansible_collections.labkit.host.plugins.module_utils.dnf import Dnf
from ansible_collections.labkit.host.plugins.module_utils.package_manager import (
    Done,
    PackagesRefused,
    PackageUnknown,
    Plan,
)

RECORDED = Path(__file__).parent / "data/dnf-4.14"


def recorded(name, code=1):
    return Done(("dnf",), code, (RECORDED / f"{name}.txt").read_text())


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("install-with-dependency", Plan(added=("hello", "libhello"))),
        ("install-weak", Plan(added=("hello", "libhello", "weakhello"))),
        (
            "install-long-name",
            Plan(
                added=(
                    "a-name-that-is-longer-than-what-is-left-of-a-line-of-eighty-columns-by-far",
                    "libhello",
                )
            ),
        ),
        ("install-obsoletes", Plan(added=("other",), removed=("base",))),
        ("install-upgrades", Plan(added=("newer",), upgraded=("base",))),
        ("remove-with-dependent", Plan(removed=("hello", "libhello", "greet"))),
    ],
)
def test_simulated_transaction_is_read(name, plan, monkeypatch):
    monkeypatch.setattr(dnf, "run", lambda *command: recorded(name))

    assert Dnf().plan(["whatever"]) == plan


@pytest.mark.parametrize(
    ("name", "code", "kind", "expected"),
    [
        ("unknown", 1, PackageUnknown, "no package nosuch is in the repositories of this host"),
        ("no-network", 1, PackagesRefused, "the repositories cannot be reached: Error"),
        ("locked", 200, PackagesRefused, r"dnf is in use: process \d+ \("),
    ],
)
def test_failures_are_reported_in_plain_words(name, code, kind, expected, monkeypatch):
    monkeypatch.setattr(dnf, "run", lambda *command: recorded(name, code))

    with pytest.raises(PackagesRefused, match=expected) as caught:
        Dnf(lock_timeout_s=0).plan(["whatever"])
    assert type(caught.value) is kind


def test_dnf_that_is_in_use_is_asked_again(monkeypatch):
    answers = iter([recorded("locked", 200), recorded("install-with-dependency")])
    absent = Done(("rpm",), 1, "")
    monkeypatch.setattr(dnf, "run", lambda *command: absent if command[0] == "rpm" else next(answers))
    monkeypatch.setattr(dnf.time, "sleep", lambda _: None)

    assert Dnf(lock_timeout_s=60).plan(["hello"]).added == ("hello", "libhello")


def test_kernel_beside_another_one_is_named_in_full_and_goes_alone(monkeypatch):
    def run(*command):
        if command[0] == "rpm":
            return Done(command, 0 if command[-1] == "libhello" else 1, "")
        return recorded("install-with-dependency" if "install" in command else "remove-with-dependent")

    monkeypatch.setattr(dnf, "run", run)

    assert Dnf().plan(["hello"]).added == ("hello", "libhello-1-1.noarch")
    assert Dnf().plan_removal(["hello", "libhello-1-1.noarch"]).removed == (
        "hello",
        "libhello-1-1.noarch",
        "greet",
    )


def test_epoch_is_not_in_the_full_name():
    assert dnf._Row("kernel-core", "x86_64", "7:5.14.0-1.el9").full == "kernel-core-5.14.0-1.el9.x86_64"


def test_simulation_has_the_options_of_the_real_run(monkeypatch):
    commands = []

    def run(*command):
        commands.append(command)
        return Done(command, 0, "Nothing to do.")

    monkeypatch.setattr(dnf, "run", run)
    Dnf().plan(["hello"])
    Dnf().install(["hello"])
    Dnf().plan_removal(["hello"])
    Dnf().remove(["hello"], purge=[])

    lines = [" ".join(command) for command in commands]
    assert lines[0].replace("--assumeno", "--assumeyes") == lines[1]
    assert lines[2].replace("--assumeno", "--assumeyes") == lines[3]
    assert "--setopt=install_weak_deps=False" in lines[0]
    assert "--noautoremove" in lines[2]


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Programs rpm and dnf that know of "there" (installed) and "offered" (to be had)."""
    for name, there in (("rpm", "there"), ("dnf", "offered")):
        (tmp_path / name).write_text(f'#!/bin/sh\nfor last; do :; done\n[ "$last" = {there} ]\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize("name", ["kernel-", "", "-y", "@group", "a*"])
def test_what_is_no_package_name_is_refused(fakes, name):
    with pytest.raises(PackagesRefused, match="is no package name"):
        Dnf().missing([name], [])
