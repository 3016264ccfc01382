"""For every promise: how to break it in effect on a host that keeps it, and how to mend it.

Three kinds: commands that really break it; a file laid over one of /proc or /sys (`cover`), where only a reboot could;
another value wanted (`wants`), where even that can't be done. Scripts run as root and may be run twice. What is to be
mended is kept below FOLDER, which a reboot clears, like everything else that is done here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit.cores import parse_list
from labkit.promises.desired import Desired
from labkit.promises.interfaces import text_of

FOLDER = "/run/labkit-sabotage"

Script = Callable[[Desired], str]


@dataclass(frozen=True, kw_only=True)
class Sabotage:
    """One way to break one promise."""

    promise: str
    breaks: Script = lambda desired: ":"
    mends: Script = lambda desired: ":"
    wants: Callable[[Desired], Mapping[str, Any]] = lambda desired: {}
    """Variables that are wanted otherwise, instead of a command."""
    also: tuple[str, ...] = field(default=())
    """Promises that may fall with it."""


def keep(path: str, name: str) -> str:
    """Keep a file's text, once, to be put back."""
    return f"mkdir -p {FOLDER}; test -e {FOLDER}/{name} || cat {path} >{FOLDER}/{name}"


def put_back(path: str, name: str) -> str:
    return f"if test -e {FOLDER}/{name}; then cat {FOLDER}/{name} >{path} && rm {FOLDER}/{name}; fi"


def written(
    promise: str, path: str, value: str | Callable[[Desired], str], *, also: tuple[str, ...] = ()
) -> Sabotage:
    """Another value in a file of /proc or /sys."""
    name = promise + "." + path.rpartition("/")[2]

    def breaks(desired: Desired) -> str:
        text = value if isinstance(value, str) else value(desired)
        return f"{keep(path, name)}; echo {shlex.quote(text)} >{path}"

    return Sabotage(promise=promise, breaks=breaks, mends=lambda desired: put_back(path, name), also=also)


def cover(path: str, text: str) -> str:
    """Lay a file over another: every reader sees it, and nothing else is changed."""
    name = path.strip("/").replace("/", "-")
    return (
        f"if test -e {path}; then mkdir -p {FOLDER}; echo {shlex.quote(text)} >{FOLDER}/{name}; "
        f"mount --bind {FOLDER}/{name} {path}; fi"
    )


def uncover(path: str) -> str:
    """Take off what was laid over it here, and nothing else."""
    return f"while grep -q '/labkit-sabotage/[^ ]* {path} ' /proc/self/mountinfo && umount {path}; do :; done"


def lay_over(folder: str) -> str:
    """An empty file system over a folder."""
    return f"mount -t tmpfs labkit-sabotage {folder}"


def lift(folder: str) -> str:
    """Take it off, and nothing else."""
    return f"while grep -q '^labkit-sabotage {folder} ' /proc/mounts && umount {folder}; do :; done"


def emptied(promise: str, folder: Callable[[Desired], str], *, also: tuple[str, ...] = ()) -> Sabotage:
    """A folder in which nothing is."""
    return Sabotage(
        promise=promise,
        breaks=lambda desired: lay_over(folder(desired)),
        mends=lambda desired: lift(folder(desired)),
        also=also,
    )


def covered(
    promise: str, path: str, text: str | Callable[[Desired], str], *, also: tuple[str, ...] = ()
) -> Sabotage:
    """A file of /proc or /sys that says something else."""
    return Sabotage(
        promise=promise,
        breaks=lambda desired: cover(path, text if isinstance(text, str) else text(desired)),
        mends=lambda desired: uncover(path),
        also=also,
    )


def _mode_back(path: str, name: str) -> str:
    return f"if test -e {FOLDER}/{name}; then chmod $(cat {FOLDER}/{name}) {path} && rm {FOLDER}/{name}; fi"


def _mode_gone(path: str, name: str) -> str:
    return (
        f"mkdir -p {FOLDER}; test -e {FOLDER}/{name} || stat -c %a {path} >{FOLDER}/{name}; chmod 0700 {path}"
    )


def _core(desired: Desired) -> str:
    return str(min(parse_list(desired.text("cpu_isolation_cpus")), default=0))


# What the kernel runs with, and what it boots next.

_VERSION, _REALTIME = "/proc/sys/kernel/version", "/sys/kernel/realtime"
_PREEMPT = "/sys/kernel/debug/sched/preempt"
_MODES = ("none", "voluntary", "full", "lazy")


