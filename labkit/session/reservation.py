"""Reserves the machine for one session: takes the lock, observes the load, refuses if a lab that is up is in use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.lab.records import LabRecord, status
from labkit.machine import fix, lock, usage
from labkit.machine.lock import Busy
from labkit.machine.usage import Usage
from labkit.progress import Progress
from labkit.units import Unit, parse_quantity

WAIT_VARIABLE = "LABKIT_WAIT"
FOREVER = "forever"
IN_USE_CORES = 0.05
"""CPU use from which a process makes a lab busy: a shell or a capture uses less, a program that forwards more."""


def parse_wait(text: str | None, *, option: str) -> float | None:
    """How long to wait for the machine [s]; None: without a limit. Left out: LABKIT_WAIT, else 0.

    Raises ConfigInvalid, naming the option or the variable.
    """
    if text is None:
        text, option = os.environ.get(WAIT_VARIABLE) or "0", WAIT_VARIABLE
    return None if text.strip() == FOREVER else parse_span(text, option=option, also=f", or {FOREVER}")


def parse_span(text: str, *, option: str, also: str = "") -> float:
    """A time such as "90s" or "10 min" [s]; 0 needs no unit. Raises ConfigInvalid, naming the option."""
    if text.strip() == "0":
        return 0.0
    try:
        return parse_quantity(text, Unit.SECONDS)
    except ConfigInvalid:
        raise ConfigInvalid(
            f"{option} {text!r}: expected a time such as '90s' or '10min'{also}", hint="0 turns it off"
        ) from None


@contextmanager
def reserved(
    *,
    wait_s: float | None,
    listen_s: float,
    using: str | None,
    progress: Progress,
    holds_for_us: int | None = None,
) -> Iterator[Usage | None]:
    """Reserve the machine during the context; yields who else used it while it was observed.

    `using`: the id of a lab that is up and is going to be measured on. `holds_for_us`: see `lock.measuring`. None is
    yielded if it was not observed (`listen_s` 0). Raises Busy, naming who measures, once `wait_s` have passed.
    """
    with lock.measuring(wait_s=wait_s, report=progress.phase, holds_for_us=holds_for_us):
        progress.done()
        if not listen_s:
            yield None
            return
        progress.phase(f"observing the machine's load for {listen_s:g} s")
        found = usage.listen(listen_s)
        progress.done()
        for record in _others(using):
            if (why := _in_use(record, found.by_pid)) is not None:
                raise Busy(why, hint=f"end it, or take that lab down: {fix.labkit('down')}")
        yield found


def _others(using: str | None) -> list[LabRecord]:
    try:
        return [record for record in status() if record.alive and record.id != using]
    except (EnvironmentBroken, ConfigInvalid):  # no journal that this user may read: then no lab either
        return []


def _in_use(record: LabRecord, cores_by_pid: Mapping[int, float]) -> str | None:
    """Which process works in a lab that is up; None: no process does."""
    namespaces = set()
    for holder in record.holders.values():
        with suppress(OSError):
            namespaces.add(Path(f"/proc/{holder.pid}/ns/net").stat().st_ino)
    for pid, cores in sorted(cores_by_pid.items(), key=lambda item: -item[1]):
        if cores < IN_USE_CORES:
            break
        with suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino in namespaces:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                return (
                    f"the lab {record.topology.name} is up (since {record.since}), and {name} (pid {pid}) is running "
                    f"in it, using {cores:.2g} cores"
                )
    return None
