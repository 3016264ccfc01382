"""Host checks of the role cpu_isolation: nothing else runs on the isolated cores."""

from __future__ import annotations

import json
import re
from functools import partial

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed, compare
from labkit.doctor.host.reader import HostFacts, HostReader, understood
from labkit.errors import ConfigInvalid, ToolFailed
from labkit.machine.roles import host_module

_CPU = "/sys/devices/system/cpu"
_IRQ = "/proc/irq"
_CSTATES = {"intel_idle": "intel_idle", "acpi_idle": "processor"}
"""Driver of idle cores to the module that has its limit."""
_JOURNAL = "/run/labkit-host/irqs.json"
"""Where the role notes, until the next boot, which interrupts refused to move."""
_WORKQUEUES = "/sys/devices/virtual/workqueue"
_SYSCTLS = {
    "watchdogs": ("/proc/sys/kernel/watchdog_cpumask", "lockup watchdogs run on the other cores only"),
    "vm_statistics": ("/proc/sys/vm/stat_interval", "VM statistics are updated as seldom as configured"),
    "timer_migration": (
        "/proc/sys/kernel/timer_migration",
        "timer migration is as configured",
    ),
    "rt_runtime": (
        "/proc/sys/kernel/sched_rt_runtime_us",
        "the run time of real-time threads is limited as configured",
    ),
}
"""Host check to its file, and what is true when it passes."""
_FILES = (
    f"{_CPU}/isolated",
    f"{_CPU}/online",
    f"{_CPU}/nohz_full",
    f"{_CPU}/cpu[0-9]*/cpufreq/scaling_governor",
    f"{_CPU}/cpuidle/current_driver",
    *(f"/sys/module/{module}/parameters/max_cstate" for module in _CSTATES.values()),
    f"{_IRQ}/default_smp_affinity",
    f"{_IRQ}/[0-9]*/effective_affinity_list",
    f"{_IRQ}/[0-9]*/smp_affinity_list",
    f"{_WORKQUEUES}/cpumask",
    f"{_WORKQUEUES}/writeback/cpumask",
    *(path for path, _ in _SYSCTLS.values()),
    _JOURNAL,
)
_COMMANDS = {
    # From the kernel's log. Its threads don't show it: as soon as one core is offloaded all cores have theirs.
    "rcu": "{ dmesg; journalctl --dmesg --no-pager --output=cat; } 2>/dev/null | grep -E '\\brcu: ' | sort -u || true",
    "fixed": f"find {_IRQ}/[0-9]*/smp_affinity_list ! -perm -200",
    "names": f"ls -d {_IRQ}/[0-9]*/*/",
    # From the environment of the running process: it may not have read a changed file yet.
    "irqbalance": "for pid in $(pgrep -x irqbalance); do grep -q '^State:.Z' /proc/$pid/status && continue; "
    "echo irqbalance runs; tr '\\0' '\\n' </proc/$pid/environ; echo; done; true",
}


def _facts(reader: HostReader) -> HostFacts:
    return reader.look(files=_FILES, commands=_COMMANDS)


def parse_list(text: str) -> set[int]:
    """Cores in a list as the kernel prints it. Raises ValueError."""
    # The kernel prints "(null)" for an empty nohz_full.
    return set(host_module("cpus").parse("" if text == "(null)" else text))


def _cores(desired: Desired) -> set[int]:
    try:
        return parse_list(desired.text("cpu_isolation_cpus"))
    except ValueError as error:
        raise ConfigInvalid(f"{desired.host}: cpu_isolation_cpus: {error}") from error


def _offline(facts: HostFacts, cores: set[int]) -> set[int]:
    """Those that are offline (SMT off): nothing can be set for them, and nothing runs on them."""
    online = facts.read(f"{_CPU}/online", parse_list)
    return cores - online if online else set()


def _left_out(offline: set[int]) -> str:
    if not offline:
        return ""
    return f"; {listed(offline)} {'is' if len(offline) == 1 else 'are'} offline (SMT off?) and can't be used"


def _switched_off(desired: Desired, switch: str = "") -> NotApplicable | None:
    if not _cores(desired):
        return NotApplicable("cpu_isolation_cpus is empty: no core is isolated")
    if switch and not desired[switch]:
        return NotApplicable(f"{switch} is off")
    return None


def listed(cores: set[int]) -> str:
    """For people: "1,2,3"."""
    return ",".join(map(str, sorted(cores))) or "none"


def _mask(text: str) -> set[int]:
    return set(host_module("cpus").from_mask(text))