def _another_kernel(desired: Desired) -> str:
    return "; ".join(
        (
            cover(_VERSION, "#1 SMP PREEMPT_DYNAMIC labkit-sabotage"),
            cover(_REALTIME, "0"),
            cover(_PREEMPT, "none (voluntary) full"),
        )
    )


def _one_value_changed(desired: Desired) -> str:
    first, *rest = desired["boot_arguments"]
    return " ".join([f"{first.partition('=')[0]}=labkit-sabotage", *rest])


_EDITENV = "$(command -v grub-editenv || command -v grub2-editenv) -"

KERNEL = (
    Sabotage(
        promise="lowlatency_kernel.flavour",
        breaks=_another_kernel,
        mends=lambda desired: "; ".join(map(uncover, (_VERSION, _REALTIME, _PREEMPT))),
        also=("lowlatency_kernel.preempt",),
    ),
    Sabotage(
        promise="lowlatency_kernel.preempt",
        wants=lambda desired: {
            "lowlatency_kernel_preempt": "none"
            if desired.text("lowlatency_kernel_preempt") != "none"
            else "full"
        },
    ),
    Sabotage(
        promise="lowlatency_kernel.release",
        wants=lambda desired: {"lowlatency_kernel_release": "0.0-labkit-sabotage"},
    ),
    covered("boot.arguments", "/proc/cmdline", _one_value_changed),
    covered("boot.arguments", "/proc/cmdline", lambda desired: " ".join(desired["boot_arguments"][1:])),
    Sabotage(
        promise="boot.default",
        breaks=lambda desired: f"{_EDITENV} set next_entry=labkit-sabotage",
        mends=lambda desired: f"{_EDITENV} unset next_entry",
    ),
)


# Users and packages.

_SUDOERS = "/etc/sudoers.d/zz-labkit-sabotage"
_STATUS = "/var/lib/dpkg/status"


def _user(desired: Desired) -> tuple[str, str]:
    return shlex.quote(desired.text("labkit_host_user")), shlex.quote(desired.text("labkit_host_group"))


def _package_gone(desired: Desired) -> str:
    """The package manager's own list, without one of them."""
    name = re.escape(desired["labkit_host_packages"][0].partition("|")[0])
    return (
        f"mkdir -p {FOLDER}; sed '/^Package: {name}$/,/^$/s/^Status: .*/Status: deinstall ok config-files/' {_STATUS} "
        f">{FOLDER}/status; mount --bind {FOLDER}/status {_STATUS}"
    )


def _of_packet_engine(desired: Desired, what: str) -> str:
    return f"for file in {desired.text('labkit_host_probe_dir')}/*/labkit-probe-packet; do setcap {what} $file; done"


HOST = (
    Sabotage(
        promise="labkit_host.user",
        breaks=lambda desired: "gpasswd --delete {} {}".format(*_user(desired)),
        mends=lambda desired: "gpasswd --add {} {}".format(*_user(desired)),
        also=("dpdk.memlock", "af_xdp.memlock"),
    ),
    Sabotage(
        promise="labkit_host.sudo",
        # The last rule that matches counts, so a file that sorts last takes away what an earlier one gave.
        breaks=lambda desired: f"umask 0337; echo {_user(desired)[0]} 'ALL=(ALL:ALL) !ALL' >{_SUDOERS}",
        mends=lambda desired: f"rm -f {_SUDOERS}",
    ),
    emptied(
        "labkit_host.probe",
        lambda desired: desired.text("labkit_host_probe_dir"),
        also=("labkit_host.capabilities",),
    ),
    Sabotage(
        promise="labkit_host.capabilities",
        breaks=lambda desired: _of_packet_engine(desired, "-r"),
        mends=lambda desired: _of_packet_engine(
            desired, f"{desired['labkit_host_engine_capabilities']['packet']}=ep"
        ),
    ),
    Sabotage(promise="labkit_host.packages", breaks=_package_gone, mends=lambda desired: uncover(_STATUS)),
)


# Isolated cores.

_CPU, _IRQ = "/sys/devices/system/cpu", "/proc/irq"


def _interrupts_there(desired: Desired) -> str:
    """Every interrupt that can be moved, to an isolated core: the one that carries this connection goes at once."""
    return (
        f"mkdir -p {FOLDER}; cd {_IRQ}; test -e {FOLDER}/irqs || grep -H '' [0-9]*/smp_affinity_list >{FOLDER}/irqs; "
        f"for file in [0-9]*/smp_affinity_list; do echo {_core(desired)} >$file; done 2>/dev/null; sleep 1"
    )


