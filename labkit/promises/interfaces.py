"""Settings of network interfaces as they are in effect, read by what `ethtool` and /sys tell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.promises.eyes import Eyes, Said
from labkit.promises.roles import host_module

_OPTIONS = {"channels": "-l", "rings": "-g", "features": "-k", "coalescing": "-c", "pause": "-a", "rss": "-x"}
"""Group of settings to the option of ethtool that shows it."""

Difference = tuple[str, str, str]
"""What, expected, found."""


def text_of(value: object) -> str:
    """As ethtool spells it: YAML makes true of "on" and false of "off"."""
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def differences(eyes: Eyes, wanted: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Difference]:
    """Of interface to group to key to value: each with what is in effect."""
    asked = [(name, group) for name, groups in wanted.items() for group in groups if groups[group]]
    commands = {
        f"{name} {group}": f"cat /sys/class/net/{shlex.quote(name)}/mtu"
        if group == "mtu"
        else f"ethtool {_OPTIONS[group]} {shlex.quote(name)}"
        for name, group in asked
    }
    said = eyes.look(commands=commands).commands
    found: list[Difference] = []
    for name, group in asked:
        found += _of_group(name, group, wanted[name][group], said[f"{name} {group}"])
    return found


def _of_group(name: str, group: str, wanted: Mapping[str, Any], said: Said) -> list[Difference]:
    values = _values(group, wanted, said.out) if said.code == 0 else {}
    missing = "not told" if said.code == 0 else said.out or f"exit code {said.code}"
    return [
        (f"{name} {group} {key}", text_of(value), values.get(key, missing)) for key, value in wanted.items()
    ]


def _values(group: str, wanted: Mapping[str, Any], text: str) -> dict[str, str]:
    """The wanted keys, with what is in effect in the words of the wanted."""
    reader = host_module("ethtool_text")
    if group == "mtu":
        return {"mtu": text}
    if group == "rss":
        return _rss(reader.indirection(text), wanted)
    if group == "features":
        found, members = reader.features(text)
        return {
            key: word
            for key in wanted
            if (word := _feature(key, wanted[key], found, members, reader.FEATURES))
        }
    parse = reader.coalescing if group == "coalescing" else reader.labelled
    return {key: value.now for key, value in parse(text).items()}


def _feature(
    key: str,
    wanted: object,
    found: Mapping[str, Any],
    members: Mapping[str, Sequence[str]],
    names: Mapping[str, str],
) -> str | None:
    """A word may stand for several features: it is what it was set to when all that can be changed are."""
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
