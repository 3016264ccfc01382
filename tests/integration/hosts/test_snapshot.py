"""Two snapshots of a host differ exactly where the host does."""

from __future__ import annotations

import json

import pytest
from ansible_collections.labkit.host.plugins.module_utils import snapshot
from ansible_collections.labkit.host.plugins.module_utils.snapshot_excluded import excluded


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A host without package manager and systemd."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    files = {
        "etc/grub.d/mine": "a\n",
        "boot/initrd.img-6.1": "built at nine",
        "proc/sys/kernel/numa_balancing": "1\n",
        "proc/sys/kernel/random/boot_id": "one\n",
        "proc/cmdline": "quiet\n",
        "proc/self/mounts": "tmpfs /dev/shm tmpfs rw,size=100k 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n",
        "sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages": "0\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "proc/irq/default_smp_affinity": "3\n",
        "sys/bus/pci/devices/0000:00:03.0/driver_override": "(null)\n",
        "sys/bus/pci/drivers/e1000e/bind": "",
        "lib/modules/6.1.0/modules.dep": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "sys/bus/pci/devices/0000:00:03.0/driver").symlink_to(tmp_path / "sys/bus/pci/drivers/e1000e")
    return tmp_path


def write(name, text):
    def change(root):
        (root / name).write_text(text)

    return change


def bind_to_vfio(root):
    device = root / "sys/bus/pci/devices/0000:00:03.0"
    (device / "driver_override").write_text("vfio-pci\n")
    (root / "sys/bus/pci/drivers/vfio-pci").mkdir()
    (device / "driver").unlink()
    (device / "driver").symlink_to(root / "sys/bus/pci/drivers/vfio-pci")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (write("etc/grub.d/mine", "b\n"), "~ file /etc/grub.d/mine: sha256 "),
        (lambda root: (root / "etc/grub.d/mine").chmod(0o600), "~ file /etc/grub.d/mine: sha256 "),
        (write("etc/labkit.cfg", ""), "+ file /etc/labkit.cfg: sha256 "),
        (lambda root: (root / "etc/link").symlink_to("grub.d"), "+ file /etc/link: link to grub.d"),
        (lambda root: (root / "etc/empty").mkdir(), "+ file /etc/empty: folder "),
        (lambda root: (root / "boot/initrd.img-6.1").unlink(), "- file /boot/initrd.img-6.1: "),
        (write("proc/sys/kernel/numa_balancing", "0\n"), "~ sysctl kernel.numa_balancing: 1 -> 0"),
        (write("proc/cmdline", "quiet isolcpus=1\n"), "~ kernel command line: quiet -> quiet isolcpus=1"),
        (bind_to_vfio, "~ driver 0000:00:03.0: e1000e -> vfio-pci override vfio-pci"),
        (
            write("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "512\n"),
            "~ hugepages /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages: 0 -> 512",
        ),
        (
            write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
            "~ cpu /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor: powersave -> performance",
        ),
        (write("proc/irq/default_smp_affinity", "1\n"), "~ cpu /proc/irq/default_smp_affinity: 3 -> 1"),
        (write("proc/self/mounts", "tmpfs /dev/shm tmpfs rw 0 0\n"), "- mount /sys/fs/bpf bpf: bpf rw"),
        (lambda root: (root / "lib/modules/6.9").mkdir(), "+ kernel modules 6.9: installed"),
    ],
)
def test_each_change_of_the_host_is_one_difference(root, change, expected):
    before = snapshot.take(root)
    change(root)

    [difference] = snapshot.compare(before, snapshot.take(root))

    assert difference.startswith(expected)


@pytest.mark.parametrize(
    "change",
    [
        write("boot/initrd.img-6.1", "built at ten"),
        write("proc/sys/kernel/random/boot_id", "two\n"),
        write("proc/self/mounts", "tmpfs /dev/shm tmpfs rw,size=99k 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n"),
        write("etc/passwd-", "the one before"),
    ],
)
def test_what_differs_from_boot_to_boot_is_left_out_and_reported(root, change):
    before = snapshot.take(root)
    change(root)

    assert snapshot.compare(before, snapshot.take(root)) == []


def test_snapshot_survives_json_and_tells_what_is_left_out_and_why(root):
    taken = json.loads(json.dumps(snapshot.take(root)))

    assert snapshot.compare(taken, snapshot.take(root)) == []
    assert taken["excluded"] == excluded()
    assert all(one["what"] and one["why"] for one in taken["excluded"])


def test_package_that_changed_its_version_or_mark_is_reported():
    def of(packages):
        return {"format": snapshot.FORMAT, "facts": {"package": packages}}

    assert snapshot.compare(
        of({"gcc": "12 installed manual", "sl": "5 installed manual"}),
        of({"gcc": "13 installed manual", "hello": "2 installed manual"}),
    ) == [
        "~ package gcc: 12 installed manual -> 13 installed manual",
        "+ package hello: 2 installed manual",
        "- package sl: 5 installed manual",
    ]


def test_what_is_no_snapshot_is_refused():
    with pytest.raises(ValueError, match="not a snapshot of format 1"):
        snapshot.compare({"format": 2, "facts": {}}, {"format": 1, "facts": {}})