def _interrupts_back(desired: Desired) -> str:
    return (
        f"cd {_IRQ}; if test -e {FOLDER}/irqs; then while IFS=: read -r file cores; do echo $cores >$file; done "
        f"<{FOLDER}/irqs 2>/dev/null; rm {FOLDER}/irqs; fi; sleep 1"
    )


def _an_irqbalance(desired: Desired) -> str:
    """A process of that name which was told of no banned core. It does nothing, and ends by itself."""
    return (
        f"mkdir -p {FOLDER}; setsid sh -c 'printf irqbalance >/proc/$$/comm; echo $$ >{FOLDER}/irqbalance; "
        "sleep 300; :' </dev/null >/dev/null 2>&1 & sleep 0.5"
    )


def _setting(promise: str, path: str, value: str | Callable[[Desired], str]) -> Sabotage:
    return written(f"cpu_isolation.{promise}", path, value)


def _another(name: str, *values: str) -> Callable[[Desired], str]:
    """The first value that is not the wanted one."""
    return lambda desired: next(value for value in values if value != desired.text(name))


CORES = (
    covered("cpu_isolation.isolated", f"{_CPU}/isolated", ""),
    covered("cpu_isolation.isolated", f"{_CPU}/isolated", "0"),
    covered("cpu_isolation.nohz_full", f"{_CPU}/nohz_full", "(null)"),
    # RCU's threads can't be ended. Core 0 is never isolated, so it has none.
    Sabotage(promise="cpu_isolation.rcu_nocbs", wants=lambda desired: {"cpu_isolation_cpus": "0"}),
    Sabotage(promise="cpu_isolation.interrupts", breaks=_interrupts_there, mends=_interrupts_back),
    written(
        "cpu_isolation.interrupts",
        f"{_IRQ}/default_smp_affinity",
        lambda desired: f"{1 << int(_core(desired)):x}" if int(_core(desired)) < 32 else "ffffffff,ffffffff",
    ),
    Sabotage(
        promise="cpu_isolation.irqbalance",
        breaks=_an_irqbalance,
        mends=lambda desired: (
            f"if test -e {FOLDER}/irqbalance; then kill -- -$(cat {FOLDER}/irqbalance); "
            f"rm {FOLDER}/irqbalance; fi"
        ),
    ),
    _setting(
        "workqueues",
        "/sys/devices/virtual/workqueue/cpumask",
        lambda desired: f"{1 << int(_core(desired)):x}",
    ),
    _setting("watchdogs", "/proc/sys/kernel/watchdog_cpumask", _core),
    _setting(
        "vm_statistics",
        "/proc/sys/vm/stat_interval",
        _another("cpu_isolation_vm_stat_interval_s", "77", "78"),
    ),
    _setting(
        "timer_migration",
        "/proc/sys/kernel/timer_migration",
        _another("cpu_isolation_timer_migration", "0", "1"),
    ),
    _setting(
        "rt_runtime",
        "/proc/sys/kernel/sched_rt_runtime_us",
        _another("cpu_isolation_rt_runtime_us", "900000", "-1"),
    ),
    Sabotage(
        promise="cpu_isolation.governor",
        breaks=lambda desired: cover(
            f"{_CPU}/cpu{_core(desired)}/cpufreq/scaling_governor", "labkit-sabotage"
        ),
        mends=lambda desired: uncover(f"{_CPU}/cpu{_core(desired)}/cpufreq/scaling_governor"),
    ),
    Sabotage(
        promise="cpu_isolation.cstates",
        breaks=lambda desired: "; ".join(cover(path, "99") for path in _LIMITS),
        mends=lambda desired: "; ".join(map(uncover, _LIMITS)),
    ),
)
_LIMITS = tuple(f"/sys/module/{module}/parameters/max_cstate" for module in ("intel_idle", "processor"))


# Hugepages.


def _pool(desired: Desired) -> str:
    """The file of the first pool."""
    pools = desired["hugepages_pools"]
    size_kib, node = (pools[0]["size_kib"], pools[0].get("node")) if pools else (2048, None)
    above = "/sys/kernel/mm/hugepages" if node is None else f"/sys/devices/system/node/node{node}/hugepages"
    return f"{above}/hugepages-{size_kib}kB/nr_hugepages"


