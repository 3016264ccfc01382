"""Ways to inject a fault and to revert it: shell scripts that run as root. Each may run twice."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.interfaces import text_of

FOLDER = "/run/labkit-fault"

Script = Callable[[Desired], str]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to make one host check fail."""

    check: str
    """Id of the host check."""
    inject: Script = lambda desired: ":"
    revert: Script = lambda desired: ":"
    wants: Callable[[Desired], Mapping[str, Any]] = lambda desired: {}
    """Other values of variables, where no command can inject the fault."""
    also: tuple[str, ...] = field(default=())
    """Ids of host checks that may fail with it."""


def keep(path: str, name: str) -> str:
    """Keep a file's text once, for `restore`."""
    return f"mkdir -p {FOLDER}; test -e {FOLDER}/{name} || cat {path} >{FOLDER}/{name}"


def restore(path: str, name: str) -> str:
    return f"if test -e {FOLDER}/{name}; then cat {FOLDER}/{name} >{path} && rm {FOLDER}/{name}; fi"


def written(
    check: str, path: str, value: str | Callable[[Desired], str], *, also: tuple[str, ...] = ()
) -> Fault:
    """Another value in a file of /proc or /sys."""
    name = check + "." + path.rpartition("/")[2]

    def inject(desired: Desired) -> str:
        text = value if isinstance(value, str) else value(desired)
        return f"{keep(path, name)}; echo {shlex.quote(text)} >{path}"

    return Fault(check=check, inject=inject, revert=lambda desired: restore(path, name), also=also)


def cover(path: str, text: str) -> str:
    """Mount a file over another: every reader sees it, and nothing else is changed."""
    name = path.strip("/").replace("/", "-")
    return (
        f"if test -e {path}; then mkdir -p {FOLDER}; echo {shlex.quote(text)} >{FOLDER}/{name}; "
        f"mount --bind {FOLDER}/{name} {path}; fi"
    )


def uncover(path: str) -> str:
    """Unmount what `cover` mounted over it, and nothing else."""
    return f"while grep -q '/labkit-fault/[^ ]* {path} ' /proc/self/mountinfo && umount {path}; do :; done"


def mount_over(folder: str) -> str:
    """Mount an empty file system over a folder."""
    return f"mount -t tmpfs labkit-fault {folder}"


def unmount(folder: str) -> str:
    """Unmount it, and nothing else."""
    return f"while grep -q '^labkit-fault {folder} ' /proc/mounts && umount {folder}; do :; done"


def emptied(check: str, folder: Callable[[Desired], str], *, also: tuple[str, ...] = ()) -> Fault:
    """An empty folder."""
    return Fault(
        check=check,
        inject=lambda desired: mount_over(folder(desired)),
        revert=lambda desired: unmount(folder(desired)),
        also=also,
    )


def covered(
    check: str, path: str, text: str | Callable[[Desired], str], *, also: tuple[str, ...] = ()
) -> Fault:
    """A file of /proc or /sys with other content."""
    return Fault(
        check=check,
        inject=lambda desired: cover(path, text if isinstance(text, str) else text(desired)),
        revert=lambda desired: uncover(path),
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
