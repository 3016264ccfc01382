"""Ways to break a promise, each with the way to mend it. Scripts of a shell that runs as root; all may be run twice."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.interfaces import text_of

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


def mode_back(path: str, name: str) -> str:
    return f"if test -e {FOLDER}/{name}; then chmod $(cat {FOLDER}/{name}) {path} && rm {FOLDER}/{name}; fi"


def mode_gone(path: str, name: str) -> str:
    return (
        f"mkdir -p {FOLDER}; test -e {FOLDER}/{name} || stat -c %a {path} >{FOLDER}/{name}; chmod 0700 {path}"
    )


def another(name: str, *values: str) -> Callable[[Desired], str]:
    """The first value that is not the wanted one."""
    return lambda desired: next(value for value in values if value != desired.text(name))


def changed(option: str, name: str, wanted: Mapping[str, Any]) -> tuple[str, str]:
    """ethtool's commands that set the first of these settings to another value, and all of them back."""
    asked = {key: text_of(value) for key, value in wanted.items() if value is not None}
    key, value = next(iter(asked.items()))
    other = {"on": "off", "off": "on"}.get(value) or str(int(value) // 2 or 1)
    all_of_them = " ".join(f"{key} {value}" for key, value in asked.items())
    return f"ethtool {option} {name} {key} {other}", f"ethtool {option} {name} {all_of_them} || true"
