"""What kind of kernel it was: by what ran, never by the suffix of its name.

From Ubuntu 24.04 on a low-latency kernel is the generic one with preempt=full, and its name ends in -generic.
"""

from __future__ import annotations

import re

from labkit.record.provenance import Environment, Kernel

UNKNOWN = "not known"
COMMAND_LINE = "command line"
_LOWLATENCY = "lowlatency"
_BY_MODE = {
    "full": _LOWLATENCY,
    "preempt": _LOWLATENCY,
    "voluntary": "generic",
    "none": "generic",
    "lazy": "generic",
}


def flavour(kernel: Kernel) -> str:
    """rt, lowlatency (preemptible everywhere but not real-time), generic, or "not known"."""
    if kernel.realtime:
        return "rt"
    mode = preemption(kernel)
    if mode is None and kernel.preempt is None and "PREEMPT" not in kernel.version:
        return "generic"  # built without preemption, whether "none" or "voluntary"
    return _BY_MODE.get(mode or "", UNKNOWN)


def preemption(kernel: Kernel) -> str | None:
    """The preemption mode in effect; None: not known."""
    stated = kernel.preempt
    if stated is not None and stated.lower() in _BY_MODE and stated != "PREEMPT":
        return stated.lower()  # as the scheduler's debug file has it
    requested = re.findall(r"(?:^|\s)preempt=(\w+)", kernel.cmdline or "")
    words = kernel.version.split()
    if "PREEMPT_DYNAMIC" in words:
        return requested[-1].lower() if requested else None
    if "PREEMPT" in words or "PREEMPT_RT" in words:
        return "full"
    return None  # "none" or "voluntary": its version does not say which


def describe(kernel: Kernel) -> str:
    """Such as "Linux 6.1.0-28-rt-amd64, rt"."""
    mode = preemption(kernel)
    return f"Linux {kernel.release}, flavour {flavour(kernel)}" + (
        f" (preemption {mode})" if mode else f" ({kernel.preempt or 'preemption mode unknown'})"
    )


def tuning(environment: Environment) -> list[tuple[str, str]]:
    """What else of a host decides how soon it wakes a thread: (name, value in effect)."""
    throttling = environment.network.sysctls.get("kernel.sched_rt_runtime_us")
    power = environment.power
    return [
        ("kernel", describe(environment.kernel)),
        (COMMAND_LINE, environment.kernel.cmdline or UNKNOWN),
        ("isolated cores", environment.cpu.isolated or "none"),
        ("nohz_full", (environment.cpu.nohz_full or "none").replace("(null)", "none")),
        (
            "real-time throttling",
            {None: UNKNOWN, "-1": "off"}.get(throttling, f"{throttling} us of each period"),
        ),
        ("clock source", environment.clock.clocksource or UNKNOWN),
        ("idle driver", power.idle_driver or "none"),
        ("frequency governor", ", ".join(power.governors) or "none"),
        (
            "virtual machine",
            {None: UNKNOWN, True: "yes", False: "no"}[environment.virtualisation.guest],
        ),
    ]
