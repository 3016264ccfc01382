"""Where tuned and a role would set the same thing to different values, each by its name. Changes nothing.

What both set at run time is no reason not to begin: who came last has it, and that changes with every start of tuned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cpus, kernel_words, tuned

_WAY_OUT = "Take it out of the profile, or leave the variable empty (tuned-adm off stops all of the profile)"


@dataclass(frozen=True)
class Shared:
    """Something that both can set."""

    plugin: str
    key: str
    """As the profile has it."""
    variable: str
    """That of the role."""
    value: str
    """What the role sets; empty: it sets nothing."""


def notes(wanted: Mapping[str, Any], root: Path = Path("/")) -> Iterator[str]:
    """One line each."""
    found = tuned.look(root)
    if found is None:
        return
    for one in _shared(wanted, root):
        theirs, file = found.settings.get((one.plugin, one.key), ("", ""))
        if not one.value or not file or _same(one, theirs):
            continue
        value = "a value of its own" if "${" in theirs or not theirs else theirs
        yield (
            f"{found} sets {one.key} to {value} ([{one.plugin}] in {file}), and {one.variable} sets it to {one.value}: "
            f"the last one to set it prevails, and after each start of tuned that is tuned. {_WAY_OUT}"
        )


def _same(one: Shared, theirs: str) -> bool:
    if theirs.lstrip("=<>") == one.value:
        return True
    try:
        return bool(theirs) and kernel_words.cores(theirs) == kernel_words.cores(one.value)
    except ValueError:
        return False


def _shared(wanted: Mapping[str, Any], root: Path) -> Iterator[Shared]:
    def text(name: str, default: str = "") -> str:
        return str(wanted.get(name, default))

    count = text("hugepages_count", "auto")
    yield Shared("sysctl", "vm.nr_hugepages", "hugepages_count", "" if count in ("auto", "0") else count)
    yield Shared("vm", "hugepages", "hugepages_count", "" if count in ("auto", "0") else count)
    try:
        cores = cpus.listed(cpus.parse(text("cpu_isolation_cpus")))
    except ValueError:
        return  # reported as a problem of its own
    if not cores:
        return
    for plugin, key, name in (
        ("sysctl", "kernel.sched_rt_runtime_us", "rt_runtime_us"),
        ("sysctl", "vm.stat_interval", "vm_stat_interval_s"),
        ("sysctl", "kernel.timer_migration", "timer_migration"),
        ("cpu", "governor", "governor"),
    ):
        yield Shared(plugin, key, f"cpu_isolation_{name}", text(f"cpu_isolation_{name}"))
    # tuned keeps IRQs and threads, and irqbalance, off the cores of its own variables.
    if wanted.get("cpu_isolation_irq_affinity", True):
        yield Shared("scheduler", "isolated_cores", "cpu_isolation_cpus", cores)
    if text("cpu_isolation_irqbalance", "ban") != "keep":
        yield Shared("irqbalance", "banned_cpus", "cpu_isolation_irqbalance", cores)
    present = _text(root / cpus.PRESENT.lstrip("/"))
    if wanted.get("cpu_isolation_workqueues", True) and present:
        mask = cpus.mask(cpus.parse(present) - cpus.parse(cores))
        for name in ("cpumask", "writeback/cpumask"):
            yield Shared("sysfs", f"/sys/devices/virtual/workqueue/{name}", "cpu_isolation_workqueues", mask)


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
