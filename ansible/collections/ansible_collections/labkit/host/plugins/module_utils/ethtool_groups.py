"""The groups of settings that an interface has, each with the command that reads it and the one that sets it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import digits, ethtool_text
from .ethtool_text import Value, Values
from .programs import environment


class EthtoolFailed(Exception):
    """The driver, or ethtool, said no; or what it said yes to did not come about. The old values are in effect."""


class EthtoolMissing(EthtoolFailed):
    """ethtool is not installed."""


class NoWords(EthtoolFailed):
    """The value in effect could not be restored: ethtool has no words for it."""


class NotRestored(EthtoolFailed):
    """The same, and the old values could not be restored either."""


@dataclass(frozen=True)
class Group:
    """Settings that are set at once."""

    read: Callable[[str], Values]
    """Of an interface."""
    apply: Callable[[str, Mapping[str, str]], None]
    """Sets these values of an interface. Raises EthtoolFailed."""
    meant: Callable[[str, Mapping[str, str]], dict[str, str]] = lambda name, wanted: dict(wanted)
    """What was asked for, in the keys and words of `read`. Raises EthtoolFailed."""


def _mtu(name: str) -> Values:
    [link] = json.loads(run(["ip", "-json", "link", "show", "dev", name]))
    return {"mtu": Value(str(link["mtu"]), str(link["mtu"]))}


def _set_mtu(name: str, values: Mapping[str, str]) -> None:
    run(["ip", "link", "set", "dev", name, "mtu", values["mtu"]])


NET = Path("/sys/class/net")
_NAPI = ("napi_defer_hard_irqs", "gro_flush_timeout", "threaded")
_THREADED = {"0": "off", "1": "on"}


def _napi(name: str) -> Values:
    """The kernel's polling: these are files, which ethtool does not know."""
    found: Values = {}
    for key in _NAPI:
        file = NET / name / key
        if file.exists():
            now = file.read_text().strip()
            now = _THREADED.get(now, now) if key == "threaded" else now
            found[key] = Value(now, now)
    return found


def _set_napi(name: str, values: Mapping[str, str]) -> None:
    words = {word: digit for digit, word in _THREADED.items()}
    for key, value in values.items():
        try:
            (NET / name / key).write_text((words.get(value, value) if key == "threaded" else value) + "\n")
        except OSError as error:
            raise EthtoolFailed(f"{NET / name / key}: writing {value} failed: {error.strerror}") from error


def _channels_meant(name: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """`queues` is what the driver has: combined channels, or as many to receive as to send."""
    asked = dict(wanted)
    queues = asked.pop("queues", None)
    if queues is None:
        return asked
    combined = "combined" in ethtool_text.labelled(run(["ethtool", "-l", name]))
    return {**dict.fromkeys(("combined",) if combined else ("rx", "tx"), queues), **asked}


def _show(option: str, parse: Callable[[str], Values]) -> Callable[[str], Values]:
    return lambda name: parse(run(["ethtool", option, name]))


def _set(option: str) -> Callable[[str, Mapping[str, str]], None]:
    def apply(name: str, values: Mapping[str, str]) -> None:
        run(["ethtool", option, name, *(word for pair in values.items() for word in pair)])

    return apply


def _set_features(name: str, values: Mapping[str, str]) -> None:
    short = {printed: word for word, printed in ethtool_text.FEATURES.items()}
    _set("-K")(name, {short.get(key, key): value for key, value in values.items()})


def _features_meant(name: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """A word for several features means each that the driver lets be changed: so each is restored as it was."""
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
        raise NoWords(
            f"{name}: its RSS table could not be reverted, since ethtool has no words for it: not changed ({shown})"
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


def _set_rss(name: str, values: Mapping[str, str]) -> None:
    run(["ethtool", "-X", name, *values["indirection"].split()])


GROUPS: dict[str, Group] = {
    "mtu": Group(_mtu, _set_mtu),
    "channels": Group(_show("-l", ethtool_text.labelled), _set("-L"), _channels_meant),
    "rings": Group(_show("-g", ethtool_text.labelled), _set("-G")),
    "features": Group(
        _show("-k", lambda text: ethtool_text.features(text)[0]), _set_features, _features_meant
    ),
    "coalescing": Group(_show("-c", ethtool_text.coalescing), _set("-C")),
    "pause": Group(_show("-a", ethtool_text.labelled), _set("-A")),
    "rss": Group(_rss, _set_rss, _rss_meant),
    "napi": Group(_napi, _set_napi),
}
"""In the order in which they are set. Another MTU, channels, rings and features restart the device on many drivers, and
a restart with other channels makes rings, their moderation and the RSS table anew: so those come after the channels."""

_REMADE = ("rings", "coalescing", "rss")


def is_down(name: str) -> bool:
    """Whether nobody has brought the interface up (IFF_UP)."""
    try:
        return not int((NET / name / "flags").read_text(), 16) & 1
    except OSError:
        return False


def read(name: str, group: str) -> Values:
    """The settings that the driver has. Raises EthtoolFailed."""
    with _plainly(name, group):
        return GROUPS[group].read(name)


def remade(name: str) -> dict[str, dict[str, str]]:
    """What other channels make anew, as it is to be set to get it back. Raises NoWords."""
    found = {}
    for group in _REMADE:
        try:
            values = read(name, group)
        except NoWords:
            raise
        except EthtoolFailed:
            continue  # the driver has none
        found[group] = {key: value.kept for key, value in values.items() if not value.fixed}
    return found


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
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env=environment()
        )
    except FileNotFoundError as error:
        raise EthtoolMissing(f"{command[0]} is not installed: role labkit_host installs it") from error
    except subprocess.TimeoutExpired as error:
        raise EthtoolFailed(f"{' '.join(command)}: no answer within 60 s") from error
    if done.returncode:
        said = re.sub(r"^netlink error: ", "", done.stderr.strip() or done.stdout.strip(), flags=re.MULTILINE)
        raise EthtoolFailed(f"{' '.join(command)}: {said or f'exit code {done.returncode}'}")
    return done.stdout


LEAST_MTU = 68
"""Bytes that IPv4 asks of every link (RFC 791)."""


def slip(group: str, key: str, value: str) -> str | None:
    """Why no driver takes the value; None: one may."""
    if group == "features" and value not in ("on", "off"):
        return f"{group} {key} {value}: expected on or off"
    number = digits.whole(value)
    if group == "mtu" and number is not None and number < LEAST_MTU:
        return f"{key} {value}: expected at least {LEAST_MTU} bytes, or leave it out"
    if re.fullmatch(r"-\d+", value, re.ASCII):
        return f"{group} {key} {value}: expected 0 or more"
    return None


def text_of(value: Any) -> str:  # noqa: ANN401 (what YAML made of it)
    """As ethtool spells it: YAML makes true of "on" and false of "off"."""
    return ("off", "on")[value] if isinstance(value, bool) else str(value)
