"""What the role lowlatency_kernel promises: the wanted kernel runs, whatever it is called."""

from __future__ import annotations

import re

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.model import Broken, Kept, NotApplicable, Outcome, Promise
from labkit.doctor.host.reader import HostFacts, HostReader
from labkit.doctor.host.roles import host_module

_PREEMPT = "/sys/kernel/debug/sched/preempt"
_RELEASE = "/proc/sys/kernel/osrelease"
_VERSION = "/proc/sys/kernel/version"
_REALTIME = "/sys/kernel/realtime"
_COMMANDS = {"config": "cat /boot/config-$(uname -r) 2>/dev/null || zcat /proc/config.gz"}


def _seen(reader: HostReader) -> HostFacts:
    return reader.look(files=(_PREEMPT, _RELEASE, _VERSION, _REALTIME, "/proc/cmdline"), commands=_COMMANDS)


def _preempt(seen: HostFacts) -> str:
    """The scheduler's own word where it may be read (not under lockdown), else what it was booted or built with."""
    if told := re.search(r"\((\w+)\)", seen.text(_PREEMPT) or ""):
        return told[1]
    given = re.findall(r"(?:^|\s)preempt=(\w+)", seen.text("/proc/cmdline") or "")
    if given and "PREEMPT_DYNAMIC" in (seen.text(_VERSION) or ""):
        return str(given[-1])
    options = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", seen.commands["config"].out, re.MULTILINE))
    return host_module("boot_kernels").built_in_preempt(options) or "not reported"


def _flavour(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("lowlatency_kernel_flavour")
    if wanted == "generic":
        return NotApplicable("lowlatency_kernel_flavour is generic: the kernel is left alone")
    seen = _seen(reader)
    version = seen.text(_VERSION) or ""
    realtime = seen.text(_REALTIME) == "1" or "PREEMPT_RT" in version
    found = f"{seen.text(_RELEASE)} {version}, preemption {_preempt(seen)}"
    if wanted == "rt":
        return Kept(found) if realtime else Broken("/sys/kernel/realtime 1, or PREEMPT_RT in uname -v", found)
    mode = desired.text("lowlatency_kernel_preempt") or "full"
    return Kept(found) if _preempt(seen) == mode else Broken(f"preemption {mode}", found)


def _preemption(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("lowlatency_kernel_preempt")
    if not wanted:
        return NotApplicable("lowlatency_kernel_preempt is empty: as the kernel has it")
    found = _preempt(_seen(reader))
    return Kept(found) if found == wanted else Broken(wanted, found)


def _release(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("lowlatency_kernel_release")
    if not wanted:
        return NotApplicable("lowlatency_kernel_release is empty: any that has the flavour")
    found = _seen(reader).text(_RELEASE) or "nothing"
    return Kept(found) if found == wanted else Broken(wanted, found)


PROMISES = (
    Promise(id="lowlatency_kernel.flavour", text="a kernel of the wanted flavour runs", check=_flavour),
    Promise(
        id="lowlatency_kernel.preempt", text="the wanted preemption mode is in effect", check=_preemption
    ),
    Promise(id="lowlatency_kernel.release", text="exactly the wanted release runs", check=_release),
)
