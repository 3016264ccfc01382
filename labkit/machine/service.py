"""A unit of systemd that a lab has added in /run, as a setting that outlives labkit: it is there, or gone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from labkit.errors import EnvironmentBroken, LabkitBug

TIMEOUT_S = 180.0
"""A unit of a lab may take two minutes to start."""
_MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True, slots=True)
class ServiceTunable:
    """A unit in /run with a file of its own: "running" or "gone"."""

    kind: ClassVar[str] = "service"
    unit: str
    files: Sequence[str]
    """That go with it."""
    prefix: str = ""
    """Of names of files in hugetlbfs, which stay where it was killed."""

    def describe(self) -> dict[str, Any]:
        """See Tunable."""
        return {"kind": self.kind, "unit": self.unit, "files": list(self.files), "prefix": self.prefix}

    def read(self) -> str:
        """See Tunable."""
        there = any(Path(one).exists() for one in self.files)
        return "running" if there or _active(self.unit) else "gone"

    def write(self, value: str) -> None:
        """See Tunable. It can only be ended."""
        if value != "gone":
            raise LabkitBug(f"a unit cannot be made to be {value!r}")
        systemctl("stop", self.unit)
        systemctl("reset-failed", self.unit)
        for one in self.files:
            Path(one).unlink(missing_ok=True)
        systemctl("daemon-reload")
        for left in _left_in_hugetlbfs(self.prefix):
            left.unlink(missing_ok=True)

    def restore(self, old: str, new: str) -> str | None:
        """See Tunable. Raises EnvironmentBroken where it can't be stopped now: the journal keeps it."""
        self.write("gone")
        if self.read() != "gone":
            raise EnvironmentBroken(f"{self.unit} could not be stopped", hint=f"systemctl status {self.unit}")
        return None


def _left_in_hugetlbfs(prefix: str) -> Iterator[Path]:
    for line in _MOUNTS.read_text().splitlines() if prefix else ():
        _, place, kind, *_ = line.split()
        if kind == "hugetlbfs":
            yield from Path(place).glob(f"{prefix}map_*")


def _active(unit: str) -> bool:
    return systemctl("is-active", "--quiet", unit).returncode == 0


def systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    """What it answers. Raises EnvironmentBroken where it is not there, or takes too long."""
    command = ["systemctl", "--no-ask-password", *words]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise EnvironmentBroken(f"{' '.join(command)}: {error}") from error