def _mount(desired: Desired) -> str:
    mounts = desired["hugepages_mounts"]
    return shlex.quote(mounts[0]["path"]) if mounts else "/dev/hugepages"


PAGES = (
    Sabotage(promise="hugepages.default_size", wants=lambda desired: {"hugepages_default_size_kib": 64}),
    # Laid over: pages that are given away may not be had again.
    Sabotage(
        promise="hugepages.granted",
        breaks=lambda desired: cover(_pool(desired), "1"),
        mends=lambda desired: uncover(_pool(desired)),
    ),
    emptied("hugepages.mounts", _mount, also=("hugepages.access",)),
    Sabotage(
        promise="hugepages.mounts",
        breaks=lambda desired: _mode_gone(_mount(desired), "hugepages-mode"),
        mends=lambda desired: _mode_back(_mount(desired), "hugepages-mode"),
        also=("hugepages.access",),
    ),
    Sabotage(
        promise="hugepages.access",
        breaks=lambda desired: _mode_gone(_mount(desired), "hugepages-access"),
        mends=lambda desired: _mode_back(_mount(desired), "hugepages-access"),
        also=("hugepages.mounts",),
    ),
)


# DPDK and AF_XDP.

_LIMIT = "/etc/security/limits.d/zz-labkit-sabotage.conf"


def _device(desired: Desired) -> tuple[str, str]:
    devices = desired["dpdk_devices"]
    return (devices[0]["pci"], devices[0]["driver"]) if devices else ("0000:00:00.0", "none")


def _group_node(desired: Desired) -> str:
    return f"/dev/vfio/$(basename $(readlink /sys/bus/pci/devices/{_device(desired)[0]}/iommu_group))"


def _little_memory(group: Callable[[Desired], str]) -> Script:
    """For the group's first member: a user's own line counts before a group's."""

    def script(desired: Desired) -> str:
        first = f"$(getent group {shlex.quote(group(desired))} | cut -d: -f4 | cut -d, -f1)"
        return f'echo "{first} - memlock 64" >{_LIMIT}'

    return script


def _first_setting(desired: Desired, key: str) -> tuple[str, Any]:
    """Interface and value of the first one that has this key."""
    found = [(one["name"], one[key]) for one in desired["af_xdp_interfaces"] if one.get(key) is not None]
    return found[0] if found else ("lo", 0)


def _napi(desired: Desired) -> tuple[str, str, str]:
    for key, file in (("napi_defer_hard_irqs",) * 2, ("gro_flush_timeout_ns", "gro_flush_timeout")):
        name, value = _first_setting(desired, key)
        if name != "lo":
            return name, file, str(value)
    return "lo", "napi_defer_hard_irqs", "0"


def _queues(desired: Desired) -> tuple[str, str]:
    """Command that breaks, and one that mends, what is first asked for of an interface."""
    name, mtu = _first_setting(desired, "mtu")
    if name != "lo":
        return f"ip link set {name} mtu {int(mtu) - 100}", f"ip link set {name} mtu {mtu}"
    name, queues = _first_setting(desired, "queues")
    if name != "lo":
        other = 1 if int(queues) > 1 else 2
        kinds = f"$(ethtool -l {name} | grep -q '^Combined:.[0-9]' && echo combined N || echo rx N tx N)"
        breaks, mends = (f"ethtool -L {name} {kinds.replace(' N', f' {count}')}" for count in (other, queues))
        return breaks, f"{mends} || true"
    name, features = _first_setting(desired, "features")
    return _changed("-K", name, dict(features or {"gro": "on"}))


