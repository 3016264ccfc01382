"""What the package managers of the distributions have in common: what is asked of them, and how they fail."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .programs import environment

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*[A-Za-z0-9+](:[a-z0-9]+)?")
"""No trailing "-" or ".": apt takes the one for an order to remove the package, and the other for a pattern."""
_LONGEST_S = 7200
"""Installing a kernel under emulation takes half an hour; whatever takes four times that hangs."""
_ENVIRONMENT = {
    "LC_ALL": "C",  # messages are parsed
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",  # else it restarts services that have nothing to do with us
}


class PackagesRefused(Exception):
    """Packages cannot be installed or removed; the message says why and what to do."""


class PackageUnknown(PackagesRefused):
    """No package of that name in the index that this host has."""


class IndexOutdated(PackagesRefused):
    """The index names a file that the archive no longer has."""


@dataclass(frozen=True)
class Plan:
    """What the package manager itself says that it would do."""

    added: tuple[str, ...] = ()
    """Not installed before: what was asked for, and what comes with it."""
    upgraded: tuple[str, ...] = ()
    """Installed before in another version."""
    removed: tuple[str, ...] = ()


class Manager(Protocol):
    """What labkit asks of a package manager. All methods raise PackagesRefused."""

    name: str

    def missing(self, names: Sequence[str], files: Sequence[str]) -> list[str]:
        """What of it is not installed, as `plan` and `install` take it."""

    def broken(self, *, triggers: bool) -> list[str]:
        """Packages in the midst of an installation or removal that was broken off, as "name (state)".

        With `triggers` also those that are installed and have something to do for another one.
        """

    def wait(self) -> None:
        """Until no other package manager is at work: what that one has half installed is no wreck."""

    def repair(self, ours: Collection[str]) -> None:
        """Go on with it, as far as that goes without what is to be installed next.

        Of what was half unpacked, those that are ours are removed: they are installed anew.
        """

    def plan(self, wanted: Sequence[str]) -> Plan:
        """What installing would do."""

    def update(self, scratch: Path | None) -> None:
        """Fetch the index; into this folder, to look at only, where one is given."""

    def room(self, names: Sequence[str]) -> None:
        """Refuse what has no room on the disk."""

    def install(self, wanted: Sequence[str]) -> None:
        """Install, and never remove."""

    def present(self, names: Collection[str]) -> list[str]:
        """Those of which anything is on the disk, if only half of it."""

    def versions(self, names: Collection[str]) -> dict[str, str]:
        """Of those that are installed."""

    def configured(self, names: Collection[str]) -> list[str]:
        """Those that are not installed, but whose configuration is on the disk (only Debian leaves it there)."""

    def plan_removal(self, names: Sequence[str]) -> Plan:
        """What removing would do."""

    def remove(self, names: Sequence[str], *, purge: Sequence[str]) -> None:
        """Remove the names, then the configuration of those in `purge`."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    command: tuple[str, ...]
    code: int
    printed: str
    """What was asked for."""
    warned: str = ""
    """What it had to say besides; dpkg warns of each file that a killed one left."""

    @property
    def output(self) -> str:
        """Both."""
        return self.printed + self.warned


def run(*command: str) -> Done:
    """Run it without a terminal, in plain English. Raises PackagesRefused where it is not there or hangs."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_LONGEST_S,
            env={**environment(), **_ENVIRONMENT, **_if_not_by_sudo()},
        )
    except FileNotFoundError as error:
        raise PackagesRefused(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise PackagesRefused(f"{' '.join(command)}: not done after {_LONGEST_S} s; stopped") from error
    return Done(command, done.returncode, done.stdout, done.stderr)


def _if_not_by_sudo() -> dict[str, str]:
    """The package sudo refuses to go where root has no password; who came without sudo gets in again without it."""
    return {} if "SUDO_UID" in os.environ else {"SUDO_FORCE_REMOVE": "yes"}


def command_of(pid: int, root: Path = Path("/")) -> str:
    """Command line of a process, for messages."""
    try:
        words = (root / "proc" / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    return b" ".join(words).decode(errors="replace").strip() or "?"
