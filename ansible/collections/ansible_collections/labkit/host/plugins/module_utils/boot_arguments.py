"""Kernel arguments as an ordered list: which may be written, and whether a command line has them in effect. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import combinations

from .kernel_words import isolates, key, meaning, same_cores

_PLAIN = re.compile(r"[A-Za-z0-9_.,:=/@+%-]+")
"""What means itself to the shell that reads /etc/default/grub.d and in GRUB's own language."""
_ISOLATION = ("isolcpus", "nohz_full")
"""Of these the kernel keeps the first list that takes cores for a purpose, and drops a later parameter with another
list whole (kernel/sched/isolation.c: "must match")."""
_ONCE = ("irqaffinity", "nmi_watchdog", "nohz_full", "preempt", "rcu_nocbs", "skew_tick")
"""Parameters of our roles of which the kernel takes one value alone."""

_RENAMING = ("biosdevname", "ifname", "net.ifnames")
_BLACKLISTS = ("modprobe.blacklist", "module_blacklist", "rd.driver.blacklist")


def faults(arguments: Sequence[str]) -> list[str]:
    """Arguments that cannot be written, each with the reason."""
    found = []
    for argument in arguments:
        if not _PLAIN.fullmatch(argument):
            found.append(
                f"kernel argument {argument!r}: expected one word of letters, digits and _.,:=/@+%- "
                "(blanks, quotes and $ mean something to GRUB)"
            )
        elif argument in ("-", "--"):
            found.append(f"kernel argument {argument!r}: all after it would go to init")
        elif key(argument) in _RENAMING:
            found.append(
                f"kernel argument {argument}: it would rename interfaces, maybe the one by which this host is reached. "
                "Leave it out, and name them as they are called now"
            )
        elif key(argument).endswith(".ids"):
            found.append(
                f"kernel argument {argument}: it gives that driver every NIC of a model, maybe the one by which this "
                "host is reached. Leave it out, and name NICs by their PCI addresses (dpdk_devices)"
            )
    for one, other in combinations(dict.fromkeys(arguments), 2):
        twice = key(one) == key(other) and key(one) in _ONCE
        if twice or disputed([one], [other]):
            found.append(
                f"kernel arguments {one} and {other}: the kernel takes one of them alone. Leave one out of "
                "boot_extra_arguments or of a role's variables"
            )
    return found


def blacklisted(arguments: Collection[str]) -> dict[str, str]:
    """Modules of the kernel that must not be loaded, with _ for -, each with the argument that says so."""
    return {
        module.replace("-", "_"): argument
        for argument in arguments
        if key(argument) in _BLACKLISTS
        for module in argument.partition("=")[2].split(",")
    }


def disputed(wanted: Collection[str], present: Collection[str], last: int | None = None) -> list[str]:
    """Why cores cannot be isolated as wanted beside arguments of others; empty: they can.

    `last`: the last core that the kernel may have, which is N in a list.
    """
    reasons = {}
    for argument in wanted:
        purposes, cores = isolates(argument)
        for other in present:
            theirs, others = isolates(other)
            if other not in wanted and purposes & theirs and not same_cores(cores, others, last):
                why = f"{other} is there beside {argument}, and of two lists the kernel keeps the first"
                reasons.setdefault(other, why)
    return list(reasons.values())


def not_isolated(wanted: Collection[str], isolated: str | None, last: int | None = None) -> list[str]:
    """Why the kernel keeps other cores free (/sys/devices/system/cpu/isolated; None: not known) than these."""
    reasons = []
    for argument in wanted:
        purposes, cores = isolates(argument)
        if "domain" in purposes and isolated is not None and not same_cores(cores, isolated, last):
            reasons.append(f"{argument} is there, but the kernel isolates {isolated or 'none'}")
    return reasons


def missing(wanted: Sequence[str], present: Sequence[str], last: int | None = None) -> list[str]:
    """Why `wanted` is not in effect on a command line; empty: it is.

    In effect means: each is there as the kernel reads it (4-N is 4-15 on 16 cores, 1024M is 1G), in order, and of a
    parameter that we give once none comes later, for the kernel takes the last; but of cores to isolate it keeps the
    first, so none of others may be there at all. `last`: the last core that the kernel may have.
    """
    reasons = []
    meant = [meaning(argument, last) for argument in present]
    rest = iter(meant)
    for argument in wanted:
        if meaning(argument, last) not in rest:  # an iterator: goes on after the one before
            where = "is there, but not in its order" if meaning(argument, last) in meant else "is not there"
            reasons.append(f"{argument} {where}")
            rest = iter(meant)
    keys = [key(argument) for argument in wanted]
    for argument in wanted:
        same = [other for other in present if key(other) == key(argument)]
        once = keys.count(key(argument)) == 1 and key(argument) not in _ISOLATION
        there = meaning(argument, last) in meant
        if once and there and meaning(same[-1], last) != meaning(argument, last):
            reasons.append(f"{argument} is there, but {same[-1]} comes later and counts")
    there = [argument for argument in wanted if meaning(argument, last) in meant]
    return reasons + disputed(there, present, last)


def replaced(present: Sequence[str], ours: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """A command line on which `wanted` stands where `ours`, in one piece, did; at its end if that is not there."""
    size = len(ours)
    for at in range(len(present) - size + 1) if size else ():
        if list(present[at : at + size]) == list(ours):
            return [*present[:at], *wanted, *present[at + size :]]
    return [*present, *wanted]
