"""What is read of this machine before and after a measurement, for the gates to judge. Never during a trial."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labkit.machine.cores import parse_list
from labkit.measure.noise import CpuTicks, NoiseReading

CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
NET = Path("/sys/class/net")
COUNTERS = (
    *("rx_packets", "tx_packets", "rx_dropped", "tx_dropped", "rx_errors", "tx_errors"),
    *("rx_missed_errors", "rx_fifo_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors"),
)
"""See Documentation/networking/statistics.rst of Linux."""
STEAL_FIELD = 7  # after the name; proc_stat(5)
GUEST_FIELD = 8  # guest and guest_nice are contained in user and nice


def cpu_ticks(stat: str, cores: set[int]) -> dict[int, CpuTicks]:
    """The `cpuN` lines of /proc/stat for these cores."""
    found: dict[int, CpuTicks] = {}
    for line in stat.splitlines():
        name, _, rest = line.partition(" ")
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            fields = [int(value) for value in rest.split()]
            found[int(name[3:])] = CpuTicks(
                steal=fields[STEAL_FIELD], total=sum(fields[:GUEST_FIELD]), user=fields[0] + fields[1]
            )
    return found


def _worker_cores(worker: int) -> tuple[int, ...] | None:
    """Where the kernel lets a worker run (see `read`); None when it is gone."""
    threads = [Path(f"/proc/{worker}")] if worker > 0 else _threads(-worker)
    cores: set[int] = set()
    for thread in threads:
        try:
            text = (thread / "status").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("Cpus_allowed_list:"):
                cores |= parse_list(line.partition(":")[2])
    return tuple(sorted(cores)) or None


def _stat(pid: int) -> list[str]:
    """What follows the name in /proc/PID/stat, from field 3 on (proc_pid_stat(5)); empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


_SESSION, _UTIME, _CUTIME = 3, 11, 13


def _processes(session: int) -> list[int]:
    """The processes of a session."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in pids if (found := _stat(pid)) and int(found[_SESSION]) == session]


def _threads(session: int) -> list[Path]:
    found: list[Path] = []
    for pid in _processes(session):
        with suppress(OSError):
            found += Path(f"/proc/{pid}/task").iterdir()
    return found


def _user_ticks(worker: int) -> int:
    """User time of the process that a thread belongs to; of a session with that of its children that have ended."""
    if worker > 0:
        return int(found[_UTIME]) if (found := _stat(worker)) else 0
    fields = [_stat(pid) for pid in _processes(-worker)]
    return sum(int(found[_UTIME]) + int(found[_CUTIME]) for found in fields if found)


def _own_user(workers: Mapping[str, tuple[int, int]]) -> dict[int, int]:
    """User time by core of the workers, and of this process where it may run there."""
    own: dict[int, int] = {}
    for worker, core in workers.values():
        own[core] = own.get(core, 0) + _user_ticks(worker)
    controller = _user_ticks(os.getpid())
    for core in os.sched_getaffinity(0) & own.keys():
        own[core] += controller
    return own


def _counters(interface: str) -> dict[str, int]:
    """Counters of a NIC; without those that its driver does not have."""
    found = {}
    for name in COUNTERS:
        try:
            found[name] = int((NET / interface / "statistics" / name).read_text())
        except OSError:  # the interface is gone
            continue
    return found


def read(workers: Mapping[str, tuple[int, int]], interfaces: Iterable[str] = ()) -> NoiseReading:
    """Steal, clock source, and each worker's affinity: `workers` maps a role to (worker, intended core).

    A worker is a thread id; or, as for kill(2), a session with a minus before its id: all threads of its processes.

    `interfaces` are NICs whose counters are read.
    """
    cores = {core for _, core in workers.values()}
    allowed = {role: _worker_cores(worker) for role, (worker, _) in workers.items()}
    return NoiseReading(
        cpus=cpu_ticks(Path("/proc/stat").read_text(), cores),
        clocksource=CLOCKSOURCE.read_text().strip() if CLOCKSOURCE.exists() else "unknown",
        allowed_cores={role: cores for role, cores in allowed.items() if cores is not None},
        own_user=_own_user(workers),
        nics={name: _counters(name) for name in interfaces},
    )


def as_json(reading: NoiseReading) -> dict[str, Any]:
    """A reading as a JSON value, for another machine: `from_json` reads it."""
    return {
        "cpus": {str(core): asdict(ticks) for core, ticks in reading.cpus.items()},
        "clocksource": reading.clocksource,
        "allowed_cores": {role: list(cores) for role, cores in reading.allowed_cores.items()},
        "own_user": {str(core): ticks for core, ticks in reading.own_user.items()},
        "nics": {name: dict(counters) for name, counters in reading.nics.items()},
    }


def from_json(value: Mapping[str, Any]) -> NoiseReading:
    """The reading that another machine sent."""
    return NoiseReading(
        cpus={int(core): CpuTicks(**ticks) for core, ticks in value["cpus"].items()},
        clocksource=value["clocksource"],
        allowed_cores={role: tuple(cores) for role, cores in value["allowed_cores"].items()},
        own_user={int(core): ticks for core, ticks in value["own_user"].items()},
        nics=value["nics"],
    )
