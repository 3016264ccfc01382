"""The kernel that ran first is gone when everything is taken back: another stands in, and only after a trial."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import (
    boot,
    boot_revert,
    boot_trial,
    boot_undo,
    undo,
)
from ansible_collections.labkit.host.plugins.module_utils.boot_look import BootRefused
from ansible_collections.labkit.host.plugins.module_utils.state import State
from boot_host import NEWER, REAL_TIME, RT, STOCK, Host

ADDED = {"added": [f"linux-image-{RT}", "linux-image-rt-amd64"], "configured": [], "under_way": []}


@pytest.fixture
def host(tmp_path, monkeypatch):
    """It was made real-time; then its stock kernel was purged."""
    host = Host(tmp_path)
    for module in (boot_undo, boot_trial):
        monkeypatch.setitem(
            undo.KINDS,
            module.KIND,
            lambda change, root, module=module: module.restore(change, root, host.run),
        )
    boot.pin(run=host.run, root=tmp_path)
    State("lowlatency_kernel", tmp_path).note("packages", "apt", None, ADDED)
    host.add_kernel(RT)
    boot.try_once(REAL_TIME, panic_s=10, confirm_s=900, run=host.run, root=tmp_path)
    host.boot()
    boot.confirm(REAL_TIME, run=host.run, root=tmp_path)
    host.boot()
    purge(host, STOCK)
    return host


def purge(host, release):
    for name in ("vmlinuz", "initrd.img", "config"):
        (host.root / f"boot/{name}-{release}").unlink()
    host.run(["update-grub"])


def revert(host, **options):
    return boot_revert.revert(run=host.run, root=host.root, **options)


def files(host):
    return {
        path: path.read_text()
        for folder in ("etc", "boot", "var")
        for path in (host.root / folder).rglob("*")
        if path.is_file()
    }


def test_newest_kernel_that_is_none_of_ours_is_tried_and_then_the_default(host):
    for name in ("vmlinuz", "initrd.img"):
        host.write(f"boot/{name}-6.1.0-57-amd64", "")
    host.add_kernel(NEWER)
    before = files(host)

    predicted = revert(host, check=True)
    assert files(host) == before
    tried = revert(host, panic_s=5)
    assert predicted == tried
    assert tried.reboot
    assert (
        tried.warning == f"Kernel {STOCK}, which ran first, is gone from this host. {NEWER} stands in for it"
    )
    assert host.boot() == NEWER
    assert "isolcpus" not in host.text("proc/cmdline")
    assert "panic=5" in host.text("proc/cmdline")

    assert not revert(host).reboot
    assert not host.unit_runs
    assert host.boot() == NEWER
    assert "labkit" not in host.text("proc/cmdline")
    assert not revert(host).reboot
    assert State("boot", host.root).changes() == []


def test_stand_in_that_does_not_come_up_takes_nothing_back(host):
    host.add_kernel(NEWER)
    host.broken.add(NEWER)
    before = files(host)

    assert revert(host).reboot
    assert host.boot() == RT
    with pytest.raises(BootRefused, match=f"Kernel {NEWER} was tried and did not come up"):
        revert(host)

    assert files(host) == before
    assert host.boot() == RT
    host.broken.clear()
    assert revert(host).reboot
    assert host.boot() == NEWER
    assert not revert(host).reboot


@pytest.mark.parametrize("newer", ["none", "real-time", "ours"])
def test_host_without_a_kernel_to_come_back_to_is_refused(host, newer):
    if newer != "none":
        host.add_kernel(NEWER)
    if newer == "real-time":
        host.write(f"boot/config-{NEWER}", "CONFIG_PREEMPT_RT=y\n")
    if newer == "ours":
        note = {**ADDED, "added": [f"linux-image-{NEWER}", *ADDED["added"]]}
        State("lowlatency_kernel", host.root).note("packages", "apt", None, note)
        host.extra_packages = [f"linux-image-{NEWER}\tinstalled\tkmod"]
    before = files(host)

    with pytest.raises(BootRefused, match="install the distribution's kernel"):
        revert(host)

    assert files(host) == before


def test_host_that_could_not_boot_once_is_refused(host):
    host.add_kernel(NEWER)
    host.file_system = "btrfs"

    with pytest.raises(BootRefused, match=f"Kernel {NEWER} can't be tried: .* is on btrfs"):
        revert(host)