def _list_file(reader: HostReader, desired: Desired, name: str) -> Outcome:
    facts, cores = _facts(reader), _cores(desired)
    found = facts.read(f"{_CPU}/{name}", parse_list)
    if found is None:
        return Failed(listed(cores), f"this kernel has no {_CPU}/{name}")
    passed = f"cores {listed(found)}{_left_out(_offline(facts, cores))}"
    return compare([("cores", listed(cores), listed(found))], passed)


def _isolated(reader: HostReader, desired: Desired) -> Outcome:
    return _switched_off(desired) or _list_file(reader, desired, "isolated")


def _nohz_full(reader: HostReader, desired: Desired) -> Outcome:
    return _switched_off(desired, "cpu_isolation_nohz_full") or _list_file(reader, desired, "nohz_full")


def _rcu_nocbs(reader: HostReader, desired: Desired) -> Outcome:
    if off := _switched_off(desired, "cpu_isolation_rcu_nocbs"):
        return off
    log = _facts(reader).commands["rcu"].out
    offloaded = re.search(r"Offload RCU callbacks from CPUs: ([0-9,-]+)", log)
    # The kernel logs this line first: where it is lost, the line on offloading may be lost as well.
    if not offloaded and "ierarchical RCU implementation" not in log:
        raise ToolFailed(
            "the kernel's log no longer has the boot messages of RCU, and nothing else reports it",
            hint="reboot and check again; journald keeps the log of a boot",
        )
    found = understood("the kernel's log", offloaded.group(1), parse_list) if offloaded else set()
    if missing := _cores(desired) - found:
        return Failed(
            f"RCU callbacks of cores {listed(_cores(desired))} offloaded", f"not those of {listed(missing)}"
        )
    return Passed(f"RCU callbacks of cores {listed(found)} offloaded")


def _interrupts(reader: HostReader, desired: Desired) -> Outcome:
    if off := _switched_off(desired, "cpu_isolation_irq_affinity"):
        return off
    facts, cores = _facts(reader), _cores(desired)
    online = cores - _offline(facts, cores)
    masks = facts.matching(f"{_IRQ}/*/smp_affinity_list")
    effective = facts.matching(f"{_IRQ}/*/effective_affinity_list")
    stay: list[str] = []
    waiting: list[str] = []
    wrong: list[str] = []
    for path, mask in masks.items():
        irq = path.split("/")[3]
        # Not every controller reports it; an empty list is of an interrupt that no driver requested.
        place = f"{_IRQ}/{irq}/effective_affinity_list"
        goes_to = understood(place, effective.get(place, mask), parse_list) & online
        if not goes_to:
            continue
        entry = f"{irq} on {listed(goes_to)}"
        if not understood(path, mask, parse_list) & cores:
            waiting.append(entry)  # most x86 hosts move an interrupt no sooner than when it comes
        else:
            (stay if irq in _fixed(facts) else wrong).append(entry)
    if wrong:
        return Failed(f"no interrupt on cores {listed(cores)}", f"interrupts {', '.join(sorted(wrong))}")
    default = (facts.read(f"{_IRQ}/default_smp_affinity", _mask) or set()) & cores
    if default:
        return Failed(
            f"new interrupts not on cores {listed(cores)}", f"default_smp_affinity has {listed(default)}"
        )
    passed = f"{len(masks) - len(stay) - len(waiting)} interrupts on other cores"
    if stay:
        passed += f", {len(stay)} fixed by the kernel"
    if waiting:
        passed += f", {len(waiting)} to move with the next interrupt ({', '.join(sorted(waiting))})"
    return Passed(passed)


def _fixed(facts: HostFacts) -> set[str]:
    """Numbers of the interrupts that can't be moved: by the file's mode (from 6.12), or refused to the role.

    Raises ToolFailed for a journal that the role did not write.
    """
    by_mode = re.findall(rf"{_IRQ}/(\d+)/", facts.commands["fixed"].out)
    noted = facts.text(_JOURNAL)
    try:
        refused = dict(json.loads(noted)["fixed"]) if noted else {}
    except (ValueError, KeyError, TypeError) as error:
        raise ToolFailed(
            f"{_JOURNAL}: not what labkit writes ({error!r}): which interrupts can't be moved is not known",
            hint="reboot, or remove the file and run the role again",
        ) from error
    handlers: dict[str, list[str]] = {}
    for irq, handler in re.findall(rf"^{_IRQ}/(\d+)/(.+)/$", facts.commands["names"].out, re.MULTILINE):
        handlers.setdefault(irq, []).append(handler)
    # Numbers are reused: a refused interrupt is identified by its handlers as well.
    names = {irq: ",".join(sorted(found)) for irq, found in handlers.items()}
    return set(by_mode) | {irq for irq, name in refused.items() if name == names.get(irq, "-")}


