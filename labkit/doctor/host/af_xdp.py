"""Host checks of the role af_xdp: loading and pinning of XDP programs, and the settings of interfaces for AF_XDP."""

from __future__ import annotations

import shlex
from typing import Any

from labkit.doctor.host import members
from labkit.doctor.host.desired import Desired
from labkit.doctor.host.installed import packages
from labkit.doctor.host.interfaces import differences, resolved, text_of
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed, compare
from labkit.doctor.host.reader import HostReader
from labkit.errors import ConfigInvalid
from labkit.units import parse_whole

_NAPI = {
    "napi_defer_hard_irqs": "napi_defer_hard_irqs",
    "gro_flush_timeout_ns": "gro_flush_timeout",
    "threaded": "threaded",
}
"""Key of af_xdp_interfaces to the file below /sys/class/net/NAME."""
_BUSY = {
    "af_xdp_busy_read_us": "/proc/sys/net/core/busy_read",
    "af_xdp_busy_poll_us": "/proc/sys/net/core/busy_poll",
}

_UNLIMITED = ("unlimited", "infinity", "-1")
"""As limits.conf has it."""


def _bpffs(reader: HostReader, desired: Desired) -> Outcome:
    path = desired.text("af_xdp_bpffs")
    lines = [
        line.split()
        for line in (reader.look(files=("/proc/mounts",)).text("/proc/mounts") or "").splitlines()
    ]
    found = [words[2] for words in lines if len(words) > 2 and words[1] == path]
    return compare([(path, "bpf", found[-1] if found else "not mounted")], f"{path} is a BPF file system")


def _libxdp(reader: HostReader, desired: Desired) -> Outcome:
    names = [str(name) for name in (*desired["af_xdp_packages"], *desired["af_xdp_tools_packages"])]
    if not names:
        return NotApplicable("no package is configured")
    installed = packages(reader, names)
    if isinstance(installed, Failed) or not any("libxdp" in name for name in names):
        return installed
    results = reader.look(
        commands={"libxdp": "ldconfig -p", "headers": "pkg-config --modversion libxdp"}
    ).commands
    if "libxdp.so" not in results["libxdp"].out:
        return Failed("libxdp.so among the shared libraries", "no libxdp.so in ldconfig -p")
    if results["headers"].code:
        return Failed(
            "pkg-config finds libxdp",
            results["headers"].out.splitlines()[0] if results["headers"].out else "no",
        )
    return Passed(f"libxdp {results['headers'].out}")


def _interfaces(desired: Desired) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in one.items() if value is not None}
        for one in desired["af_xdp_interfaces"]
    ]


def _queues(reader: HostReader, desired: Desired) -> Outcome:
    wanted = {
        one["name"]: {
            "channels": {"queues": one["queues"]} if "queues" in one else {},
            "features": one.get("features", {}),
            "mtu": {"mtu": one["mtu"]} if "mtu" in one else {},
        }
        for one in _interfaces(desired)
    }
    if not any(groups for by_group in wanted.values() for groups in by_group.values()):
        return NotApplicable("af_xdp_interfaces asks for no queues, features or MTU")
    found = differences(reader, wanted)
    return compare(found, ", ".join(f"{what} {value}" for what, _, value in found))


def _napi(reader: HostReader, desired: Desired) -> Outcome:
    wanted = {
        f"/sys/class/net/{resolved(reader, one['name'])}/{file}": text_of(int(one[key]))
        for one in _interfaces(desired)
        for key, file in _NAPI.items()
        if key in one
    }
    if not wanted:
        return NotApplicable("af_xdp_interfaces asks for no NAPI setting")
    facts = reader.look(files=[shlex.quote(path) for path in wanted])
    found = [(path, value, facts.text(path) or "missing") for path, value in wanted.items()]
    return compare(found, ", ".join(f"{path} {value}" for path, value, _ in found))


def _busy_poll(reader: HostReader, desired: Desired) -> Outcome:
    wanted = {file: desired.text(name) for name, file in _BUSY.items() if desired.text(name)}
    if not wanted:
        return NotApplicable("af_xdp_busy_read_us and af_xdp_busy_poll_us are empty: not configured")
    facts = reader.look(files=tuple(_BUSY.values()))
    found = [(path, value, facts.text(path) or "missing") for path, value in wanted.items()]
    return compare(found, ", ".join(f"{path} {value} us" for path, value, _ in found))


def _memlock(reader: HostReader, desired: Desired) -> Outcome:
    return memlock(reader, desired, "af_xdp_memlock_kib", desired.text("labkit_host_group"))


def memlock(reader: HostReader, desired: Desired, name: str, group: str) -> Outcome:
    """Whether a login of the group gets the limit of locked memory that the variable `name` asks for [KiB]."""
    wanted = desired.text(name)
    if not wanted:
        return NotApplicable(f"{name} is empty: not configured")
    if wanted in _UNLIMITED:
        wanted = "unlimited"
    elif parse_whole(wanted) is None:
        raise ConfigInvalid(f"{desired.host}: {name}: {wanted!r}, expected a number of KiB or unlimited")
    found = reader.look(commands={"limit": members.memlock(group)}).commands["limit"].out
    found = found.splitlines()[-1] if found else "nothing"
    if found == "nobody":
        return NotApplicable(f"group {group} has no members, so no login can be checked")
    return (
        Passed(f"{found} KiB") if members.enough(found, wanted) else Failed(f"{wanted} KiB", f"{found} KiB")
    )


HOST_CHECKS = (
    HostCheck(
        id="af_xdp.bpffs",
        text="the BPF file system is mounted, so that programs and maps can be pinned",
        check=_bpffs,
    ),
    HostCheck(
        id="af_xdp.libxdp", text="the packages that build and load XDP programs are installed", check=_libxdp
    ),
    HostCheck(
        id="af_xdp.queues", text="interfaces have the configured queues, features and MTU", check=_queues
    ),
    HostCheck(id="af_xdp.napi", text="the NAPI settings for busy polling are in effect", check=_napi),
    HostCheck(id="af_xdp.busy_poll", text="sockets busy-poll for the configured time", check=_busy_poll),
    HostCheck(
        id="af_xdp.memlock", text="a login session has the configured limit of locked memory", check=_memlock
    ),
)
