"""A lab that is up, shown on the terminal."""

from __future__ import annotations

import shlex

from labkit.lab.records import LabRecord
from labkit.machine import fix


def lab_lines(record: LabRecord) -> list[str]:
    """Name, state, and for each side its interfaces and the command that enters it."""
    state = "up" if record.alive else f"DIED ({fix.labkit('down')} removes it)"
    lines = [f"{record.topology.name}: {state} since {record.since}; {record.topology.description}"]
    for role, command in record.enter.items():
        interfaces = ", ".join(record.interfaces.get(role, ())) or "shared memory"
        lines.append(f"  {role:<7} {interfaces}; enter: {shlex.join(command)}")
    return lines
