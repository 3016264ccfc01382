"""Lists of cores as the kernel writes them ("1-3,5"). Pure: reads no host."""

from __future__ import annotations

import re
from collections.abc import Collection

PRESENT = "/sys/devices/system/cpu/present"
"""The list of the cores that a host has, offline ones too: boot arguments must not depend on what is offline now."""
ONLINE = "/sys/devices/system/cpu/online"
"""The list of those that run: with SMT off the siblings are present and offline, and nothing can be put on them."""
FORM = 'expected core numbers and ranges with commas between, such as "1-3,5"'


def parse(text: str) -> frozenset[int]:
    """Cores in a list; of an empty one none. Raises ValueError."""
    cores: set[int] = set()
    for part in text.strip().split(",") if text.strip() else []:
        found = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part, re.ASCII)
        if not found:
            raise ValueError(f"cores {text.strip()!r}: {part!r} is none, {FORM}")
        first, last = int(found.group(1)), int(found.group(2) or found.group(1))
        if last < first:
            raise ValueError(f"cores {text.strip()!r}: {part.strip()!r} runs backwards, {FORM}")
        cores.update(range(first, last + 1))
    return frozenset(cores)


def listed(cores: Collection[int]) -> str:
    """The list as the kernel prints it: sorted, neighbours as ranges."""
    parts: list[str] = []
    left = sorted(set(cores))
    while left:
        run = 1
        while run < len(left) and left[run] == left[0] + run:
            run += 1
        parts.append(str(left[0]) if run == 1 else f"{left[0]}-{left[run - 1]}")
        left = left[run:]
    return ",".join(parts)


def rest(isolated: str, present: str) -> str:
    """The cores of a host that stay for everything else: time, IRQs, the kernel's own work."""
    return listed(parse(present) - parse(isolated))


def offline(cores: Collection[int], online: str) -> frozenset[int]:
    """Those that don't run; `online` is the list of those that do, an empty one means not known."""
    return frozenset(cores) - parse(online) if online.strip() else frozenset()


def mask(cores: Collection[int]) -> str:
    """The hexadecimal mask that /proc and /sys take: words of 32 bits, commas between."""
    digits = f"{sum(1 << core for core in set(cores)):x}"
    digits = digits.rjust(-(-len(digits) // 8) * 8, "0") if len(digits) > 8 else digits
    return ",".join(digits[at : at + 8] for at in range(0, len(digits), 8))


def from_mask(text: str) -> frozenset[int]:
    """Cores in a hexadecimal mask. Raises ValueError."""
    bits = int(text.strip().replace(",", "") or "0", 16)
    return frozenset(core for core in range(bits.bit_length()) if bits >> core & 1)


def problems(isolated: str, present: str, *, rt_runtime_us: str = "", max_cstate: str = "") -> list[str]:
    """All that is wrong with isolating these cores of a host that has those; nothing isolated is right."""
    found: list[str] = []
    # /proc/sys/kernel/sched_rt_period_us is 1 s unless somebody changed it; 0 would stop real-time tasks for good.
    if rt_runtime_us and not (rt_runtime_us == "-1" or _whole(rt_runtime_us, 1, 1_000_000)):
        found.append(
            f"real-time share of {rt_runtime_us!r} us a second: expected 1 to 1000000, or -1 for no limit"
        )
    if max_cstate and not _whole(max_cstate, 0, 9):
        found.append(f"deepest C-state {max_cstate!r}: expected a number from 0 to 9")
    try:
        cores = parse(isolated)
    except ValueError as error:
        return [*found, str(error)]
    host = parse(present)
    if missing := cores - host:
        found.append(
            f"there is no core {listed(missing)}: this host has {listed(host)}. Isolate some of those"
        )
    if cores and not host - cores:
        found.append(
            f"all cores of this host ({listed(host)}) would be isolated: leave at least core 0 for everything else"
        )
    elif 0 in cores:
        # The kernel starts on it, keeps time on it and takes it out of nohz_full again (kernel/time/tick-sched.c),
        # firmware sends its interrupts there, and DPDK's guide leaves it alone.
        found.append("core 0 can't be isolated: the kernel keeps time and starts up on it. Isolate others")
    return found


def _whole(text: str, least: int, most: int) -> bool:
    return bool(re.fullmatch(r"\d{1,7}", text, re.ASCII)) and least <= int(text) <= most
