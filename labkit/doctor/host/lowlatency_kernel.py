"""Host checks of the role lowlatency_kernel: the configured kernel runs, whatever its name."""

from __future__ import annotations

import re

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed
from labkit.doctor.host.reader import HostFacts, HostReader
from labkit.machine.roles import host_module

_PREEMPT = "/sys/kernel/debug/sched/preempt"
_RELEASE = "/proc/sys/kernel/osrelease"
_VERSION = "/proc/sys/kernel/version"
_REALTIME = "/sys/kernel/realtime"
_COMMANDS = {"config": "cat /boot/config-$(uname -r) 2>/dev/null || zcat /proc/config.gz"}


def _facts(reader: HostReader) -> HostFacts:
    return reader.look(files=(_PREEMPT, _RELEASE, _VERSION, _REALTIME, "/proc/cmdline"), commands=_COMMANDS)


def _preempt(facts: HostFacts) -> str:
    """As the scheduler reports it where that may be read (not under lockdown), else as it was booted or built."""
    if mode := re.search(r"\((\w+)\)", facts.text(_PREEMPT) or ""):
        return mode[1]
    given = re.findall(r"(?:^|\s)preempt=(\w+)", facts.text("/proc/cmdline") or "")
    if given and "PREEMPT_DYNAMIC" in (facts.text(_VERSION) or ""):
        return str(given[-1])
    options = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", facts.commands["config"].out, re.MULTILINE))
    return host_module("boot_kernels").built_in_preempt(options) or "not reported"


def _flavour(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("lowlatency_kernel_flavour")
    if wanted == "generic":
        return NotApplicable("lowlatency_kernel_flavour is generic: the kernel is not changed")
    facts = _facts(reader)
    version = facts.text(_VERSION) or ""
    realtime = facts.text(_REALTIME) == "1" or "PREEMPT_RT" in version
    found = f"{facts.text(_RELEASE)} {version}, preemption {_preempt(facts)}"
    if wanted == "rt":
        return (
            Passed(found) if realtime else Failed("/sys/kernel/realtime 1, or PREEMPT_RT in uname -v", found)
        )
    mode = desired.text("lowlatency_kernel_preempt") or "full"
    return Passed(found) if _preempt(facts) == mode else Failed(f"preemption {mode}", found)


def _preemption(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("lowlatency_kernel_preempt")
    if not wanted:
        return NotApplicable("lowlatency_kernel_preempt is empty: not configured")
    found = _preempt(_facts(reader))
    return Passed(found) if found == wanted else Failed(wanted, found)


def _release(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("lowlatency_kernel_release")
    if not wanted:
        return NotApplicable("lowlatency_kernel_release is empty: any release of the flavour")
    found = _facts(reader).text(_RELEASE) or "nothing"
    return Passed(found) if found == wanted else Failed(wanted, found)


HOST_CHECKS = (
    HostCheck(
        id="lowlatency_kernel.flavour", text="the running kernel has the configured flavour", check=_flavour
    ),
    HostCheck(
        id="lowlatency_kernel.preempt", text="the configured preemption mode is in effect", check=_preemption
    ),
    HostCheck(id="lowlatency_kernel.release", text="the configured kernel release runs", check=_release),
)
