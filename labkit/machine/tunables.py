"""Settings of the machine: read, journalled, written, read back, restored. Nothing else changes what outlives a lab.

A tunable can be recreated from its journal line in a new process, so that `labkit down` reverts it after a kill -9.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from labkit.errors import EnvironmentBroken, LabkitBug
from labkit.machine import fix
from labkit.machine.journal import Entry, Journal
from labkit.machine.process import Identity

_COME_BACK_S = 5.0
"""How long a setting may take to revert (hugepages of processes that are just ending)."""


class Tunable(Protocol):
    """One setting that outlives the process that changes it."""

    kind: ClassVar[str]

    def describe(self) -> dict[str, Any]:
        """What the journal keeps of it; `tunable_from` reads it."""
        ...

    def read(self) -> str:
        """The value now."""
        ...

    def write(self, value: str) -> None:
        """Set it. `read` reports the value that the kernel took."""
        ...

    def restore(self, old: str, new: str) -> str | None:
        """Set it back to `old` if it still is what labkit set; None when done, else why it was left."""
        ...


@dataclass(frozen=True, slots=True)
class FileTunable:
    """A file of /proc/sys or /sys that reads back what was written."""

    kind: ClassVar[str] = "file"
    path: Path

    def describe(self) -> dict[str, Any]:
        """See Tunable."""
        return {"kind": self.kind, "path": str(self.path)}

    def read(self) -> str:
        """See Tunable."""
        return self.path.read_text().strip()

    def write(self, value: str) -> None:
        """See Tunable."""
        self.path.write_text(value)

    def restore(self, old: str, new: str) -> str | None:
        """See Tunable. Where its folder is gone, so is the device that it was of, and the setting with it."""
        if not self.path.parent.exists():
            return None
        now = self.read()
        if now == old:
            return None
        if now != new:
            return _changed_since(self.path, old=old, new=new, now=str(now))
        self.write(old)
        got = self.read()
        return None if got == old else f"{self.path}: wrote {old}, reads {got}"


@dataclass(frozen=True, slots=True)
class HugepagesTunable:
    """Number of hugepages of the default size. The kernel may grant fewer than asked for."""

    kind: ClassVar[str] = "hugepages"
    path: Path = Path("/proc/sys/vm/nr_hugepages")

    def describe(self) -> dict[str, Any]:
        """See Tunable."""
        return {"kind": self.kind, "path": str(self.path)}

    def read(self) -> str:
        """See Tunable."""
        return self.path.read_text().strip()

    def write(self, value: str) -> None:
        """See Tunable."""
        self.path.write_text(value)

    def restore(self, old: str, new: str) -> str | None:
        """See Tunable. Any number above the old one, up to what was asked for, is labkit's: a grant may fall short.

        Pages still in use stay until their process is gone; it is given a moment.
        """
        now = int(self.read())
        if now == int(old):
            return None
        if not int(old) < now <= int(new):
            return _changed_since(self.path, old=old, new=new, now=str(now))
        self.write(old)
        end = time.monotonic() + _COME_BACK_S
        while self.read() != old and time.monotonic() < end:
            time.sleep(0.01)
        got = self.read()
        return None if got == old else f"{self.path}: wrote {old}, reads {got}: pages are still in use"


@dataclass(frozen=True, slots=True)
class ProcessTunable:
    """A process that holds a namespace: "running" or "gone"."""

    kind: ClassVar[str] = "process"
    identity: Identity

    def describe(self) -> dict[str, Any]:
        """See Tunable."""
        return {"kind": self.kind, "pid": self.identity.pid, "start_ticks": self.identity.start_ticks}

    def read(self) -> str:
        """See Tunable."""
        return "running" if self.identity.alive else "gone"

    def write(self, value: str) -> None:
        """See Tunable. It can only be ended."""
        if value != "gone":
            raise LabkitBug(f"a process cannot be made to be {value!r}")
        self.identity.kill()

    def restore(self, old: str, new: str) -> str | None:
        """See Tunable."""
        netns = network_namespace(self.identity.pid) if self.identity.alive else None
        self.write("gone")
        if self.read() != "gone":
            return f"process {self.identity.pid} could not be ended"
        return _still_inside(netns) if netns is not None else None


@dataclass(frozen=True, slots=True)
class LeftoverTunable:
    """A file or an empty folder that a tool makes and removes again, unless it is killed: "there" or "gone"."""

    kind: ClassVar[str] = "leftover"
    path: Path

    def describe(self) -> dict[str, Any]:
        """See Tunable."""
        return {"kind": self.kind, "path": str(self.path)}

    def read(self) -> str:
        """See Tunable."""
        return "there" if self.path.exists() or self.path.is_symlink() else "gone"

    def write(self, value: str) -> None:
        """See Tunable. It can only be removed."""
        if value != "gone":
            raise LabkitBug(f"what a tool left cannot be made to be {value!r}")
        if self.path.is_dir() and not self.path.is_symlink():
            self.path.rmdir()  # a folder of tracefs goes with all that the kernel shows in it
        else:
            self.path.unlink(missing_ok=True)

    def restore(self, old: str, new: str) -> str | None:
        """See Tunable. What was there before the tool started is not removed."""
        if old == "there" or self.read() == "gone":
            return None
        self.write("gone")
        return None if self.read() == "gone" else f"{self.path} cannot be removed"


@dataclass(frozen=True, slots=True)
class ToolTunable(FileTunable):
    """A file of /sys that a tool sets, to any value, and restores unless it is killed."""

    kind: ClassVar[str] = "tool"

    def restore(self, old: str, new: str) -> str | None:
        """See Tunable. Any other value is the tool's: nobody else changes it meanwhile."""
        if self.read() == old:
            return None
        self.write(old)
        got = self.read()
        return None if got == old else f"{self.path}: wrote {old}, reads {got}"