def _changed(option: str, name: str, wanted: Mapping[str, Any]) -> tuple[str, str]:
    """ethtool's commands that set the first of these settings to another value, and back."""
    key, value = next((key, value) for key, value in wanted.items() if value is not None)
    value = text_of(value)
    other = {"on": "off", "off": "on"}.get(value) or str(int(value) // 2 or 1)
    return f"ethtool {option} {name} {key} {other}", f"ethtool {option} {name} {key} {value} || true"


_TESTPMD = "$(command -v dpdk-testpmd)"
_PC_FILE = "$(pkg-config --variable pcfiledir libxdp)/libxdp.pc"

BYPASS = (
    Sabotage(
        promise="dpdk.version",
        breaks=lambda desired: f"mount --bind /dev/null {_TESTPMD}",
        mends=lambda desired: f"umount {_TESTPMD}",
    ),
    Sabotage(
        promise="dpdk.bound",
        breaks=lambda desired: "echo {} >/sys/bus/pci/drivers/{}/unbind".format(*_device(desired)),
        mends=lambda desired: "echo {} >/sys/bus/pci/drivers/{}/bind".format(*_device(desired)),
        also=("dpdk.access",),
    ),
    Sabotage(
        promise="dpdk.bound",
        breaks=lambda desired: "echo >/sys/bus/pci/devices/{}/driver_override".format(*_device(desired)),
        mends=lambda desired: "echo {1} >/sys/bus/pci/devices/{0}/driver_override".format(*_device(desired)),
    ),
    emptied("dpdk.iommu", lambda desired: "/sys/kernel/iommu_groups"),
    Sabotage(
        promise="dpdk.access",
        breaks=lambda desired: _mode_gone(_group_node(desired), "vfio-mode"),
        mends=lambda desired: _mode_back(_group_node(desired), "vfio-mode"),
    ),
    Sabotage(
        promise="dpdk.memlock",
        breaks=_little_memory(
            lambda desired: desired.text("dpdk_group") or desired.text("labkit_host_group")
        ),
        mends=lambda desired: f"rm -f {_LIMIT}",
        also=("af_xdp.memlock",),
    ),
    emptied("af_xdp.bpffs", lambda desired: desired.text("af_xdp_bpffs")),
    Sabotage(
        promise="af_xdp.libxdp",
        breaks=lambda desired: f"mount --bind /dev/null {_PC_FILE}",
        mends=lambda desired: "umount $(grep -o ' /[^ ]*/libxdp.pc ' /proc/mounts)",
    ),
    Sabotage(
        promise="af_xdp.queues",
        breaks=lambda desired: _queues(desired)[0],
        mends=lambda desired: _queues(desired)[1],
        also=("nic_tuning.features", "nic_tuning.channels", "nic_tuning.rss"),
    ),
    Sabotage(
        promise="af_xdp.napi",
        breaks=lambda desired: "echo $(({2} + 1)) >/sys/class/net/{0}/{1}".format(*_napi(desired)),
        mends=lambda desired: "echo {2} >/sys/class/net/{0}/{1}".format(*_napi(desired)),
    ),
    written(
        "af_xdp.busy_poll",
        "/proc/sys/net/core/busy_read",
        _another("af_xdp_busy_read_us", "7", "8"),
    ),
    Sabotage(
        promise="af_xdp.memlock",
        breaks=_little_memory(lambda desired: desired.text("labkit_host_group")),
        mends=lambda desired: f"rm -f {_LIMIT}",
        also=("dpdk.memlock",),
    ),
)


# Interfaces, and what is made again at boot.

_ETHTOOL = {"rings": "-G", "coalescing": "-C", "features": "-K", "pause": "-A", "channels": "-L"}


def _tuned(group: str) -> Sabotage:
    def scripts(desired: Desired) -> tuple[str, str]:
        for one in desired["nic_tuning_interfaces"]:
            if one.get(group):
                return _changed(_ETHTOOL[group], one["name"], one[group])
        return "false", "true"

    return Sabotage(
        promise=f"nic_tuning.{group}",
        breaks=lambda desired: scripts(desired)[0],
        mends=lambda desired: scripts(desired)[1],
        also=tuple(f"nic_tuning.{other}" for other in ("rss", "rings", "coalescing") if other != group),
    )


def _rss(desired: Desired) -> tuple[str, str]:
    found = [(one["name"], one["rss"]) for one in desired["nic_tuning_interfaces"] if one.get("rss")]
    name, wanted = found[0] if found else ("lo", {"indirection": "default"})
    return f"ethtool -X {name} equal 1", f"ethtool -X {name} {wanted['indirection']}"


NICS = (
    *(_tuned(group) for group in _ETHTOOL),
    Sabotage(
        promise="nic_tuning.rss",
        breaks=lambda desired: _rss(desired)[0],
        mends=lambda desired: _rss(desired)[1],
    ),
    Sabotage(
        promise="replay.unit",
        breaks=lambda desired: "systemctl disable --quiet labkit-host.service",
        mends=lambda desired: "systemctl enable --quiet labkit-host.service",
    ),
)

SABOTAGES: tuple[Sabotage, ...] = (*KERNEL, *HOST, *CORES, *PAGES, *BYPASS, *NICS)
