"""How long a step on a guest may take: as long as on a reference machine, times what this one is slower.

The measure is a guest's own boot. A machine with half the speed, or with other work on its cores, boots in twice the
time, and everything else takes about twice as long there as well.
"""

from __future__ import annotations

import re

REFERENCE_BOOT_S = 40.0
"""From QEMU's start until SSH answers, emulated on two cores with nothing else running."""
FIRST_BOOT_S = 1200.0
"""The first boot has no measure yet."""
SLOWER_AT_MOST = 8.0
"""A machine that is slower still is not waited for."""


def slowness(boot_s: float) -> float:
    """How many times longer than on the reference machine a step may take; never shorter, as with KVM."""
    return min(max(boot_s / REFERENCE_BOOT_S, 1.0), SLOWER_AT_MOST)


def last_task(output: str) -> str:
    """The task in which a run of ansible-playbook was when its output ended; empty before the first."""
    tasks = re.findall(r"^(?:TASK|RUNNING HANDLER) \[(.*)\] \**$", output, re.MULTILINE)
    return str(tasks[-1]) if tasks else ""


def ran_out(step: str, limit_s: float, slower: float, output: str) -> str:
    """One line about a step that was ended because its time was over."""
    task = last_task(output)
    where = f"in the task [{task}]" if task else "before its first task"
    return f"{step} was ended after {limit_s:.0f} s {where}; the limit is for a machine {slower:.1f} times slower"
