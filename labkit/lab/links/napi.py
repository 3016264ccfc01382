"""On whose core the receiving end of a veth link works.

Measured on two virtual cores (UDP echo, both ends spinning, median RTT): softirq on the sender's core 10 us, RPS 30 us,
threaded NAPI 48 us: each hand-over between cores costs an interrupt or a wake-up. So the kernel's own way is the
default; the results record it: the tester's core pays for the DUT's reception.
"""

from __future__ import annotations

import os
from pathlib import Path

from labkit.errors import EnvironmentBroken
from labkit.lab.topology import Napi
from labkit.machine.hosts import NamespaceHost


def place(host: NamespaceHost, interface: str, napi: Napi, core: int) -> str | None:
    """Have `interface` receive on `core`, if asked for.

    Without the root rights that this needs, or if the kernel's threads are in another PID namespace, the kernel's
    default stays, and the returned text says why.
    """
    try:
        if napi is Napi.THREADED:
            return _threaded(host, interface, core)
        if napi is Napi.RPS:
            _rps(host, interface).write_text(f"{1 << core:x}")
    except PermissionError as error:
        return f"needs root: {error}"
    except FileNotFoundError as error:
        return f"/sys does not show this namespace's interfaces (masked, as in a container?): {error}"
    return None


def read_back(host: NamespaceHost, interface: str) -> dict[str, object]:
    """Read back from the kernel: RPS mask, threaded or not, and the threads with the cores they may use."""
    threaded = _read(host.path(f"/sys/class/net/{interface}/threaded")) == "1"
    pids = sorted(_threads(interface)) if threaded else []
    return {
        "threaded": threaded,
        "threads": {str(pid): sorted(os.sched_getaffinity(pid)) for pid in pids},
        "rps_cpus": _read(_rps(host, interface)),
    }


def _threaded(host: NamespaceHost, interface: str, core: int) -> str | None:
    before = _threads(interface)
    switch = host.path(f"/sys/class/net/{interface}/threaded")
    switch.write_text("1")
    made = _threads(interface) - before
    if not made:
        switch.write_text("0")
        return (
            f"its threads are not visible, and can't be moved to core {core} (a container's PID namespace?)"
        )
    for pid in made:
        os.sched_setaffinity(pid, {core})
        if os.sched_getaffinity(pid) != {core}:
            raise EnvironmentBroken(f"NAPI thread {pid} of {interface} could not be moved to core {core}")
    return None


def _threads(interface: str) -> set[int]:
    """Kernel threads of that interface's NAPIs (of any namespace: kernel threads do not say)."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text().startswith(f"napi/{interface}-"[:15]):
                found.add(int(entry.name))
        except OSError:
            continue  # gone meanwhile
    return found


def _rps(host: NamespaceHost, interface: str) -> Path:
    return host.path(f"/sys/class/net/{interface}/queues/rx-0/rps_cpus")


def _read(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None