def _changed_since(path: Path, *, old: str, new: str, now: str) -> str:
    return f"{path} was set to {new} by labkit and is {now} now: changed by another program, not reverted to {old}"


def network_namespace(pid: int | str) -> int | None:
    """The inode number of a process's network namespace; None where it is gone (or not ours to see)."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None


def _still_inside(netns: int) -> str | None:
    """The processes that keep a namespace alive after its holder has ended and a moment has passed."""
    end = time.monotonic() + 1.0
    while True:
        pids = [
            p.name for p in Path("/proc").iterdir() if p.name.isdigit() and network_namespace(p.name) == netns
        ]
        if not pids:
            return None
        if time.monotonic() > end:
            return (
                f"its network namespace is kept by process {', '.join(pids)}: end it (kill {' '.join(pids)})"
            )
        time.sleep(0.01)


def tunable_from(described: Mapping[str, Any]) -> Tunable:
    """The tunable of a journal line. Raises LabkitBug for one that no version of labkit wrote."""
    match described.get("kind"):
        case FileTunable.kind:
            return FileTunable(Path(described["path"]))
        case LeftoverTunable.kind:
            return LeftoverTunable(Path(described["path"]))
        case ToolTunable.kind:
            return ToolTunable(Path(described["path"]))
        case HugepagesTunable.kind:
            return HugepagesTunable(Path(described["path"]))
        case ProcessTunable.kind:
            return ProcessTunable(Identity(described["pid"], described["start_ticks"]))
        case "interface":
            from labkit.machine.interface import InterfaceTunable  # pyroute2 takes long to import

            return InterfaceTunable(described["interface"], described["what"], described["subject"])
        case "link-local":
            from labkit.machine.interface import LinkLocalTunable

            return LinkLocalTunable(described["interface"])
        case "driver":
            from labkit.machine.pci_driver import PciDriverTunable

            return PciDriverTunable(described["pci"], described["before"])
        case "service":
            from labkit.machine.service import ServiceTunable

            return ServiceTunable(described["unit"], tuple(described["files"]), described["prefix"])
    raise LabkitBug(f"the journal names an unknown kind of tunable: {dict(described)}")


def turn(tunable: Tunable, value: str, *, journal: Journal, lab: str) -> Entry:
    """Change a setting for longer than this process: journalled before it is written.

    Raises EnvironmentBroken when the kernel refuses, or grants something else; then it is back as it was.
    """
    old = tunable.read()
    entry = journal.begin(lab=lab, tunable=tunable.describe(), old=old, new=value)
    try:
        try:
            tunable.write(value)
        except OSError as error:
            raise EnvironmentBroken(
                f"{title(tunable.describe())}: {error.strerror}", hint=fix.again_as_root()
            ) from error
        got = tunable.read()
        if got != value:
            raise EnvironmentBroken(
                f"{title(tunable.describe())}: wrote {value}, read back {got} (it was {old})"
            )
    except BaseException:
        undo(entry, journal=journal)
        raise
    return entry


def title(described: Mapping[str, Any]) -> str:
    """A setting as people call it: its path, an interface's ("eth1 mtu"), a NIC's driver, a process or a unit."""
    if "pid" in described:
        return f"process {described['pid']}"
    if "interface" in described:
        return " ".join(filter(None, (described[key] for key in ("interface", "what", "subject"))))
    if "pci" in described:
        return f"driver of {described['pci']}"
    if "unit" in described:
        return f"unit {described['unit']}"
    return str(described.get("path") or dict(described))


def undo(entry: Entry, *, journal: Journal) -> str | None:
    """Change a setting back and close its journal line; None when done, else why it was left."""
    left = tunable_from(entry.tunable).restore(entry.old, entry.new)
    journal.end(entry)
    return left
