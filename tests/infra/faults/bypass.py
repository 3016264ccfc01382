"""DPDK and AF_XDP."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.dpdk import devices

from .ways import Fault, Script, changed, emptied, mode_back, mode_gone

_LIMIT = "/etc/security/limits.d/zz-labkit-fault.conf"


def _device(desired: Desired) -> tuple[str, str]:
    return next(iter(devices(desired)), ("0000:00:00.0", "none"))


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


def _busy(desired: Desired) -> tuple[str, str]:
    """File and value of the first that is wanted."""
    for name, file in (("af_xdp_busy_read_us", "busy_read"), ("af_xdp_busy_poll_us", "busy_poll")):
        if desired.text(name):
            return f"/proc/sys/net/core/{file}", desired.text(name)
    return "/dev/null", "0"


def _queues(desired: Desired) -> tuple[str, str]:
    """Commands that change and restore an MTU or feature that is asked for; ":" where neither is."""
    name, mtu = _first_setting(desired, "mtu")
    if name != "lo":
        return f"ip link set {name} mtu {int(mtu) - 100}", f"ip link set {name} mtu {mtu}"
    name, features = _first_setting(desired, "features")
    return changed("-K", name, features) if features else (":", ":")


def _more_queues(desired: Desired) -> dict[str, Any]:
    """NICs that have one queue can't be given another number, so another is wanted."""
    if _queues(desired)[0] != ":":
        return {}
    asked = [{**one, "queues": (one.get("queues") or 0) + 1} for one in desired["af_xdp_interfaces"]]
    return {"af_xdp_interfaces": asked}


_TESTPMD = "$(command -v dpdk-testpmd)"
_PC_FILE = "$(pkg-config --variable pcfiledir libxdp)/libxdp.pc"

BYPASS = (
    Fault(
        check="dpdk.version",
        inject=lambda desired: f"mount --bind /dev/null {_TESTPMD}",
        # Found among the mounts: the covered file is no program, so the shell does not find it.
        revert=lambda desired: "awk '$2 ~ \"/dpdk-testpmd$\" {print $2}' /proc/mounts | xargs -r umount",
    ),
    Fault(
        check="dpdk.bound",
        inject=lambda desired: "echo {} >/sys/bus/pci/drivers/{}/unbind".format(*_device(desired)),
        revert=lambda desired: "echo {} >/sys/bus/pci/drivers/{}/bind".format(*_device(desired)),
        also=("dpdk.access",),
    ),
    Fault(
        check="dpdk.bound",
        inject=lambda desired: "echo >/sys/bus/pci/devices/{}/driver_override".format(*_device(desired)),
        revert=lambda desired: "echo {1} >/sys/bus/pci/devices/{0}/driver_override".format(*_device(desired)),
    ),
    emptied("dpdk.iommu", lambda desired: "/sys/kernel/iommu_groups"),
    Fault(
        check="dpdk.access",
        inject=lambda desired: mode_gone(_group_node(desired), "vfio-mode"),
        revert=lambda desired: mode_back(_group_node(desired), "vfio-mode"),
    ),
    Fault(
        check="dpdk.memlock",
        inject=_little_memory(
            lambda desired: desired.text("dpdk_group") or desired.text("labkit_host_group")
        ),
        revert=lambda desired: f"rm -f {_LIMIT}",
        also=("af_xdp.memlock",),
    ),
    emptied("af_xdp.bpffs", lambda desired: desired.text("af_xdp_bpffs")),
    Fault(
        check="af_xdp.libxdp",
        inject=lambda desired: f"mount --bind /dev/null {_PC_FILE}",
        revert=lambda desired: "umount $(grep -o ' /[^ ]*/libxdp.pc ' /proc/mounts)",
    ),
    Fault(
        check="af_xdp.queues",
        inject=lambda desired: _queues(desired)[0],
        revert=lambda desired: _queues(desired)[1],
        wants=_more_queues,
        also=("nic_tuning.features", "nic_tuning.channels", "nic_tuning.rss"),
    ),
    Fault(
        check="af_xdp.napi",
        inject=lambda desired: "echo $(({2} + 1)) >/sys/class/net/{0}/{1}".format(*_napi(desired)),
        revert=lambda desired: "echo {2} >/sys/class/net/{0}/{1}".format(*_napi(desired)),
    ),
    Fault(
        check="af_xdp.busy_poll",
        inject=lambda desired: "echo $(({1} + 1)) >{0}".format(*_busy(desired)),
        revert=lambda desired: "echo {1} >{0}".format(*_busy(desired)),
    ),
    Fault(
        check="af_xdp.memlock",
        inject=_little_memory(lambda desired: desired.text("labkit_host_group")),
        revert=lambda desired: f"rm -f {_LIMIT}",
        also=("dpdk.memlock",),
    ),
)