def _settings(reader: HostReader, desired: Desired, *, below: str) -> Outcome:
    """Values that the role sets at run time, of those whose path begins with `below`."""
    if off := _switched_off(desired):
        return off
    readers = host_module("settings").READERS
    wanted = [one for one in desired["cpu_isolation_settings"] if one["path"].startswith(below)]
    wanted = [one for one in wanted if str(one["value"])]
    if not wanted:
        return NotApplicable("not configured")
    facts = _facts(reader)
    found = [(one, text) for one in wanted if (text := facts.text(one["path"])) is not None]
    if not found:
        return NotApplicable(f"this kernel has no {', '.join(one['path'] for one in wanted)}")
    differences = []
    for one, text in found:
        parse = readers[one["reads_as"]]
        differences.append((one["path"], parse(str(one["value"])), understood(one["path"], text, parse)))
    return compare(differences, ", ".join(f"{one['path']} {text}" for one, text in found))


def _irqbalance(reader: HostReader, desired: Desired) -> Outcome:
    if off := _switched_off(desired):
        return off
    what, cores = desired.text("cpu_isolation_irqbalance"), _cores(desired)
    if what == "keep":
        return NotApplicable("cpu_isolation_irqbalance is keep: not changed")
    # One process without banned cores is enough to send interrupts there.
    processes = _facts(reader).commands["irqbalance"].out.split("irqbalance runs")[1:]
    if not processes:
        return Passed("irqbalance does not run")
    if what == "stop":
        return Failed("irqbalance does not run", "irqbalance runs")
    # Without a list irqbalance avoids isolated cores by itself, but the role gives it one, and that is checked.
    of_process = host_module("irqbalance_bans").of_process
    banned = set.intersection(*(set(of_process(text).cores) for text in processes))
    if missing := cores - banned:
        return Failed(f"banned from cores {listed(cores)}", f"not banned from {listed(missing)}")
    return Passed(f"banned from cores {listed(banned)}")


def _governor(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("cpu_isolation_governor")
    if off := _switched_off(desired):
        return off
    if not wanted:
        return NotApplicable("cpu_isolation_governor is empty: not configured")
    facts, cores = _facts(reader), _cores(desired)
    offline = _offline(facts, cores)
    if not cores - offline:
        return NotApplicable(f"no isolated core is online ({listed(cores)})")
    found = [
        (f"cpu{core}", facts.text(f"{_CPU}/cpu{core}/cpufreq/scaling_governor"))
        for core in sorted(cores - offline)
    ]
    if not any(text for _, text in found):
        return NotApplicable(
            "this machine has no frequency governor (a guest's frequency is set by its host)"
        )
    return compare(
        [(core, wanted, text or "none") for core, text in found],
        f"{wanted} on {len(found)} cores{_left_out(offline)}",
    )


def _cstates(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("cpu_isolation_max_cstate")
    if not wanted:
        return NotApplicable("cpu_isolation_max_cstate is empty: not configured")
    facts = _facts(reader)
    driver = facts.text(f"{_CPU}/cpuidle/current_driver") or "none"
    found = facts.text(f"/sys/module/{_CSTATES.get(driver, driver)}/parameters/max_cstate")
    if found is None:
        return NotApplicable(f"this machine has no C-states to limit (cpuidle driver {driver})")
    return compare([(f"{driver} max_cstate", wanted, found)], f"{driver} max_cstate {found}")


HOST_CHECKS = (
    HostCheck(
        id="cpu_isolation.isolated",
        text="the configured cores are isolated from the scheduler",
        check=_isolated,
    ),
    HostCheck(
        id="cpu_isolation.nohz_full",
        text="no timer tick on the isolated cores while a single thread runs",
        check=_nohz_full,
    ),
    HostCheck(id="cpu_isolation.rcu_nocbs", text="RCU callbacks run on other cores", check=_rcu_nocbs),
    HostCheck(id="cpu_isolation.interrupts", text="interrupts are routed to other cores", check=_interrupts),
    HostCheck(
        id="cpu_isolation.irqbalance",
        text="irqbalance routes no interrupt to the isolated cores",
        check=_irqbalance,
    ),
    HostCheck(
        id="cpu_isolation.workqueues",
        text="unbound workqueues run on other cores",
        check=partial(_settings, below=_WORKQUEUES),
    ),
    *(
        HostCheck(id=f"cpu_isolation.{name}", text=text, check=partial(_settings, below=path))
        for name, (path, text) in _SYSCTLS.items()
    ),
    HostCheck(
        id="cpu_isolation.governor", text="the configured frequency governor is active", check=_governor
    ),
    HostCheck(id="cpu_isolation.cstates", text="C-states are limited as configured", check=_cstates),
)
