"""Which cores irqbalance is configured not to use, by its own rules (its cputree.c and bitmap.c). Pure.

It never refuses a value: it takes what it has read up to the first character that it does not understand, and says
nothing. So "-" bans nothing, which is how OpenShift writes it, and "1, 3" bans core 1 alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import cpus

LIST = "IRQBALANCE_BANNED_CPULIST"
MASK = "IRQBALANCE_BANNED_CPUS"
_SPACE = " \t\n\v\f\r"


@dataclass(frozen=True)
class Bans:
    """What it makes of its environment."""

    cores: frozenset[int] = frozenset()
    name: str = ""
    """The variable that counts; empty: neither does, and it keeps off isolated and nohz_full cores by itself."""
    value: str = ""
    unread: bool = False
    """Whether it stopped before the end of the value."""

    def trouble(self) -> str:
        """What it does not read of a value that names cores; empty: nothing that matters."""
        if not self.unread or self.value.strip() in ("-", ""):
            return ""
        read = ",".join(map(str, sorted(self.cores)))
        return (
            f"{self.name}={self.value!r}: irqbalance takes {f'cores {read}' if read else 'nothing'} of it"
            + (
                ' (expected a list without blanks, such as "1-3,5")'
                if self.name == LIST
                else " (expected a mask)"
            )
        )


def of(environment: Mapping[str, str]) -> Bans:
    """By its environment: the older mask counts before the list, an empty value as if it were not there."""
    for name, read in ((MASK, _mask), (LIST, _list)):
        if value := environment.get(name, ""):
            cores, whole = read(value)
            return Bans(cores, name, value, not whole)
    return Bans()


def of_process(environment: str) -> Bans:
    """By the environment of a process, a variable a line."""
    return of(dict(line.split("=", 1) for line in environment.splitlines() if "=" in line))


def _list(text: str) -> tuple[frozenset[int], bool]:
    """Cores, and whether the text was read to its end. An empty part counts as core 0, as it does there."""
    cores, wrong = cpus.scan(text, cpus.IRQBALANCE)
    return cores, not wrong


def _mask(text: str) -> tuple[frozenset[int], bool]:
    """Of hexadecimal words of 32 bits with commas between."""
    mask, words, digits = 0, 0, 0
    at, last = 0, ""

    def cores() -> frozenset[int]:
        return frozenset(core for core in range(mask.bit_length()) if mask >> core & 1)

    more = True
    while more:
        more, word, before_word = False, 0, digits
        while at < len(text):
            before, last = last, text[at]
            at += 1
            if last in _SPACE:
                continue
            if digits and before and before in _SPACE:
                return cores(), False
            if last == ",":
                more = at < len(text)
                break
            if last not in "0123456789abcdefABCDEF" or word >> 28:
                return cores(), False
            word, digits = word << 4 | int(last, 16), digits + 1
        if digits == before_word:
            return cores(), False
        if words or word:
            mask, words = mask << 32 | word, words + 1
    return cores(), True
