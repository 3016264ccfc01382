"""Settings of network interfaces in effect, as `ethtool` and /sys report them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.doctor.host.reader import CommandResult, HostReader, understood
from labkit.machine.roles import host_module

_OPTIONS = {"channels": "-l", "rings": "-g", "features": "-k", "coalescing": "-c", "pause": "-a", "rss": "-x"}
"""Group of settings to the option of ethtool that shows it."""
_DEVICES = "cd /sys/class/net; for name in *; do test -e $name/device && echo $name $(readlink -f $name/device); done"

Difference = tuple[str, str, str]
"""What, expected, found."""


def text_of(value: object) -> str:
    """As ethtool spells it: YAML makes true of "on" and false of "off"."""
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def differences(
    reader: HostReader, wanted: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> list[Difference]:
    """Of interface to group to key to value (None: not configured): each with the value in effect."""
    asked: list[tuple[str, str, dict[str, Any]]] = []
    for name, groups in wanted.items():
        for group, values in groups.items():
            if given := {key: value for key, value in values.items() if value is not None}:
                asked.append((name, group, given))
    names = {name: resolved(reader, name) for name, _, _ in asked}
    commands = {
        f"{name} {group}": f"cat /sys/class/net/{shlex.quote(names[name])}/mtu"
        if group == "mtu"
        else f"ethtool {_OPTIONS[group]} {shlex.quote(names[name])}"
        for name, group, _ in asked
    }
    results = reader.look(commands=commands).commands
    found: list[Difference] = []
    for name, group, given in asked:
        found += _of_group(name, group, given, results[f"{name} {group}"])
    return found


def resolved(reader: HostReader, text: str) -> str:
    """Name of the interface that the roles would select; the text itself if there is none.

    Selected by name, alias, alternative name, or PCI address in any spelling.
    """
    pci = host_module("pci")
    address = pci.address(text)
    results = reader.look(commands={"links": "ip -json link", "devices": _DEVICES}).commands
    links = (
        understood("ip -json link", results["links"].out, json.loads) if results["links"].code == 0 else []
    )
    for link in links:
        if text in (link.get("ifname"), link.get("ifalias"), *link.get("altnames", ())):
            return str(link["ifname"])
    for line in results["devices"].out.splitlines():
        name, _, device = line.partition(" ")
        # There may be a device between, such as virtio: the last address in the path counts.
        if address is not None and pci.innermost(device) == address:
            return name
    return text


def _of_group(name: str, group: str, wanted: Mapping[str, Any], result: CommandResult) -> list[Difference]:
    values = _values(group, wanted, result.out) if result.code == 0 else {}
    missing = "not reported" if result.code == 0 else result.out or f"exit code {result.code}"
    return [
        (f"{name} {group} {key}", text_of(value), values.get(key, missing)) for key, value in wanted.items()
    ]


def _values(group: str, wanted: Mapping[str, Any], text: str) -> dict[str, str]:
    """The wanted keys, with what is in effect in the words of the wanted."""
    ethtool = host_module("ethtool_text")
    if group == "mtu":
        return {"mtu": text}
    if group == "rss":
        return _rss(ethtool.indirection(text), wanted)
    if group == "features":
        found, members = ethtool.features(text)
        return {
            key: word
            for key in wanted
            if (word := _feature(key, wanted[key], found, members, ethtool.FEATURES))
        }
    parse = ethtool.coalescing if group == "coalescing" else ethtool.labelled
    values = {key: str(value.now) for key, value in parse(text).items()}
    if group == "channels":
        # What the driver has: combined ones, or as many to receive as to send.
        kinds = ("combined",) if "combined" in values else ("rx", "tx")
        counts = {values.get(kind, "none") for kind in kinds}
        values["queues"] = " and ".join(sorted(counts))
    return values


def _feature(
    key: str,
    wanted: object,
    found: Mapping[str, Any],
    members: Mapping[str, Sequence[str]],
    names: Mapping[str, str],
) -> str | None:
    """State of a feature. A name may stand for several: it has a state when all that can be changed have it."""
    printed = names.get(key, key)
    if printed not in members:
        return found[printed].now if printed in found else None
    free = {found[one].now for one in members[printed] if not found[one].fixed}
    return (
        text_of(wanted)
        if free in ({text_of(wanted)}, set())
        else ("off" if text_of(wanted) == "on" else "on")
    )


def _rss(table: Any, wanted: Mapping[str, Any]) -> dict[str, str]:  # noqa: ANN401 (an Indirection)
    if table is None:
        return {}
    words = str(wanted.get("indirection", "default"))
    same = table.table == table.of(words)
    return {"indirection": words if same else table.words() or ",".join(map(str, table.table))}
