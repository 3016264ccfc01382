"""The groups of settings that an interface has, each with the command that reads it and the one that sets it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import ethtool_text
from .ethtool_text import Value, Values


class EthtoolFailed(Exception):
    """The driver, or ethtool, said no; or what it said yes to did not come about. The old values are in effect."""


class NotPutBack(EthtoolFailed):
    """The same, and the old values could not be put back either."""


@dataclass(frozen=True)
class Group:
    """Settings that are set by one command."""

    read: Callable[[str], Values]
    """Of an interface."""
    command: Callable[[str, Mapping[str, str]], list[str]]
    """What sets these values of an interface."""
    meant: Callable[[str, Mapping[str, str]], dict[str, str]] = lambda name, wanted: dict(wanted)
    """What was asked for, in the keys and words of `read`. Raises EthtoolFailed."""


def _mtu(name: str) -> Values:
    [link] = json.loads(run(["ip", "-json", "link", "show", "dev", name]))
    return {"mtu": Value(str(link["mtu"]), str(link["mtu"]))}


def _set_mtu(name: str, values: Mapping[str, str]) -> list[str]:
    return ["ip", "link", "set", "dev", name, "mtu", values["mtu"]]


def _show(option: str, parse: Callable[[str], Values]) -> Callable[[str], Values]:
    return lambda name: parse(run(["ethtool", option, name]))


def _set(option: str) -> Callable[[str, Mapping[str, str]], list[str]]:
    return lambda name, values: ["ethtool", option, name, *(word for pair in values.items() for word in pair)]


def _set_features(name: str, values: Mapping[str, str]) -> list[str]:
    short = {printed: word for word, printed in ethtool_text.FEATURES.items()}
    return _set("-K")(name, {short.get(key, key): value for key, value in values.items()})


def _features_meant(name: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """A word for several features means each that the driver lets be changed: so each is put back as it was."""
    found, members = ethtool_text.features(run(["ethtool", "-k", name]))
    meant: dict[str, str] = {}
    for word, value in wanted.items():
        printed = ethtool_text.FEATURES.get(word, word)
        free = [member for member in members.get(printed, []) if not found[member].fixed]
        if printed in members and not free and any(found[one].now != value for one in members[printed]):
            raise EthtoolFailed(
                f"{name}: feature {word} is fixed by the driver, so it cannot be turned {value}"
            )
        meant.update(dict.fromkeys(free if printed in members else [printed], value))
    return meant


def _rss(name: str) -> Values:
    found = ethtool_text.indirection(run(["ethtool", "-x", name]))
    if found is None:
        return {}
    words = found.words()
    if words is None:
        shown = ",".join(map(str, found.table))
        raise EthtoolFailed(
            f"{name}: its RSS table could not be put back, since ethtool has no words for it: left alone ({shown})"
        )
    return {"indirection": Value(words, words)}


def _rss_meant(name: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """In the shortest words for the same table: "equal 4" on four rings is the default."""
    found = ethtool_text.indirection(run(["ethtool", "-x", name]))
    if found is None or "indirection" not in wanted:
        return dict(wanted)
    try:
        table = found.of(wanted["indirection"])
    except ValueError as error:
        raise EthtoolFailed(f"{name}: {error}") from error
    same = ethtool_text.Indirection(table, found.rings).words()
    return {**wanted, "indirection": same or wanted["indirection"]}


def _set_rss(name: str, values: Mapping[str, str]) -> list[str]:
    return ["ethtool", "-X", name, *values["indirection"].split()]


GROUPS: dict[str, Group] = {
    "mtu": Group(_mtu, _set_mtu),
    "channels": Group(_show("-l", ethtool_text.labelled), _set("-L")),
    "rings": Group(_show("-g", ethtool_text.labelled), _set("-G")),
    "features": Group(
        _show("-k", lambda text: ethtool_text.features(text)[0]), _set_features, _features_meant
    ),
    "coalescing": Group(_show("-c", ethtool_text.coalescing), _set("-C")),
    "pause": Group(_show("-a", ethtool_text.labelled), _set("-A")),
    "rss": Group(_rss, _set_rss, _rss_meant),
}
"""In the order in which they are set. Channels, rings and features restart the device on many drivers, and a restart
with other channels makes the rings and their moderation anew: those come after. RSS spreads over channels, so last;
pause before it, for the link that it may negotiate anew is up again by then."""


def read(name: str, group: str) -> Values:
    """The settings that the driver has. Raises EthtoolFailed."""
    with _plainly(name, group):
        return GROUPS[group].read(name)


def meant(name: str, group: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """What was asked for, in the keys and words of `read`. Raises EthtoolFailed."""
    with _plainly(name, group):
        return GROUPS[group].meant(name, wanted)


@contextmanager
def _plainly(name: str, group: str) -> Iterator[None]:
    try:
        yield
    except EthtoolFailed as error:
        if "not supported" not in str(error):
            raise
        raise EthtoolFailed(f"{name}: its driver has no {group} that could be set ({error})") from error


def run(command: list[str]) -> str:
    """Its output. Raises EthtoolFailed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError as error:
        raise EthtoolFailed(f"{command[0]} is not installed: role labkit_host installs it") from error
    except subprocess.TimeoutExpired as error:
        raise EthtoolFailed(f"{' '.join(command)}: no answer within 60 s") from error
    if done.returncode:
        said = re.sub(r"^netlink error: ", "", done.stderr.strip() or done.stdout.strip(), flags=re.MULTILINE)
        raise EthtoolFailed(f"{' '.join(command)}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def text_of(value: Any) -> str:  # noqa: ANN401 (what YAML made of it)
    """As ethtool spells it: YAML makes true of "on" and false of "off"."""
    return ("off", "on")[value] if isinstance(value, bool) else str(value)
