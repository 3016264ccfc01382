"""What is read of this machine before and after a measurement, for the gates to judge. Never during a trial."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
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


def _worker_cores(tid: int) -> tuple[int, ...] | None:
    """Where the kernel lets this thread run; None when it is gone. Its process has others."""
    try:
        text = Path(f"/proc/{tid}/status").read_text()
    except OSError:
        return None
    return next(
        (
            tuple(sorted(parse_list(line.partition(":")[2])))
            for line in text.splitlines()
            if line.startswith("Cpus_allowed_list:")
        ),
        None,
    )


def _user_ticks(pid: int) -> int:
    """User time of a process, or of the one that a thread belongs to; proc_pid_stat(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[11])


def _own_user(workers: Mapping[str, tuple[int, int]]) -> dict[int, int]:
    """User time by core of the workers, and of this process where it may run there."""
    own: dict[int, int] = {}
    for tid, core in workers.values():
        own[core] = own.get(core, 0) + _user_ticks(tid)
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
    """Steal, clock source, and each worker's affinity: `workers` maps a role to (thread id, intended core).

    `interfaces` are NICs whose counters are read.
    """
    cores = {core for _, core in workers.values()}
    allowed = {role: _worker_cores(tid) for role, (tid, _) in workers.items()}
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
