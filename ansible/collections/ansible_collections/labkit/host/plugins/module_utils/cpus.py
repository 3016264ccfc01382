"""Lists of cores as the kernel writes them ("1-3,5"). Pure: reads no host."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

PRESENT = "/sys/devices/system/cpu/present"
"""The list of the cores that a host has, offline ones too: boot arguments must not depend on what is offline now."""
ONLINE = "/sys/devices/system/cpu/online"
"""The list of those that run: with SMT off the siblings are present and offline, and nothing can be put on them."""
_BLANKS = " \t\n\r\f\v"
_NUMBER = r"\d+|N"


@dataclass(frozen=True)
class Syntax:
    """How a program reads a list of cores: what such programs differ in. Each has core numbers and ranges."""

    blanks: str = "around"
    """Where they may stand: "around" a part, "between" parts like commas, or "outside" the list alone."""
    empty: str = "refused"
    """What a part without anything is: "refused", "skipped", or "zero" for core 0."""
    open_end: bool = False
    """Whether a range may lack its end, which is core 0 then."""
    words: bool = False
    """Whether it knows N (the last core), all, and groups such as 0-15:2/4."""
    digits: int | None = None
    """Most digits of a number; None: any."""
    most: int | None = None
    """Last core that it takes; None: any."""
    form: str = 'expected core numbers and ranges with commas between, such as "1-3,5"'
    """What to write."""

    @property
    def part(self) -> re.Pattern[str]:
        """One part: its first core, its end, and of a group how many are used of how many."""
        if self.words:
            return re.compile(rf"({_NUMBER})(?:-({_NUMBER})(?::({_NUMBER})/({_NUMBER}))?)?", re.ASCII)
        digits = rf"\d{{1,{self.digits}}}" if self.digits else r"\d+"
        end = r"\d*" if self.open_end else digits
        return re.compile(rf"({digits})(?:-({end}))?()()", re.ASCII)


INVENTORY = Syntax(digits=5)
"""The inventory, and what the kernel prints."""
KERNEL = Syntax(
    blanks="between",
    empty="skipped",
    words=True,
    most=1 << 16,  # more than any kernel is built for
    form='expected what the kernel reads, such as "1-3,5", 4-N, all',
)
"""The kernel's command line (lib/bitmap-str.c)."""
IRQBALANCE = Syntax(blanks="outside", empty="zero", open_end=True, most=4095)
"""irqbalance's own (its cputree.c and bitmap.c)."""
_ALL = re.compile(rf"all(?::({_NUMBER})/({_NUMBER}))?", re.ASCII | re.IGNORECASE)


def parse(text: str, syntax: Syntax = INVENTORY, last: int | None = None) -> frozenset[int]:
    """Cores in a list; of an empty one none. Raises ValueError.

    `last`: the last core that the kernel may have; where it is not known, N and all can't be read.
    """
    cores, wrong = scan(text, syntax, last)
    if wrong:
        raise ValueError(f"cores {text.strip()!r}: {wrong}, {syntax.form}")
    return cores


def scan(text: str, syntax: Syntax, last: int | None = None) -> tuple[frozenset[int], str]:
    """Cores up to the first part that is wrong, and what is wrong with that; empty: nothing."""
    cores: set[int] = set()
    for part in _parts(text, syntax):
        try:
            cores |= _region(part, syntax, last)
        except ValueError as error:
            return frozenset(cores), str(error)
    return frozenset(cores), ""


def _parts(text: str, syntax: Syntax) -> Iterator[str]:
    """Without the blanks that may stand there."""
    if syntax.blanks == "between":
        yield from filter(None, re.split(r"[\s,]+", text, flags=re.ASCII))
    elif syntax.blanks == "around":
        yield from (part.strip(_BLANKS) for part in text.strip().split(",") if text.strip())
    else:
        whole = text.rstrip(_BLANKS)
        if whole == text:
            whole = text[:-1] if text.endswith(",") else text  # a comma at the end begins no part
        begun = False
        for part in whole.split(","):
            yield part if begun else part.lstrip(_BLANKS)
            begun = begun or any(character in "0123456789" for character in part)


def _region(part: str, syntax: Syntax, last: int | None) -> set[int]:
    """Cores of one part. Raises ValueError."""
    if not part and syntax.empty == "zero":
        return {0}
    whole = _ALL.fullmatch(part) if syntax.words else None
    found = whole or syntax.part.fullmatch(part)
    if not found:
        raise ValueError(f"{part!r} is no core or range")
    first, end, used, group = ("0", "N", *whole.groups()) if whole else found.groups()
    start = _number(first, last)
    stop = start if end is None else _number(end, last)
    length, of_each = (_number(group, last), _number(used, last)) if group else (1, 1)
    most = syntax.most if last is None else last
    if stop < start or not length or of_each > length or (most is not None and stop > most):
        raise ValueError(f"{part!r} is no valid range")
    return {core for core in range(start, stop + 1) if (core - start) % length < of_each}


def _number(text: str, last: int | None) -> int:
    if text != "N":
        number = int(text.lstrip("0")[:11] or 0)  # 11 digits are too much in any case
        if number >> 32:  # the kernel's limit; irqbalance's is far below
            raise ValueError(f"{text[:20]!r} is no valid range")
        return number
    if last is None:
        raise ValueError("N is the last core that the kernel may have, and that is not known")
    return last


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
