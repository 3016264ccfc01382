"""A lab that is up, shown on the terminal."""

from __future__ import annotations

import shlex

from labkit.lab.records import LabRecord
from labkit.machine import fix


def lab_lines(record: LabRecord) -> list[str]:
    """Name, state, and for each side its interfaces and the command that enters it."""
    state = "up" if record.alive else f"DIED ({fix.labkit('down')} removes it)"
    by = f" by {record.controller}" if record.controller else ""
    lines = [f"{record.topology.name}: {state} since {record.since}{by}; {record.topology.description}"]
    for role, host in record.topology.hosts.items() if record.on_nics else ():
        lines.append(f"  {role:<7} {', '.join(record.interfaces[role])} of {host}")
    for role, command in record.enter.items():
        interfaces = ", ".join(record.interfaces.get(role, ())) or "shared memory"
        lines.append(f"  {role:<7} {interfaces}; enter: {shlex.join(command)}")
    return lines
