"""Initrds: how they are built is found before a kernel is installed, and what was built so is built without it."""

from __future__ import annotations

import os

import pytest
from ansible_collections.labkit.host.plugins.module_utils import boot_initramfs, files
from ansible_collections.labkit.host.plugins.module_utils.boot_commands import CommandFailed
from ansible_collections.labkit.host.plugins.module_utils.state import State

OURS = "etc/initramfs-tools/conf.d/labkit"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "etc/initramfs-tools/conf.d").mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    for release in ("6.1.0-1", "6.1.0-2"):
        (tmp_path / f"boot/initrd.img-{release}").touch()
    return tmp_path


def undo(root, run):
    for change in reversed(State("kernel", root).changes()):
        reason = {"file": files.restore}.get(
            change.kind, lambda change, root: boot_initramfs.restore(change, root, run)
        )(change, root)
        if reason:
            return reason
    return None


def test_file_of_ours_says_how(root):
    assert boot_initramfs.change("kernel", modules="dep", compress="lz4", root=root)
    assert not boot_initramfs.change("kernel", modules="dep", compress="lz4", root=root)
    assert (root / OURS).read_text().splitlines()[1:] == ["MODULES=dep", "COMPRESS=lz4"]


def test_what_was_not_built_meanwhile_is_not_built_again(root):
    boot_initramfs.change("kernel", modules="dep", compress="", root=root)
    (root / "boot/initrd.img-6.1.0-3-rt").touch()  # came with the package, and goes with it

    assert undo(root, lambda command: pytest.fail(f"ran {command}")) is None
    assert not (root / OURS).exists()


def test_what_was_built_under_our_file_is_built_again_after_it_is_gone(root):
    boot_initramfs.change("kernel", modules="dep", compress="", root=root)
    os.utime(root / "boot/initrd.img-6.1.0-2", (1, 1))
    ran = []

    def run(command):
        assert not (root / OURS).exists()
        ran.append(command)
        return ""

    assert undo(root, run) is None
    assert ran == [["update-initramfs", "-u", "-k", "6.1.0-2"]]


def test_build_that_fails_is_reported(root):
    boot_initramfs.change("kernel", modules="dep", compress="", root=root)
    os.utime(root / "boot/initrd.img-6.1.0-1", (1, 1))

    def run(command):
        raise CommandFailed("no space left on device")

    assert undo(root, run) == "no space left on device"


def test_host_without_initramfs_tools_is_refused(tmp_path):
    with pytest.raises(boot_initramfs.NoInitramfsTools, match="leave them empty"):
        boot_initramfs.change("kernel", modules="dep", compress="", root=tmp_path)
    assert list(tmp_path.iterdir()) == []
