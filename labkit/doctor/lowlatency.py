"""Attempts at measuring the host itself: the tools run for a moment, the kernel's tracers are looked up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from labkit.doctor.model import Unavailable
from labkit.errors import LabkitError
from labkit.lowlatency.tools import hwlatdetect, running
from labkit.lowlatency.tools.rt_tests import PACKAGE
from labkit.machine import fix

_SHOWN = 200
_TRACEFS = Path("/sys/kernel/tracing")
_MOUNTS = Path("/proc/mounts")
_KERNEL = "none on this kernel: boot one with {config} (Debian 12: the real-time kernel, not the generic one)"


def _binary(name: str, package: str) -> str:
    try:
        return running.binary(name, package=package)
    except LabkitError as error:
        raise Unavailable(error.message, fix=error.hint) from None


def _try(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=5)
    if done.returncode != 0:
        lines = (line.removeprefix("ERROR:").strip() for line in (done.stderr or done.stdout).splitlines())
        output = " ".join(filter(None, lines)) or "no output"
        raise Unavailable(f"exit code {done.returncode}: {output[-_SHOWN:]}")


def cyclictest_runs() -> str:
    """Ten wake-ups of a thread of SCHED_FIFO with its memory locked."""
    binary = _binary("cyclictest", PACKAGE)
    _try(binary, "-q", "-m", "-t1", "--policy=fifo", "-p95", "-i200", "-l10")
    return "a SCHED_FIFO 95 thread woke up ten times"


def oslat_runs() -> str:
    """A busy loop of the shortest time that oslat accepts: it locks its memory, which not everyone may."""
    core = max(os.sched_getaffinity(0))
    _try(_binary("oslat", PACKAGE), "-q", "-D1", "-c", str(core), "-C", str(core))
    return f"a busy loop ran on core {core} for 1 s"


def _tracer(name: str, config: str) -> None:
    """The kernel has this tracer. The child's new /sys has no tracefs: mount it there, for this process alone."""
    listed = _TRACEFS / "available_tracers"
    if not listed.exists():
        argv = ["mount", "-t", "tracefs", "tracefs", str(_TRACEFS)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"tracefs cannot be mounted: {done.stderr.strip().splitlines()[0]}")
    available = listed.read_text().split()
    if name not in available:
        raise Unavailable(
            f"the kernel has no tracer {name}; it has {', '.join(available)}",
            fix=_KERNEL.format(config=config),
        )


def _debugfs() -> None:
    """The machine has debugfs where hwlatdetect expects it: /proc/mounts also lists what the new /sys hides."""
    where = str(hwlatdetect.TRACING.parent)
    mounted = [line.split()[1:3] for line in _MOUNTS.read_text().splitlines()]
    if [where, "debugfs"] not in mounted:
        raise Unavailable(
            f"no debugfs on {where}, where hwlatdetect expects it",
            fix=fix.as_root(f"mount -t debugfs none {where}"),
        )


def hwlat() -> str:
    """The program and the tracer that it drives; enabling the tracer would disturb the whole machine."""
    _binary("hwlatdetect", PACKAGE)
    _debugfs()
    _tracer("hwlat", "CONFIG_HWLAT_TRACER=y")
    return "hwlatdetect and the hwlat tracer are available"


def timerlat() -> str:
    """The program and the tracer that it drives."""
    _binary("rtla", "rtla")
    _tracer("timerlat", "CONFIG_TIMERLAT_TRACER=y")
    return "rtla and the timerlat tracer are available"
