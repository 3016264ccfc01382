"""What a NIC loses when its driver lets go of it, and gets back from labkit.

That is ethtool's settings, MTU, MAC address, state and sysctls. It is not queueing disciplines and traffic filters. All
is about the network namespace that the calling thread is in. Addresses, routes and what is stacked on an interface
are not kept: a NIC that has some is left alone (module_utils nics of the collection).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError
from labkit.machine.interface import InterfaceTunable
from labkit.machine.roles import host_module

DEFAULT = "default"
"""As the collection's ethtool_groups has it."""
_SYSCTLS = tuple(Path("/proc/sys/net") / family / "conf" for family in ("ipv4", "ipv6"))


def capture(interface: str) -> dict[str, Any]:
    """All of it, as a JSON value."""
    return {
        "interface": {what: InterfaceTunable(interface, what).read() for what in ("mac", "state")},
        "groups": {group: _kept(interface, group) for group in host_module("ethtool_groups").GROUPS},
        "sysctls": {
            str(file): text
            for folder in _SYSCTLS
            for file in sorted((folder / interface).glob("*"))
            if (text := _read(file)) is not None
        },
    }


def put_back(interface: str, old: Mapping[str, Any]) -> list[str]:
    """Set what differs from `capture`, and read it back. Returns what could not be set."""
    groups, left = host_module("ethtool_groups"), []

    def attempt(what: str, wanted: object, read: Callable[[], object], write: Callable[[], object]) -> None:
        try:
            if _same(read(), wanted):
                return
            write()
            got = read()
        except (LabkitError, OSError, groups.EthtoolFailed) as error:
            left.append(f"{interface} {what}: {error}")
            return
        if not _same(got, wanted):
            left.append(f"{interface} {what}: wrote {wanted}, reads {got}")

    for what, value in old["interface"].items():
        tunable = InterfaceTunable(interface, what)
        attempt(what, value, tunable.read, partial(tunable.write, value))
    for group, values in old["groups"].items():
        attempt(group, values, partial(_kept, interface, group), partial(_apply, interface, group, values))
    for name, value in old["sysctls"].items():
        attempt(name, value, partial(_read, Path(name)), partial(Path(name).write_text, value))
    return left


def _same(now: object, wanted: object) -> bool:
    """Whether a setting is as wanted. One of which the driver says nothing has its default.

    vmxnet3 (Linux 6.1) knows its RSS table from the first time that its interface is up, and makes it anew each time.
    """
    if isinstance(now, Mapping) and isinstance(wanted, Mapping):
        defaults = {key: value for key, value in wanted.items() if value == DEFAULT}
        return {**defaults, **now} == wanted
    return now == wanted


def _apply(interface: str, group: str, values: Mapping[str, str]) -> None:
    """Set those of the group that differ: drivers refuse some settings even at the value that they have."""
    now = _kept(interface, group)
    differing = {key: value for key, value in values.items() if now.get(key) != value}
    host_module("ethtool_groups").GROUPS[group].apply(interface, differing)


def _kept(interface: str, group: str) -> dict[str, str]:
    """What has to be set to get the group back; empty where the driver has none of it, or ethtool is not installed."""
    groups = host_module("ethtool_groups")
    try:
        values = groups.read(interface, group)
    except groups.EthtoolFailed:
        return {}
    return {key: value.kept for key, value in values.items() if not value.fixed}


def _read(file: Path) -> str | None:
    """None: it can't be read (such as ipv6's stable_secret where none is set)."""
    try:
        return file.read_text().strip()
    except OSError:
        return None
