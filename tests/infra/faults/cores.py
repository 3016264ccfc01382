"""Isolated cores."""

from __future__ import annotations

from collections.abc import Callable

from labkit.doctor.host.desired import Desired
from labkit.machine.cores import parse_list

from .ways import FOLDER, Fault, another, cover, covered, keep, restore, uncover, written


def _core(desired: Desired) -> str:
    return str(min(parse_list(desired.text("cpu_isolation_cpus")), default=0))


_CPU, _IRQ = "/sys/devices/system/cpu", "/proc/irq"


def _interrupts_on_core(desired: Desired) -> str:
    """Move every interrupt that can be moved to an isolated core; that of this connection moves at once."""
    return (
        f"mkdir -p {FOLDER}; cd {_IRQ}; test -e {FOLDER}/irqs || grep -H '' [0-9]*/smp_affinity_list >{FOLDER}/irqs; "
        f"for file in [0-9]*/smp_affinity_list; do echo {_core(desired)} >$file; done 2>/dev/null; sleep 1"
    )


def _interrupts_restored(desired: Desired) -> str:
    return (
        f"cd {_IRQ}; if test -e {FOLDER}/irqs; then while IFS=: read -r file cores; do echo $cores >$file; done "
        f"<{FOLDER}/irqs 2>/dev/null; rm {FOLDER}/irqs; fi; sleep 1"
    )


def _governor(desired: Desired) -> str:
    return f"{_CPU}/cpu{_core(desired)}/cpufreq/scaling_governor"


def _another_governor(desired: Desired) -> str:
    wanted, path = desired.text("cpu_isolation_governor"), _governor(desired)
    return (
        f"{keep(path, 'governor')}; for other in $(cat {path.replace('governor', 'available_governors')}); do "
        f"if [ $other != {wanted or 'none'} ]; then break; fi; done; echo $other >{path}"
    )


def _an_irqbalance(desired: Desired) -> str:
    """A process of that name without banned cores. It does nothing, and ends by itself."""
    return (
        f"mkdir -p {FOLDER}; setsid sh -c 'printf irqbalance >/proc/$$/comm; echo $$ >{FOLDER}/irqbalance; "
        "sleep 300; :' </dev/null >/dev/null 2>&1 & sleep 0.5"
    )


def _setting(name: str, path: str, value: str | Callable[[Desired], str]) -> Fault:
    return written(f"cpu_isolation.{name}", path, value)


CORES = (
    covered("cpu_isolation.isolated", f"{_CPU}/isolated", ""),
    covered("cpu_isolation.isolated", f"{_CPU}/isolated", "0"),
    covered("cpu_isolation.nohz_full", f"{_CPU}/nohz_full", "(null)"),
    # What RCU decided at boot can't be undone. Core 0 is never isolated, so its callbacks stay.
    Fault(check="cpu_isolation.rcu_nocbs", wants=lambda desired: {"cpu_isolation_cpus": "0"}),
    Fault(check="cpu_isolation.interrupts", inject=_interrupts_on_core, revert=_interrupts_restored),
    written(
        "cpu_isolation.interrupts",
        f"{_IRQ}/default_smp_affinity",
        lambda desired: f"{1 << int(_core(desired)):x}" if int(_core(desired)) < 32 else "ffffffff,ffffffff",
    ),
    Fault(
        check="cpu_isolation.irqbalance",
        inject=_an_irqbalance,
        revert=lambda desired: (
            f"if test -e {FOLDER}/irqbalance; then kill -- -$(cat {FOLDER}/irqbalance); "
            f"rm {FOLDER}/irqbalance; fi"
        ),
    ),
    _setting(
        "workqueues",
        "/sys/devices/virtual/workqueue/cpumask",
        lambda desired: f"{1 << int(_core(desired)):x}",
    ),
    _setting("watchdogs", "/proc/sys/kernel/watchdog_cpumask", _core),
    _setting(
        "vm_statistics",
        "/proc/sys/vm/stat_interval",
        another("cpu_isolation_vm_stat_interval_s", "77", "78"),
    ),
    _setting(
        "timer_migration",
        "/proc/sys/kernel/timer_migration",
        another("cpu_isolation_timer_migration", "0", "1"),
    ),
    _setting(
        "rt_runtime",
        "/proc/sys/kernel/sched_rt_runtime_us",
        another("cpu_isolation_rt_runtime_us", "900000", "-1"),
    ),
    Fault(
        check="cpu_isolation.governor",
        inject=_another_governor,
        revert=lambda desired: restore(_governor(desired), "governor"),
    ),
    Fault(
        check="cpu_isolation.cstates",
        inject=lambda desired: "; ".join(cover(path, "99") for path in _LIMITS),
        revert=lambda desired: "; ".join(map(uncover, _LIMITS)),
    ),
)
_LIMITS = tuple(f"/sys/module/{module}/parameters/max_cstate" for module in ("intel_idle", "processor"))
