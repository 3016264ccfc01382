"""A kernel command line as the kernel reads it: words, lists of cores, sizes of memory. Pure.

Lists of cores are read by `cpus.parse`, as the kernel reads them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import cpus

_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"?|\\.|[^\s"'\\]|['\\])+""", re.DOTALL)
PURPOSES = ("domain", "managed_irq", "nohz")
"""What isolcpus= takes cores for."""
_LISTS = ("nohz_full", "rcu_nocbs", "irqaffinity", "kthread_cpus")
_SIZES = ("hugepagesz", "default_hugepagesz")
_FACTORS = {unit: 1 << 10 * power for power, unit in enumerate("kmgtpe", 1)}


def words(text: str) -> list[str]:
    """Its words. A blank between quotes divides nothing."""
    return _WORD.findall(text)


def key(argument: str) -> str:
    """The parameter's name: the kernel takes - and _ for one another, and drops quotes."""
    return _unquoted(argument).partition("=")[0].replace("-", "_")


def value(argument: str) -> str:
    """What is given to it, without its quotes."""
    return _unquoted(_unquoted(argument).partition("=")[2])


def _unquoted(text: str) -> str:
    return text.strip('"') if text[:1] == '"' else text


def cores(text: str, last: int | None = None) -> frozenset[int]:
    """Cores in a list: `1-3,5`, `4-N`, `all`, `0-15:2/4`. `last` as in `cpus.parse`. Raises ValueError."""
    return cpus.parse(text, cpus.KERNEL, last)


def isolates(argument: str) -> tuple[frozenset[str], str]:
    """What an isolcpus= or nohz_full= takes cores for, and their list; of any other argument nothing.

    As kernel/sched/isolation.c: words before the list are purposes, unknown ones are skipped (also `all` and `N`).
    """
    if key(argument) == "nohz_full":
        return frozenset(["nohz"]), value(argument)
    if key(argument) != "isolcpus":
        return frozenset(), ""
    rest, purposes = value(argument), set()
    while rest[:1].isascii() and rest[:1].isalpha():
        word, _, rest = rest.partition(",")
        purposes |= {word} & set(PURPOSES)
    return frozenset(purposes or ["domain"]), rest


def size(text: str) -> int | None:
    """Bytes of a size such as 1G, 2M or 2048k, as the kernel's memparse reads it; None: it reads none."""
    found = re.match(r"(0[xX][0-9a-fA-F]+|\d+)([kmgtpeKMGTPE]?)", text, re.ASCII)
    if not found:
        return None
    digits, unit = found.groups()
    base = (
        16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" and digits.strip("01234567") == "" else 10
    )
    return int(digits, base) * _FACTORS.get(unit.lower(), 1)


def meaning(argument: str, last: int | None = None) -> tuple[str, object]:
    """The same for arguments that say the same to the kernel."""
    name, given = key(argument), value(argument)
    try:
        if name == "isolcpus":
            purposes, listed = isolates(argument)
            return name, (purposes, cores(listed, last))
        if name in _LISTS and "=" in argument:
            return name, cores(given, last)
    except ValueError:
        return name, given
    if name in _SIZES:
        return name, size(given) or given
    return name, given if "=" in argument else None


def same_cores(one: str, other: str, last: int | None = None) -> bool:
    """Whether two lists have the same cores."""
    try:
        return cores(one, last) == cores(other, last)
    except ValueError:
        return one == other


def last_of(possible: str) -> int | None:
    """The last core in /sys/devices/system/cpu/possible; None: it is not known."""
    try:
        return max(cores(possible), default=None)
    except ValueError:
        return None


def strangers(line: Sequence[str], other: Sequence[str], last: int | None = None) -> list[str]:
    """Words of a command line that another one does not have."""
    known = {meaning(word, last) for word in other}
    return [word for word in line if meaning(word, last) not in known]
