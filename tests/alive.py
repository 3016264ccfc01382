"""Whether a process still runs."""

from __future__ import annotations

from labkit.machine.process import identify


def runs(pid: int | str) -> bool:
    """False for a zombie, too: in a container whose first process reaps nothing, an orphan stays one for good."""
    try:
        return identify(int(pid)).alive
    except ProcessLookupError:
        return False
