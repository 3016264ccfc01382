"""Kernel and command line: whatever is killed, wherever, is simply run again, or reverted."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import (
    boot,
    boot_look,
    boot_revert,
    boot_trial,
    boot_undo,
    undo,
)
from ansible_collections.labkit.host.plugins.module_utils.boot_look import Wanted
from boot_host import REAL_TIME, RT, STOCK, Host

OTHER = Wanted(
    arguments=("isolcpus=managed_irq,domain,1", "nohz_full=0"), flavour="rt", packages=REAL_TIME.packages
)


class Killed(BaseException):
    """As by SIGKILL."""


class Mortal:
    """A host on which a process dies at one point: before a program is called, or around what reaches the disk."""

    def __init__(self, root, monkeypatch):
        self.host = Host(root)
        self.left, self.dead = 0, False
        self.host.run = self.point(self.host.run)
        monkeypatch.setattr(os, "fsync", self.point(lambda _: None))
        for name in ("replace", "unlink", "rmdir"):
            monkeypatch.setattr(Path, name, self.point(getattr(Path, name)))
        for module in (boot_undo, boot_trial):
            monkeypatch.setitem(
                undo.KINDS,
                module.KIND,
                lambda change, root, module=module: module.restore(change, root, self.host.run),
            )

    def point(self, function):
        def call(*arguments, **options):
            self.left -= 1
            # The dead tidy nothing up, whatever their `except` and `finally` say.
            self.dead = self.dead or self.left == 0
            if self.dead:
                raise Killed
            return function(*arguments, **options)

        return call

    def killed(self, at, act):
        """Whether it was, at the point of that number; there are not so many else."""
        self.left = at
        try:
            act()
        except Killed:
            return True
        finally:
            self.left, self.dead = 0, False
        return False

    def step(self, name, *arguments, **options):
        module = {"look": boot_look, "revert": boot_revert}.get(name, boot)
        return getattr(module, name)(*arguments, run=self.host.run, root=self.host.root, **options)

    def make(self, wanted=REAL_TIME):
        self.step("pin")
        if RT not in self.host.text("boot/grub/grub.cfg"):
            self.host.add_kernel(RT)
        if self.step("try_once", wanted, panic_s=10, confirm_s=900):
            self.host.boot()
        self.step("confirm", wanted)

    def revert(self):
        for _ in range(3):
            if not self.step("revert").reboot:
                break
            self.host.boot()
        else:
            pytest.fail("a reboot was asked for again and again")
        for name in ("vmlinuz", "initrd.img", "config"):  # as the package is purged
            (self.host.root / f"boot/{name}-{RT}").unlink(missing_ok=True)
        self.host.run(["update-grub"])
        assert undo.undo("lowlatency_kernel", self.host.root)[1] == []

    def content(self):
        """What is on the disk, folders too, less what a reboot changes."""
        return {
            name: path.read_text() if path.is_file() else None
            for path in self.host.root.rglob("*")
            if not (name := str(path.relative_to(self.host.root))).startswith(("proc", "sys"))
        }


@pytest.fixture
def deaths(tmp_path, monkeypatch):
    """Hosts, one for each point at which something can be killed on it; the last one lived."""

    def each(act, prepare=lambda _: None):
        for at in itertools.count(1):
            with monkeypatch.context() as patch:
                mortal = Mortal(tmp_path / str(at), patch)
                before = mortal.content()
                prepare(mortal)
                died = mortal.killed(at, lambda one=mortal: act(one))
                yield mortal, before
            if not died:
                assert at > 50, "every file that is written counts"
                return

    return each


def test_run_broken_off_anywhere_is_simply_run_again(deaths):
    for mortal, _ in deaths(Mortal.make):
        mortal.make()

        assert mortal.step("look", REAL_TIME).needed == "nothing"
        assert mortal.host.boot() == RT
        assert mortal.step("look", REAL_TIME).needed == "nothing"
        assert not mortal.host.unit_runs
        assert not list((mortal.host.root / "etc/systemd/system").glob("labkit*"))


def test_run_broken_off_anywhere_can_be_reverted(deaths):
    for mortal, before in deaths(Mortal.make):
        mortal.revert()

        assert mortal.content() == before
        assert mortal.host.boot() == STOCK


def test_later_run_broken_off_anywhere_can_be_reverted(deaths):
    for mortal, before in deaths(lambda one: one.make(OTHER), prepare=Mortal.make):
        mortal.revert()

        assert mortal.content() == before
        assert mortal.host.boot() == STOCK


def test_revert_broken_off_anywhere_goes_on_where_it_was(deaths):
    for mortal, before in deaths(Mortal.revert, prepare=Mortal.make):
        mortal.revert()

        assert mortal.content() == before
        assert mortal.host.boot() == STOCK
        assert "isolcpus" not in mortal.host.text("proc/cmdline")
