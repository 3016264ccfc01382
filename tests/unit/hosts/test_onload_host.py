"""Whether a host can have Onload, and which of its interfaces: judged before anything is changed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.labkit.host.plugins.module_utils import (
    onload_host,
    onload_install,
    onload_plan,
    onload_remove,
)
from ansible_collections.labkit.host.plugins.module_utils.links import Interface, Untouchable
from ansible_collections.labkit.host.plugins.module_utils.onload_remove import OnloadFailed
from ansible_collections.labkit.host.plugins.module_utils.state import State

KERNEL = "6.1.0-56-amd64"
WANTED = {"openonload_version": "9.2.1", "openonload_state": "present"}
SSH = "it carries the SSH connection to 198.18.0.1"
NICS = {
    "eth0": Interface("eth0", "virtio_net", "0000:00:02.0", None, [SSH], False),
    "eth1": Interface("eth1", "virtio_net", "0000:00:03.0", None, [], False),
    "eth2": Interface("eth2", "e1000e", "0000:00:04.0", None, [], False),
    "eth3": Interface("eth3", "sfc", "0000:00:05.0", None, [], False),
    "eth4": Interface("eth4", "vmxnet3", "0000:00:06.0", None, [], False),
    "lo": Interface("lo", None, None, None, [], False),
}
STANDARD = "CONFIG_BPF_SYSCALL=y\nCONFIG_XDP_SOCKETS=y\n"


def touchable(text):
    found = NICS.get(text)
    if found is None:
        raise Untouchable(f"{text}: found none")
    if found.protected:
        raise Untouchable(f"{text} is left alone: {'; '.join(found.protected)}")
    return found


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(onload_host.os, "uname", lambda: SimpleNamespace(release=KERNEL, machine="x86_64"))
    for folder in (
        "boot",
        "proc",
        "run/systemd/system",
        "lib/modules",
        "sys/class/net/lo",
        "sys/class/net/eth1",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / f"boot/config-{KERNEL}").write_text(STANDARD)
    (tmp_path / "proc/cpuinfo").write_text("vendor_id\t: GenuineIntel\ncpu family\t: 6\n")
    (tmp_path / "sys/class/net/lo/flags").write_text("0x9\n")
    (tmp_path / "sys/class/net/eth1/flags").write_text("0x1003\n")
    return tmp_path


def problems(root, *names, another_kernel=False, **more):
    wanted = {**WANTED, "openonload_interfaces": [{"name": name} for name in names], **more}
    return list(onload_host.problems(wanted, touchable, root, another_kernel=another_kernel))


def test_nothing_is_wrong_with_a_host_and_an_interface_that_onload_can_have(root):
    assert problems(root, "eth1") == []
    assert problems(root) == []


@pytest.mark.parametrize("not_asked", [{"openonload_version": ""}, {"openonload_state": "absent"}])
def test_nothing_is_judged_where_onload_is_not_asked_for(root, not_asked):
    (root / "boot" / f"config-{KERNEL}").write_text("")

    assert problems(root, "lo", **not_asked) == []


@pytest.mark.parametrize(
    ("names", "more", "expected"),
    [
        (["eth0"], {}, f"openonload_interfaces[0].name: eth0 is left alone: {SSH}"),
        (["eth1", "eth9"], {}, "openonload_interfaces[1].name: eth9: found none"),
        (["lo"], {}, "openonload_interfaces[0].name: lo is a loopback interface"),
        (["eth1", "eth1"], {}, "openonload_interfaces[1].name: eth1 is named twice"),
        (
            ["eth1"],
            {"dpdk_devices": [{"pci": "00:03.0"}]},
            "eth1 is on 0000:00:03.0, which dpdk_devices takes",
        ),
        (["eth2"], {}, "eth2 has the driver e1000e, which has no XDP of its own: set openonload_generic_xdp"),
        (
            ["eth1"],
            {"openonload_version": "8.1.3"},
            "openonload_version: Onload 8.1.3 is for kernels 4.15 to 5.19",
        ),
    ],
)
def test_interface_and_version_that_can_not_be_are_reported(root, names, more, expected):
    [found] = problems(root, *names, **more)

    assert expected in found


def test_nic_without_native_xdp_is_taken_in_generic_mode(root):
    assert problems(root, "eth2", openonload_generic_xdp=True) == []


def test_only_one_nic_without_native_xdp_is_taken(root):
    [found] = problems(root, "eth2", "eth1", "eth4", openonload_generic_xdp=True)

    assert found.startswith("openonload_interfaces: eth2 and eth4 have no XDP of their own")
    assert onload_host.without_native_xdp(["eth1", "eth2"], touchable) == ["eth2"]


def test_what_the_kernel_decides_is_not_judged_by_one_that_will_not_run(root):
    (root / "boot" / f"config-{KERNEL}").write_text("")

    assert problems(root, "eth2", openonload_version="8.1.3", another_kernel=True) == []


def test_kernel_without_af_xdp_is_reported_unless_onload_drives_all_nics_itself(root):
    (root / "boot" / f"config-{KERNEL}").write_text("CONFIG_BPF_SYSCALL=y\n# CONFIG_XDP_SOCKETS is not set\n")

    [found] = problems(root, "eth3", "eth1")

    assert "is built without CONFIG_XDP_SOCKETS" in found
    assert problems(root, "eth3") == []


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("sys/kernel/security/lockdown", b"none [integrity] confidentiality\n", "locked down (integrity)"),
        (
            "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
            b"\6\0\0\0\1",
            "Secure Boot is on",
        ),
        ("sys/module/module/parameters/sig_enforce", b"Y\n", "module.sig_enforce"),
    ],
)
def test_kernel_that_takes_no_unsigned_module_is_reported(root, file, content, expected):
    (root / file).parent.mkdir(parents=True)
    (root / file).write_bytes(content)

    [found] = problems(root, "eth1")

    assert expected in found
    assert "not signed" in found


def test_cpu_that_onload_refuses_is_reported_unless_it_is_to_be_tried(root):
    (root / "proc/cpuinfo").write_text("vendor_id\t: AuthenticAMD\ncpu family\t: 15\n")

    [found] = problems(root, "eth1")

    assert "AuthenticAMD, family 15" in found
    assert problems(root, "eth1", openonload_allow_unsupported_cpu=True) == []


def test_host_without_systemd_can_have_no_interface_registered_at_boot(root):
    (root / "run/systemd/system").rmdir()

    assert "systemd does not run" in problems(root, "eth1")[0]
    assert problems(root, "eth3") == []


def test_interfaces_are_divided_by_whether_onload_drives_them_itself(root):
    wanted = {"openonload_interfaces": [{"name": name} for name in ("eth3", "eth1", "eth2")]}

    assert onload_host.interfaces(wanted, touchable, root) == (["eth1", "eth2"], ["eth3"])


def test_onload_of_somebody_else_is_left_alone(root):
    assert onload_install.foreign("openonload", root) is None
    (root / "usr/libexec/onload").mkdir(parents=True)
    (root / onload_remove.MANIFEST.lstrip("/")).write_text("/usr/libexec/onload\n")

    assert "not by labkit" in problems(root, "eth1")[0]
    State("openonload", root).note(onload_remove.KIND, onload_remove.PLACE, None, {})
    assert problems(root, "eth1") == []


def test_modules_that_somebody_else_has_loaded_are_left_alone(root):
    (root / "sys/module/sfc_resource").mkdir(parents=True)

    assert "labkit has not installed them" in problems(root, "eth1")[0]


WORDS = b"\x7fELF\0\0license=GPL\0vermagic=6.1.0-56-amd64 SMP preempt \0name=onload\0srcversion=A1B2C3\0"


def module(folder, *names, content=WORDS):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.ko").write_bytes(content)


def look(root, **more):
    given = {"version": "9.2.1", "sha256": "a" * 64, "sfc": False, "helper": False, "kernel": KERNEL, **more}
    return onload_install.look(onload_plan.Wanted(**given), root / "opt/openonload/9.2.1", root)


def test_host_without_onload_has_nothing_of_it(root):
    assert look(root) == onload_plan.Found()


def test_modules_are_those_that_lie_there_for_each_kernel(root):
    module(root / f"lib/modules/{KERNEL}/extra", "onload")
    module(root / "lib/modules/6.1.0-57-amd64/extra", "onload", content=WORDS.replace(b"A1B2", b"D4E5"))
    module(root / "lib/modules/6.1.0-58-amd64/extra", "onload", content=b"half a file")

    assert look(root).modules == {KERNEL: "A1B2C3", "6.1.0-57-amd64": "D4E5C3"}


def test_tree_is_built_where_all_modules_are_for_this_kernel_and_its_programs_are_there(root):
    tree = root / "opt/openonload/9.2.1"
    made = tree / f"build/x86_64_linux-{KERNEL}/driver/linux"
    module(made, "onload", "sfc_resource")
    (tree / "build/gnu_x86_64/lib/transport/unix").mkdir(parents=True)
    (tree / "build/gnu_x86_64/lib/transport/unix/libcitransport0.so").write_text("library")

    assert (look(root).built_programs, look(root).built_modules) == (True, False)
    module(made, "sfc_char")
    assert look(root).built_modules
    assert not look(root, kernel="6.1.0-57-amd64").built_modules
    assert not look(root, sfc=True).built_modules
    (tree / onload_install.BUILDING).touch()  # a build that was killed
    assert (look(root).built_programs, look(root).built_modules) == (False, False)


def test_module_that_was_built_for_another_kernel_does_not_count(root):
    made = root / f"opt/openonload/9.2.1/build/x86_64_linux-{KERNEL}/driver/linux"
    module(made, "onload", "sfc_resource", "sfc_char")
    module(made, "sfc_char", content=WORDS.replace(b"-56-", b"-55-"))

    assert not look(root).built_modules


def test_onload_in_use_is_not_unloaded(root):
    (root / "sys/module/sfc_resource").mkdir(parents=True)
    (root / "proc/driver/onload").mkdir(parents=True)
    (root / "proc/driver/onload/stacks").write_text("0: name=bench pid=4711\n")

    with pytest.raises(OnloadFailed, match=r"1 stacks are alive after 0 s \(0: name=bench pid=4711\)"):
        onload_remove.unload(root, idle_s=0.0)


def test_nothing_is_unloaded_or_uninstalled_where_it_is_not_there(root):
    onload_remove.unload(root)
    onload_remove.uninstall(root)


def test_removal_that_was_broken_off_is_finished_by_the_copy_of_the_manifest(root, monkeypatch):
    """The script removes the manifest first, and then what is in it."""
    ran = []
    monkeypatch.setattr(onload_remove, "run", lambda command, timeout_s: ran.append(command))
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/libexec/onload/apps").mkdir(parents=True)
    metadata = root / "usr/lib/python3/OpenOnload-1.0.egg-info"
    metadata.mkdir(parents=True)
    module(root / f"lib/modules/{KERNEL}/extra", "onload")
    for name in ("usr/bin/onload", "usr/bin/kept", "home"):
        (root / name).write_text("a file")
    lines = ["/usr/libexec/onload", "/usr/bin/onload", "/usr/bin", "/home", "/usr/../home", "/dev/onload"]
    lines.append("/usr/lib/python3/OpenOnload-1.0.egg-info/PKG-INFO")
    lines.append(f"/lib/modules/{KERNEL}/extra/onload.ko")
    (root / "var/lib/labkit").mkdir(parents=True)
    (root / onload_remove.KEPT.lstrip("/")).write_text("\n".join(lines))
    assert look(root).manifest

    onload_remove.uninstall(root)

    left = [
        name
        for name in ("usr/bin/onload", "usr/bin/kept", "home", "usr/libexec/onload")
        if (root / name).exists()
    ]
    assert left == ["usr/bin/kept", "home"]
    assert not (root / f"lib/modules/{KERNEL}/extra/onload.ko").exists()
    assert ran == [["depmod", KERNEL]]
    assert not metadata.exists()
    assert metadata.parent.exists()
    assert not (root / onload_remove.KEPT.lstrip("/")).exists()


def test_headers_are_looked_for_where_a_module_is_built(root):
    assert "linux-headers-6.1.0-56-amd64" in onload_host.no_headers(KERNEL, root)
    (root / f"lib/modules/{KERNEL}/build").mkdir(parents=True)
    (root / f"lib/modules/{KERNEL}/build/Makefile").touch()
    assert onload_host.no_headers(KERNEL, root) is None


def test_queues_of_an_interface_are_counted(root):
    for name in ("rx-0", "rx-1", "tx-0"):
        (root / "sys/class/net/eth1/queues" / name).mkdir(parents=True)

    assert onload_host.queues("eth1", root) == 2
    assert onload_host.queues("eth9", root) == 0
