"""For every host check a host that passes it, and hosts that fail it in one thing each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes import FakeReader

import labkit
from labkit.doctor.host.reader import CommandResult
from labkit.machine import sources

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Case:
    """One host check."""

    wanted: Mapping[str, Any]
    passing: FakeReader
    failing: Mapping[str, FakeReader]
    """What is wrong, in a few words, to a host where it is."""
    unwanted: Mapping[str, Any] = field(default_factory=dict)
    """Variables with which it does not apply; empty: it always applies."""


CPU, IRQ, SYS = "/sys/devices/system/cpu", "/proc/irq", "/proc/sys/kernel"

# The kernel.

_RT = FakeReader(
    files={
        "/sys/kernel/realtime": "1",
        f"{SYS}/osrelease": "6.1.0-56-rt-amd64",
        f"{SYS}/version": "#1 SMP PREEMPT_RT Debian 6.1.176-1",
        "/proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz quiet",
    },
    commands={"config": "CONFIG_PREEMPT_RT=y\nCONFIG_HZ=250"},
)
_GENERIC = _RT.but(
    files={
        "/sys/kernel/realtime": None,
        # The name's suffix says rt, and what runs is none.
        f"{SYS}/version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1",
        "/sys/kernel/debug/sched/preempt": "none (voluntary) full",
    },
    commands={"config": "CONFIG_PREEMPT_VOLUNTARY=y"},
)
_LOWLATENCY = _GENERIC.but(files={"/sys/kernel/debug/sched/preempt": "none voluntary (full)"})
_LOCKED_DOWN = _GENERIC.but(
    files={"/sys/kernel/debug/sched/preempt": None, "/proc/cmdline": "quiet preempt=voluntary preempt=full"}
)
_OFF = {
    "lowlatency_kernel_flavour": "generic",
    "lowlatency_kernel_preempt": "",
    "lowlatency_kernel_release": "",
}

_MENU = """
set default="gnulinux-advanced-1>gnulinux-6.1.0-56-rt-advanced-1"
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	linux	/boot/vmlinuz-6.1.0-44-amd64 root=UUID=1 ro quiet
	initrd	/boot/initrd.img-6.1.0-44-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-56-rt-amd64' $menuentry_id_option 'gnulinux-6.1.0-56-rt-advanced-1' {
		linux	/boot/vmlinuz-6.1.0-56-rt-amd64 root=UUID=1 ro quiet isolcpus=1-3 nohz_full=1-3
	}
}
"""
_BOOT = {"boot_arguments": ["isolcpus=1-3", "nohz_full=1-3"], **_OFF}
_NEXT = FakeReader(
    files={"/proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro quiet isolcpus=1-3 nohz_full=1-3"},
    commands={
        "release": "6.1.0-56-rt-amd64",
        "menu": _MENU,
        "environment": "",
        "grubby": CommandResult(1, ""),
    },
)
_GRUBBY = 'index=0\nkernel="/boot/vmlinuz-{release}"\nargs="ro crashkernel=1G isolcpus=1-3 nohz_full=1-3"'

KERNEL = {
    "lowlatency_kernel.flavour": Case(
        {**_OFF, "lowlatency_kernel_flavour": "rt"},
        _RT,
        {
            "a name that ends in rt": _GENERIC,
            "no real-time kernel": _GENERIC.but(files={f"{SYS}/osrelease": "6.1.0-44"}),
        },
        _OFF,
    ),
    "lowlatency_kernel.preempt": Case(
        {**_OFF, "lowlatency_kernel_preempt": "full"},
        _LOWLATENCY,
        {
            "another mode": _GENERIC,
            "given at boot, then another": _LOCKED_DOWN.but(
                files={"/proc/cmdline": "preempt=full preempt=none"}
            ),
            "built so": _GENERIC.but(files={"/sys/kernel/debug/sched/preempt": None}),
        },
        _OFF,
    ),
    "lowlatency_kernel.release": Case(
        {**_OFF, "lowlatency_kernel_release": "6.1.0-56-rt-amd64"},
        _RT,
        {"another one": _RT.but(files={f"{SYS}/osrelease": "6.1.0-44-amd64"})},
        _OFF,
    ),
    "boot.arguments": Case(
        _BOOT,
        _NEXT,
        {
            "not there": _NEXT.but(files={"/proc/cmdline": "quiet isolcpus=1-3"}),
            "another value": _NEXT.but(files={"/proc/cmdline": "isolcpus=1-2 nohz_full=1-3"}),
            "another order": _NEXT.but(files={"/proc/cmdline": "nohz_full=1-3 isolcpus=1-3"}),
            "taken back later": _NEXT.but(files={"/proc/cmdline": "isolcpus=1-3 nohz_full=1-3 isolcpus=2"}),
        },
        {"boot_arguments": []},
    ),
    "boot.default": Case(
        _BOOT,
        _NEXT,
        {
            "another kernel": _NEXT.but(commands={"menu": _MENU.replace("set default=", "#")}),
            "without the arguments": _NEXT.but(commands={"menu": _MENU.replace(" nohz_full=1-3", "")}),
            "a trial waits": _NEXT.but(commands={"environment": "next_entry=labkit-trial"}),
            "no menu": _NEXT.but(commands={"menu": CommandResult(1, "cat: no such file")}),
            "another kernel of EL": _NEXT.but(commands={"grubby": _GRUBBY.format(release="5.14.0-1.el9")}),
        },
        {"boot_arguments": [], **_OFF},
    ),
}

# Users and packages.

_SUDO = (
    "User lab may run the following commands on dut:\n    (root) NOPASSWD: /usr/bin/id, /usr/local/bin/labkit"
)
_PROBE = (
    '{"id": 1, "ok": true, "result": {}}\n/usr/local/lib/labkit/probe/1/labkit-probe-socket 0\n'
    "/usr/local/lib/labkit/probe/1/labkit-probe-af_xdp 0"
)
_HELLO = '{{"id": 1, "ok": true, "result": {{"labkit": "{}", "sources": "{}", "python": "3.13.5"}}}}'
_HOST = {"labkit_host_user": "lab", "labkit_host_group": "labkit"}
_BUILT = {
    **_HOST,
    "labkit_host_build": True,
    "labkit_host_capabilities": True,
    "labkit_host_probe_dir": "/usr/local/lib/labkit/probe",
    "labkit_host_engine_capabilities": {"af_packet": "cap_net_raw", "xdp": "cap_net_admin,cap_bpf"},
}
_CAPABLE = FakeReader(
    commands={"af_packet": "", "xdp": "", "raw socket": '{"id": 1, "ok": true, "result": {}}'}
)

HOST = {
    "labkit_host.user": Case(
        _HOST,
        FakeReader(commands={"groups": "lab labkit"}),
        {
            "no such user": FakeReader(commands={"groups": CommandResult(1, "id: 'lab': no such user")}),
            "not in the group": FakeReader(commands={"groups": "lab labkit2"}),
        },
        {"labkit_host_user": "", "labkit_host_group": "labkit"},
    ),
    "labkit_host.sudo": Case(
        {**_HOST, "labkit_host_sudo": True, "labkit_host_sudo_commands": ["/usr/local/bin/labkit"]},
        FakeReader(commands={"sudo": _SUDO}),
        {
            "no rule": FakeReader(
                commands={"sudo": CommandResult(1, "User lab is not allowed to run sudo on dut.")}
            ),
            "another command": FakeReader(commands={"sudo": _SUDO.replace("bin/labkit", "bin/labkit2")}),
            "a password is asked for": FakeReader(commands={"sudo": _SUDO.replace("NOPASSWD: ", "")}),
            "taken back by a later file": FakeReader(commands={"sudo": _SUDO + "\n    (ALL : ALL) !ALL"}),
        },
        {**_HOST, "labkit_host_sudo": False},
    ),
    "labkit_host.capabilities": Case(
        _BUILT,
        _CAPABLE,
        {
            "one has others": _CAPABLE.but(commands={"xdp": CommandResult(1, "file differs in [pe]")}),
            "disregarded": _CAPABLE.but(
                commands={
                    "raw socket": '{"id": 1, "ok": false, "error": {"code": "refused"}}\n{"id": 2, "ok": true}'
                }
            ),
            "not for the group": _CAPABLE.but(commands={"raw socket": CommandResult(1, "Permission denied")}),
        },
        {**_BUILT, "labkit_host_capabilities": False},
    ),
    "labkit_host.probe": Case(
        _BUILT,
        FakeReader(commands={"probe": _PROBE}),
        {
            "not there": FakeReader(commands={"probe": "/usr/local/lib/labkit/probe/*/labkit-probe-* 127"}),
            "one does not start": FakeReader(commands={"probe": _PROBE[:-1] + "126"}),
            "not for the user": FakeReader(commands={"probe": CommandResult(2, "Permission denied")}),
        },
        {**_HOST, "labkit_host_build": False},
    ),
    "labkit_host.labkit": Case(
        {"labkit_host_install": True, "labkit_host_command": "labkit"},
        FakeReader(commands={"labkit": _HELLO.format(labkit.__version__, sources.digest())}),
        {
            "another version": FakeReader(commands={"labkit": _HELLO.format("0.0.1", sources.digest())}),
            "other files": FakeReader(
                commands={"labkit": _HELLO.format(labkit.__version__, "0123456789abcdef")}
            ),
            "none": FakeReader(commands={"labkit": CommandResult(127, "sh: 1: labkit: not found")}),
        },
        {"labkit_host_install": False, "labkit_host_command": "labkit"},
    ),
    "labkit_host.packages": Case(
        {
            "labkit_host_packages": ["gcc", "libc6-dev|glibc-devel"],
            "labkit_host_develop_packages": ["clang"],
            "labkit_host_develop": True,
        },
        FakeReader(commands={"packages": "clang\ngcc\nlibc6-dev"}),
        {
            "one is missing": FakeReader(commands={"packages": "clang\nlibc6-dev"}),
            "neither name": FakeReader(commands={"packages": "clang\ngcc"}),
            "one to develop": FakeReader(commands={"packages": "gcc\nglibc-devel"}),
        },
        {"labkit_host_packages": [], "labkit_host_develop": False, "labkit_host_develop_packages": []},
    ),
}

# Isolated cores.

_CORES = {
    "cpu_isolation_cpus": "1-3",
    "cpu_isolation_nohz_full": True,
    "cpu_isolation_rcu_nocbs": True,
    "cpu_isolation_irq_affinity": True,
    "cpu_isolation_irqbalance": "ban",
    "cpu_isolation_governor": "performance",
    "cpu_isolation_max_cstate": "1",
    "cpu_isolation_vm_stat_interval_s": "10",
    "cpu_isolation_timer_migration": "0",
    "cpu_isolation_rt_runtime_us": "-1",
    "cpu_isolation_settings": [
        {"path": "/sys/devices/virtual/workqueue/cpumask", "value": "1", "reads_as": "cpumask"},
        {"path": "/sys/devices/virtual/workqueue/writeback/cpumask", "value": "1", "reads_as": "cpumask"},
        {"path": f"{SYS}/watchdog_cpumask", "value": "0", "reads_as": "cpulist"},
        {"path": "/proc/sys/vm/stat_interval", "value": "10", "reads_as": "int"},
        {"path": f"{SYS}/timer_migration", "value": "0", "reads_as": "int"},
        {"path": f"{SYS}/sched_rt_runtime_us", "value": "-1", "reads_as": "int"},
    ],
}
_NO_CORES = {**_CORES, "cpu_isolation_cpus": ""}
_NO_SETTINGS = {
    **_CORES,
    "cpu_isolation_settings": [{**one, "value": ""} for one in _CORES["cpu_isolation_settings"]],
}
_ISOLATED = FakeReader(
    files={
        f"{CPU}/isolated": "1-3",
        f"{CPU}/nohz_full": "1-3",
        **{f"{CPU}/cpu{core}/cpufreq/scaling_governor": "performance" for core in (1, 2, 3)},
        f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
        f"{CPU}/cpuidle/current_driver": "acpi_idle",
        "/sys/module/processor/parameters/max_cstate": "1",
        "/sys/module/intel_idle/parameters/max_cstate": "9",
        f"{IRQ}/default_smp_affinity": "1",
        f"{IRQ}/24/smp_affinity_list": "0",
        f"{IRQ}/24/effective_affinity_list": "0",
        # Leaves with its next interrupt: it may go to core 0 only.
        f"{IRQ}/25/smp_affinity_list": "0",
        f"{IRQ}/25/effective_affinity_list": "2",
        # Managed by the kernel: refused to the role.
        f"{IRQ}/26/smp_affinity_list": "3",
        f"{IRQ}/26/effective_affinity_list": "3",
        # May go anywhere, goes to core 0.
        f"{IRQ}/27/smp_affinity_list": "0-3",
        f"{IRQ}/27/effective_affinity_list": "0",
        # Nobody has asked for it.
        f"{IRQ}/2/smp_affinity_list": "0-3",
        f"{IRQ}/2/effective_affinity_list": "",
        "/run/labkit-host/irqs.json": '{"old": {}, "fixed": {"26": "nvme0q3"}}',
        "/sys/devices/virtual/workqueue/cpumask": "00000001",
        "/sys/devices/virtual/workqueue/writeback/cpumask": "1",
        f"{SYS}/watchdog_cpumask": "0",
        "/proc/sys/vm/stat_interval": "10",
        f"{SYS}/timer_migration": "0",
        f"{SYS}/sched_rt_runtime_us": "-1",
    },
    commands={
        "rcu": "[    0.185476] rcu: \tOffload RCU callbacks from CPUs: 1-3.",
        "fixed": "",
        "names": f"{IRQ}/24/eth0/\n{IRQ}/26/nvme0q3/",
        "irqbalance": "irqbalance runs\nPATH=/bin\nIRQBALANCE_BANNED_CPULIST=1-3",
    },
)


def _cores(name: str, *, unwanted: Mapping[str, Any] = _NO_CORES, **failing: FakeReader) -> dict[str, Case]:
    wrong = {what.replace("_", " "): reader for what, reader in failing.items()}
    return {f"cpu_isolation.{name}": Case(_CORES, _ISOLATED, wrong, unwanted)}


def _file(path: str, text: str | None) -> FakeReader:
    return _ISOLATED.but(files={path: text})


CORES = {
    **_cores("isolated", none=_file(f"{CPU}/isolated", ""), fewer=_file(f"{CPU}/isolated", "1-2")),
    **_cores(
        "nohz_full",
        null=_file(f"{CPU}/nohz_full", "(null)"),
        more=_file(f"{CPU}/nohz_full", "0-3"),
        no_such_kernel=_file(f"{CPU}/nohz_full", None),
        unwanted={**_CORES, "cpu_isolation_nohz_full": False},
    ),
    **_cores(
        "rcu_nocbs",
        none_offloaded=_ISOLATED.but(commands={"rcu": "rcu: Preemptible hierarchical RCU implementation."}),
        core_3_not_offloaded=_ISOLATED.but(commands={"rcu": "rcu: \tOffload RCU callbacks from CPUs: 1-2."}),
    ),
    **_cores(
        "interrupts",
        one_goes_there=_ISOLATED.but(
            files={f"{IRQ}/24/smp_affinity_list": "0-3", f"{IRQ}/24/effective_affinity_list": "2"}
        ),
        another_of_a_refused_number=_ISOLATED.but(commands={"names": f"{IRQ}/26/eth1/"}),
        new_ones_may=_file(f"{IRQ}/default_smp_affinity", "f"),
        not_reported_where=_ISOLATED.but(
            files={f"{IRQ}/27/smp_affinity_list": "0-3", f"{IRQ}/27/effective_affinity_list": None}
        ),
        unwanted={**_CORES, "cpu_isolation_irq_affinity": False},
    ),
    **_cores(
        "irqbalance",
        given_fewer=_ISOLATED.but(commands={"irqbalance": "irqbalance runs\nIRQBALANCE_BANNED_CPULIST=1-2"}),
        given_nothing=_ISOLATED.but(commands={"irqbalance": "irqbalance runs\nPATH=/bin"}),
        ban_nothing=_ISOLATED.but(commands={"irqbalance": "irqbalance runs\nIRQBALANCE_BANNED_CPULIST=-"}),
        a_mask_that_counts_first=_ISOLATED.but(
            commands={
                "irqbalance": "irqbalance runs\nIRQBALANCE_BANNED_CPUS=2\nIRQBALANCE_BANNED_CPULIST=1-3"
            }
        ),
        a_second_one=_ISOLATED.but(
            commands={"irqbalance": "irqbalance runs\nIRQBALANCE_BANNED_CPULIST=1-3\nirqbalance runs"}
        ),
        unwanted={**_CORES, "cpu_isolation_irqbalance": "keep"},
    ),
    **_cores(
        "workqueues",
        there=_file("/sys/devices/virtual/workqueue/cpumask", "f"),
        written_back_there=_file("/sys/devices/virtual/workqueue/writeback/cpumask", "3"),
        unwanted=_NO_SETTINGS,
    ),
    **_cores("watchdogs", everywhere=_file(f"{SYS}/watchdog_cpumask", "0-3"), unwanted=_NO_SETTINGS),
    **_cores("vm_statistics", each_second=_file("/proc/sys/vm/stat_interval", "1"), unwanted=_NO_SETTINGS),
    **_cores("timer_migration", on=_file(f"{SYS}/timer_migration", "1"), unwanted=_NO_SETTINGS),
    **_cores("rt_runtime", throttled=_file(f"{SYS}/sched_rt_runtime_us", "950000"), unwanted=_NO_SETTINGS),
    **_cores("governor", one=_file(f"{CPU}/cpu2/cpufreq/scaling_governor", "powersave")),
    **_cores(
        "cstates",
        deeper=_file("/sys/module/processor/parameters/max_cstate", "8"),
        unwanted={**_CORES, "cpu_isolation_max_cstate": ""},
    ),
}

# Hugepages.

_POOL = "/sys/kernel/mm/hugepages/hugepages"
_NODE = "/sys/devices/system/node/node1/hugepages/hugepages"
_PAGES = {
    "hugepages_count": "auto",
    "hugepages_pools": [
        {"size_kib": 1048576, "count": 2, "node": 1, "scope": "boot"},
        {"size_kib": 2048, "count": 256, "scope": "runtime"},
    ],
    "hugepages_default_size_kib": 1048576,
    "hugepages_mounts": [{"path": "/mnt/huge", "size_kib": 2048, "group": "labkit"}],
    "hugepages_group": "",
}
_NO_PAGES = {
    "hugepages_count": "0",
    "hugepages_pools": [],
    "hugepages_mounts": [],
    "hugepages_group": "",
    "hugepages_default_size_kib": 0,
}
_MOUNTS = "proc /proc proc rw 0 0\nnone /mnt/huge hugetlbfs rw,relatime,gid=1001,mode=1770,pagesize=2M 0 0"
_HUGE = FakeReader(
    files={
        f"{_POOL}-2048kB/nr_hugepages": "256",
        f"{_POOL}-2048kB/free_hugepages": "250",
        f"{_POOL}-1048576kB/nr_hugepages": "2",
        f"{_NODE}-1048576kB/nr_hugepages": "2",
        "/proc/meminfo": "MemTotal:  8161228 kB\nHugepagesize:    1048576 kB",
        "/proc/mounts": _MOUNTS,
    },
    commands={"/mnt/huge": "1770 labkit"},
)

PAGES = {
    "hugepages.granted": Case(
        _PAGES,
        _HUGE,
        {
            "fewer": _HUGE.but(files={f"{_POOL}-2048kB/nr_hugepages": "255"}),
            "on the other node": _HUGE.but(files={f"{_NODE}-1048576kB/nr_hugepages": "1"}),
            "no such size": _HUGE.but(files={f"{_NODE}-1048576kB/nr_hugepages": None}),
            "none at all": FakeReader(),
        },
        _NO_PAGES,
    ),
    "hugepages.default_size": Case(
        _PAGES, _HUGE, {"another": _HUGE.but(files={"/proc/meminfo": "Hugepagesize:    2048 kB"})}, _NO_PAGES
    ),
    "hugepages.mounts": Case(
        _PAGES,
        _HUGE,
        {
            "not mounted": _HUGE.but(files={"/proc/mounts": "proc /proc proc rw 0 0"}),
            "covered": _HUGE.but(files={"/proc/mounts": _MOUNTS + "\ntmpfs /mnt/huge tmpfs rw 0 0"}),
            "pages of 1 GiB": _HUGE.but(files={"/proc/mounts": _MOUNTS.replace("2M", "1024M")}),
            "closed to the group": _HUGE.but(commands={"/mnt/huge": "700 labkit"}),
            "another group's": _HUGE.but(commands={"/mnt/huge": "1770 root"}),
        },
        _NO_PAGES,
    ),
    "hugepages.access": Case(
        _PAGES, _HUGE, {"refused": _HUGE.but(commands={"/mnt/huge": CommandResult(1, "")})}, _NO_PAGES
    ),
}

# DPDK.

_PCI = "/sys/bus/pci/devices/0000:00:05.0"
_DPDK = {
    "dpdk_devices": [{"pci": "0000:00:05.0", "driver": "vfio-pci"}],
    "dpdk_iommu": "auto",
    "dpdk_group": "labkit",
    "dpdk_memlock_kib": "1048576",
    "dpdk_source_version": "",
    "labkit_host_user": "",
}
_NO_DPDK = {**_DPDK, "dpdk_devices": [], "dpdk_memlock_kib": ""}
_BOUND = FakeReader(
    files={
        "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "N",
        f"{_PCI}/driver_override": "vfio-pci",
    },
    links={
        f"{_PCI}/driver": "../../../bus/pci/drivers/vfio-pci",
        f"{_PCI}/iommu_group": "../../../kernel/iommu_groups/7",
    },
    commands={
        "packages": "libdpdk-dev\ndpdk-dev",
        "groups": "0\n7",
        "/dev/vfio/7": "",
        "limit": "1048576",
        "pkg-config": "22.11.7",
        "testpmd": "Usage: dpdk-testpmd\nEAL common options:",
    },
)
_UNSAFE = {"/sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "Y"}

DPDK = {
    "dpdk.version": Case(
        {
            "dpdk_packages": ["libdpdk-dev|dpdk-devel", "dpdk-dev|dpdk"],
            "dpdk_source_url": "",
            "dpdk_source_version": "",
        },
        _BOUND,
        {
            "one is missing": _BOUND.but(commands={"packages": "dpdk-dev"}),
            "nothing to build with": _BOUND.but(
                commands={"pkg-config": CommandResult(1, "Package libdpdk was not found")}
            ),
            "no testpmd": _BOUND.but(commands={"testpmd": CommandResult(127, "dpdk-testpmd: not found")}),
            "a library is missing": _BOUND.but(
                commands={"testpmd": CommandResult(127, "error while loading shared libraries")}
            ),
        },
    ),
    "dpdk.bound": Case(
        _DPDK,
        _BOUND,
        {
            "another driver": _BOUND.but(links={f"{_PCI}/driver": "../../../bus/pci/drivers/e1000e"}),
            "none": FakeReader(),
            "free for the next that comes": _BOUND.but(files={f"{_PCI}/driver_override": "(null)"}),
        },
        _NO_DPDK,
    ),
    "dpdk.iommu": Case(
        _DPDK,
        _BOUND,
        {
            "off": _BOUND.but(commands={"groups": ""}),
            "unsafe": _BOUND.but(files=_UNSAFE),
            "in no group": FakeReader(commands={"groups": "0\n7"}),
        },
        _NO_DPDK,
    ),
    "dpdk.access": Case(
        _DPDK,
        _BOUND,
        {"refused": _BOUND.but(commands={"/dev/vfio/7": CommandResult(1, "")}), "no group": FakeReader()},
        {**_DPDK, "dpdk_group": ""},
    ),
    "dpdk.memlock": Case(
        _DPDK,
        _BOUND,
        {"less": _BOUND.but(commands={"limit": "8192"}), "not reported": _BOUND.but(commands={"limit": ""})},
        _NO_DPDK,
    ),
}

# AF_XDP and interfaces.

_NET = "/sys/class/net/ens5"
_CHANNELS = (DATA / "ethtool-l.txt").read_text()
_FEATURES = (DATA / "ethtool-k.txt").read_text()
_XDP = {
    "af_xdp_packages": ["clang", "libxdp-dev|libxdp-devel"],
    "af_xdp_tools_packages": ["xdp-tools"],
    "af_xdp_bpffs": "/sys/fs/bpf",
    "af_xdp_interfaces": [
        {
            "name": "ens5",
            "queues": 2,
            "mtu": 1500,
            "features": {"gro": "off", "tso": False},
            "napi_defer_hard_irqs": 2,
            "gro_flush_timeout_ns": 20000,
            "threaded": True,
        }
    ],
    "af_xdp_busy_read_us": "50",
    "af_xdp_busy_poll_us": "",
    "af_xdp_memlock_kib": "unlimited",
    "labkit_host_user": "lab",
    "labkit_host_group": "labkit",
}
_NO_XDP = {
    **_XDP,
    "af_xdp_packages": [],
    "af_xdp_tools_packages": [],
    "af_xdp_interfaces": [{"name": "ens5"}],
    "af_xdp_busy_read_us": "",
    "af_xdp_memlock_kib": "",
}
_QUEUES = FakeReader(
    files={
        "/proc/mounts": "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0",
        f"{_NET}/napi_defer_hard_irqs": "2",
        f"{_NET}/gro_flush_timeout": "20000",
        f"{_NET}/threaded": "1",
        "/proc/sys/net/core/busy_read": "50",
        "/proc/sys/net/core/busy_poll": "0",
    },
    commands={
        "packages": "clang\nlibxdp-dev\nxdp-tools",
        "libxdp": "\tlibxdp.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libxdp.so.1",
        "headers": "1.3.1",
        "ens5 channels": _CHANNELS,
        "ens5 features": _FEATURES,
        "ens5 mtu": "1500",
        "limit": "unlimited",
    },
)

XDP = {
    "af_xdp.bpffs": Case(
        _XDP,
        _QUEUES,
        {
            "not mounted": _QUEUES.but(files={"/proc/mounts": "sysfs /sys sysfs rw 0 0"}),
            "covered": _QUEUES.but(
                files={"/proc/mounts": "bpf /sys/fs/bpf bpf rw 0 0\nt /sys/fs/bpf tmpfs rw 0 0"}
            ),
        },
    ),
    "af_xdp.libxdp": Case(
        _XDP,
        _QUEUES,
        {
            "one is missing": _QUEUES.but(commands={"packages": "clang\nlibxdp-dev"}),
            "no library": _QUEUES.but(commands={"libxdp": "\tlibc.so.6"}),
            "no headers": _QUEUES.but(commands={"headers": CommandResult(1, "Package libxdp was not found")}),
        },
        _NO_XDP,
    ),
    "af_xdp.queues": Case(
        _XDP,
        _QUEUES,
        {
            "more queues": _QUEUES.but(
                commands={"ens5 channels": _CHANNELS.replace("Combined:	2", "Combined:	4")}
            ),
            "GRO": _QUEUES.but(
                commands={"ens5 features": _FEATURES.replace("receive-offload: off", "receive-offload: on")}
            ),
            "one of those that TSO means": _QUEUES.but(
                commands={
                    "ens5 features": _FEATURES.replace(
                        "tx-tcp6-segmentation: off", "tx-tcp6-segmentation: on"
                    )
                }
            ),
            "MTU": _QUEUES.but(commands={"ens5 mtu": "9000"}),
            "no such interface": FakeReader(),
        },
        _NO_XDP,
    ),
    "af_xdp.napi": Case(
        _XDP,
        _QUEUES,
        {
            "not deferred": _QUEUES.but(files={f"{_NET}/napi_defer_hard_irqs": "0"}),
            "longer": _QUEUES.but(files={f"{_NET}/gro_flush_timeout": "200000"}),
            "not threaded": _QUEUES.but(files={f"{_NET}/threaded": "0"}),
            "not there": FakeReader(),
        },
        _NO_XDP,
    ),
    "af_xdp.busy_poll": Case(
        _XDP, _QUEUES, {"off": _QUEUES.but(files={"/proc/sys/net/core/busy_read": "0"})}, _NO_XDP
    ),
    "af_xdp.memlock": Case(_XDP, _QUEUES, {"less": _QUEUES.but(commands={"limit": "8192"})}, _NO_XDP),
}

_TUNED = {
    "nic_tuning_interfaces": [
        {
            "name": "ens5",
            "rings": {"rx": 512},
            "coalescing": {"rx-usecs": 0, "adaptive-rx": False, "tx-usecs": None},
            "features": {"gro": "off"},
            "pause": {"rx": "off", "tx": "off"},
            "channels": {"combined": 2},
            "rss": {"indirection": "equal 2"},
        }
    ]
}
_NIC = FakeReader(
    commands={
        f"ens5 {group}": (DATA / f"ethtool-{option}.txt").read_text()
        for group, option in {
            "rings": "g",
            "coalescing": "c",
            "features": "k",
            "pause": "a",
            "channels": "l",
            "rss": "x",
        }.items()
    }
)


def _nic(group: str, **failing: tuple[str, str]) -> dict[str, Case]:
    text = str(_NIC.commands[f"ens5 {group}"])
    wrong = {}
    for what, (old, new) in failing.items():
        assert old in text
        wrong[what] = _NIC.but(commands={f"ens5 {group}": text.replace(old, new)})
    wrong["not supported"] = _NIC.but(
        commands={f"ens5 {group}": CommandResult(1, "netlink error: Operation not supported")}
    )
    return {f"nic_tuning.{group}": Case(_TUNED, _NIC, wrong, {"nic_tuning_interfaces": [{"name": "ens5"}]})}


NICS = {
    **_nic("rings", as_before=("RX:		512", "RX:		256")),
    **_nic("coalescing", moderated=("rx-usecs:	0", "rx-usecs:	3"), adaptive=("RX: off", "RX: on")),
    **_nic("features", on=("receive-offload: off", "receive-offload: on")),
    **_nic("pause", paused=("RX:		off", "RX:		on")),
    **_nic("channels", one=("Combined:	2", "Combined:	1")),
    **_nic("rss", one_queue=(" 1", " 0")),
}

_UNIT = "UnitFileState=enabled\nResult=success\nActiveState=active\nExecMainStatus=0"
_SYSTEMD = FakeReader(
    commands={"init": "", "persisted": "/var/lib/labkit/state/hugepages.json", "unit": _UNIT}
)

REPLAY = {
    "replay.unit": Case(
        {"replay_enabled": True},
        _SYSTEMD,
        {
            "not enabled": _SYSTEMD.but(commands={"unit": _UNIT.replace("enabled", "disabled")}),
            "failed at boot": _SYSTEMD.but(
                commands={"unit": _UNIT.replace("success", "exit-code").replace("=active", "=failed")}
            ),
            "being tried once more": _SYSTEMD.but(
                commands={"unit": _UNIT.replace("ActiveState=active", "ActiveState=activating")}
            ),
            "not installed": _SYSTEMD.but(
                commands={"unit": "UnitFileState=\nResult=success\nActiveState=inactive"}
            ),
        },
        {"replay_enabled": False},
    )
}

# TRex.

_SUM = "5e8c"
_TREX = {
    "trex_version": "v3.08",
    "trex_sha256": _SUM * 16,
    "trex_dir": "/opt/trex",
    "trex_ports": [{"interface": "ens5", "pci": None}, {"pci": "3b:00.1", "interface": None}],
}
_NO_TREX = {**_TREX, "trex_version": ""}
_NO_TREX_PORTS = {**_TREX, "trex_ports": []}
_OF = "Environment=LABKIT_TREX_STARTED_OF=abc"
_TREX_UNIT = "UnitFileState=enabled\nActiveState=active"
_TREX_FILE, _TREX_MARKER = "/etc/labkit/trex/host.yaml", "/opt/trex/v3.08/.labkit-sha256"
_TREX_DROP_IN = "/etc/systemd/system/labkit-trex@host.service.d/10-labkit.conf"
_PORTS = '  "interfaces": ["--vdev=net_af_packet0,iface=ens5,framesz=2048", "0000:3b:00.1"]'
_NONE_RUNS = CommandResult(1, "no server runs")
_SERVER = FakeReader(
    files={
        _TREX_MARKER: _SUM * 16,
        _TREX_DROP_IN: f"[Service]\n{_OF}",
        _TREX_FILE: f"-\n{_PORTS}",
    },
    links={"/opt/trex/current": "v3.08"},
    commands={
        "files": "_t-rex-64: OK",
        "unit": _TREX_UNIT,
        "started of": "LABKIT_TREX_STARTED_OF=abc",
        "links": '[{"ifname": "ens5"}]',
        "devices": "",
        "api": '{"version": "v3.08", "mode": "STL"}',
        "reach": "filter",
    },
)

TREX = {
    "trex.version": Case(
        _TREX,
        _SERVER,
        {
            "another version": _SERVER.but(links={"/opt/trex/current": "v3.06"}),
            "another archive": _SERVER.but(files={_TREX_MARKER: "0" * 64}),
            "none": FakeReader(),
        },
        _NO_TREX,
    ),
    "trex.files": Case(
        _TREX,
        _SERVER,
        {
            "damaged": _SERVER.but(commands={"files": CommandResult(1, "_t-rex-64: FAILED")}),
            "not there": FakeReader(),
        },
        _NO_TREX,
    ),
    "trex.unit": Case(
        _TREX,
        _SERVER,
        {
            "not enabled": _SERVER.but(commands={"unit": _TREX_UNIT.replace("enabled", "disabled")}),
            "failed": _SERVER.but(commands={"unit": _TREX_UNIT.replace("=active", "=failed")}),
            "started before the last change": _SERVER.but(
                commands={"started of": "LABKIT_TREX_STARTED_OF=older"}
            ),
            "not there": FakeReader(),
        },
        _NO_TREX_PORTS,
    ),
    "trex.ports": Case(
        _TREX,
        _SERVER,
        {
            "another NIC": _SERVER.but(files={_TREX_FILE: _PORTS.replace("3b:00.1", "3b:00.0")}),
            "in another order": _SERVER.but(
                files={_TREX_FILE: '  "interfaces": ["0000:3b:00.1", "--vdev=a,iface=ens5"]'}
            ),
            "no configuration": FakeReader(),
        },
        _NO_TREX_PORTS,
    ),
    "trex.api": Case(
        _TREX,
        _SERVER,
        {
            "another version": _SERVER.but(commands={"api": '{"version": "v3.06"}'}),
            "no answer": _SERVER.but(commands={"api": CommandResult(1, "TRex: no answer in 10 s")}),
            "none runs": _SERVER.but(commands={"api": _NONE_RUNS}),
        },
        _NO_TREX_PORTS,
    ),
    "trex.reach": Case(
        _TREX,
        _SERVER,
        {
            "reached": _SERVER.but(commands={"reach": "filter\n198.18.0.1:4501"}),
            "an interface beside loopback": _SERVER.but(commands={"reach": "namespace\nlo\neth0"}),
            "not tried": _SERVER.but(commands={"reach": CommandResult(1, "filter\npython3: not found")}),
            "none runs": _SERVER.but(commands={"reach": _NONE_RUNS}),
        },
        _NO_TREX_PORTS,
    ),
}


_ONLOAD = {
    "openonload_state": "present",
    "openonload_version": "9.2.1",
    "openonload_sha256": _SUM * 16,
    "openonload_interfaces": [{"name": "ens5"}, {"name": "ens6"}],
    "openonload_flow_filters": False,
    "openonload_generic_xdp": True,
    "openonload_one_queue": True,
}
_NO_ONLOAD = {**_ONLOAD, "openonload_state": "absent"}
_NO_ONLOAD_INTERFACES = {**_ONLOAD, "openonload_interfaces": []}
_STAMP, _MANIFEST = "/usr/libexec/onload/labkit-installed.json", "/usr/libexec/onload/uninstall_manifest"
_STAMPED = (
    f'{{"version": "9.2.1", "sha256": "{_SUM * 16}", "sfc": false, "kernels": {{"6.1.0-56-amd64": "A1B2"}}}}'
)
_ONLOAD_PARAMETERS = "/sys/module/sfc_resource/parameters"
_UNIT_5, _UNIT_6 = "labkit-onload@ens5.service", "labkit-onload@ens6.service"
_NOTE_5, _NOTE_6 = "/run/labkit-onload/ens5.json", "/run/labkit-onload/ens6.json"
_ONLOADED = FakeReader(
    files={
        _STAMP: _STAMPED,
        _MANIFEST: "/usr/libexec/onload",
        f"{SYS}/osrelease": "6.1.0-56-amd64",
        "/sys/module/onload/srcversion": "A1B2",
        f"{_ONLOAD_PARAMETERS}/enable_af_xdp_flow_filters": "0",
        f"{_ONLOAD_PARAMETERS}/bpf_link_helper": "/usr/libexec/onload/bpf-link-helper",
        _NOTE_5: '{"interface": "ens5", "module": 77, "generic": false}',
        _NOTE_6: '{"interface": "ens6", "module": 77, "generic": true}',
    },
    links={
        "/sys/class/net/ens5/device/driver": "../../../bus/virtio/drivers/virtio_net",
        "/sys/class/net/ens6/device/driver": "../../../bus/pci/drivers/e1000e",
        "/sys/class/net/ens9/device/driver": "../../../bus/pci/drivers/sfc",
    },
    commands={
        "installed": "A1B2",
        "device": "character special file",
        _UNIT_5: "UnitFileState=enabled\nActiveState=active",
        _UNIT_6: "UnitFileState=enabled\nActiveState=active",
        "load": "77",
        "links": '[{"ifname": "ens5"}, {"ifname": "ens6"}, {"ifname": "ens9"}]',
        "devices": "",
        "xdp": '[{"ifname": "ens5"}, {"ifname": "ens6", "xdp": {"mode": 2}}]',
        "ens5": "1",
        "ens6": "1",
    },
)

OPENONLOAD = {
    "openonload.version": Case(
        _ONLOAD,
        _ONLOADED,
        {
            "another version": _ONLOADED.but(files={_STAMP: _STAMPED.replace("9.2.1", "9.1.2")}),
            "another archive": _ONLOADED.but(files={_STAMP: _STAMPED.replace(_SUM, "0000")}),
            "somebody else's": _ONLOADED.but(files={_STAMP: None}),
            "uninstalled by hand": _ONLOADED.but(files={_MANIFEST: None}),
        },
        _NO_ONLOAD,
    ),
    "openonload.modules": Case(
        _ONLOAD,
        _ONLOADED,
        {
            "another kernel runs": _ONLOADED.but(files={f"{SYS}/osrelease": "6.1.0-57-amd64"}),
            "other modules": _ONLOADED.but(commands={"installed": "C3D4"}),
            "none": _ONLOADED.but(commands={"installed": CommandResult(2, "no such file")}),
        },
        _NO_ONLOAD,
    ),
    "openonload.loaded": Case(
        _ONLOAD,
        _ONLOADED,
        {
            "not loaded": _ONLOADED.but(files={"/sys/module/onload/srcversion": None}),
            "loaded before the upgrade": _ONLOADED.but(files={"/sys/module/onload/srcversion": "C3D4"}),
            "no device": _ONLOADED.but(commands={"device": CommandResult(1, "No such file or directory")}),
        },
        _NO_ONLOAD,
    ),
    "openonload.options": Case(
        _ONLOAD,
        _ONLOADED,
        {
            "flow filters": _ONLOADED.but(files={f"{_ONLOAD_PARAMETERS}/enable_af_xdp_flow_filters": "1"}),
            "no helper": _ONLOADED.but(files={f"{_ONLOAD_PARAMETERS}/bpf_link_helper": "(null)"}),
            "not loaded": FakeReader(),
        },
        _NO_ONLOAD,
    ),
    "openonload.units": Case(
        _ONLOAD,
        _ONLOADED,
        {
            "not enabled": _ONLOADED.but(
                commands={_UNIT_6: "UnitFileState=disabled\nActiveState=active"},
            ),
            "failed": _ONLOADED.but(commands={_UNIT_5: "UnitFileState=enabled\nActiveState=failed"}),
        },
        _NO_ONLOAD_INTERFACES,
    ),
    "openonload.registered": Case(
        _ONLOAD,
        _ONLOADED,
        {
            "not registered": _ONLOADED.but(files={_NOTE_5: None}),
            "before the last load": _ONLOADED.but(commands={"load": "78"}),
            "not loaded": _ONLOADED.but(commands={"load": CommandResult(1, "no such file")}),
            "program gone": _ONLOADED.but(commands={"xdp": '[{"ifname": "ens5"}, {"ifname": "ens6"}]'}),
        },
        _NO_ONLOAD_INTERFACES,
    ),
    "openonload.queues": Case(
        _ONLOAD,
        _ONLOADED,
        {
            "four": _ONLOADED.but(commands={"ens5": "4"}),
            "no such interface": _ONLOADED.but(commands={"ens6": "0"}),
        },
        _NO_ONLOAD_INTERFACES,
    ),
}

CASES: dict[str, Case] = {
    **KERNEL,
    **HOST,
    **CORES,
    **PAGES,
    **DPDK,
    **XDP,
    **NICS,
    **OPENONLOAD,
    **TREX,
    **REPLAY,
}
