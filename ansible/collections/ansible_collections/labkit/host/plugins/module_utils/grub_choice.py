"""Which entry GRUB takes for a default: its own rule for numbers, ids, titles and paths of those. Pure.

Two rules are about. That of GRUB itself (Debian, Ubuntu): what begins with a number is that number, whatever follows;
only what does not is a title or an id. That of EL's GRUB: ids first (they begin with a machine id, so often with a
digit), then titles, and a number only where nothing follows it. Neither takes a sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_BLANKS = " \t\n\r"
_TOO_LARGE = 1 << 64
_OTHERWISE_ON_BIOS = 1 << 32
"""From here on GRUB for BIOS (32 bits) sees an overflow, and GRUB for UEFI drops the upper bits."""


class Named(Protocol):
    """An entry, as far as it matters here."""

    title: str
    id: str
    submenu: bool


@dataclass(frozen=True)
class Number:
    """What GRUB reads at the start of a text."""

    value: int | None
    """None: the text begins with no number."""
    rest: str

    @property
    def index(self) -> int | None:
        """As a C int; None: none, or negative."""
        low = 0xFFFFFFFF if self.value is None or self.value >= _TOO_LARGE else self.value & 0xFFFFFFFF
        return None if low >> 31 else low


def number(text: str) -> Number:
    """Read it as GRUB's strtoul does: blanks before it, 0x for 16 (no 0X), 0 and a digit below 8 for 8, no sign."""
    left = text.lstrip(_BLANKS)
    base = 10
    if left[:2] == "0x":
        base, left = 16, left[2:]
    elif left[:1] == "0" and left[1:2] and left[1:2] in "01234567":
        base = 8
    digits = "0123456789abcdef"[:base]
    size = next((at for at, one in enumerate(left) if one.lower() not in digits), len(left))
    return Number(int(left[:size], base) if size else None, left[size:])


def depends_on_firmware(wanted: str) -> bool:
    """Whether a number is in there that GRUB for BIOS reads otherwise than GRUB for UEFI."""
    found = number(wanted).value
    _, inner = parts(wanted)
    return (found is not None and found >= _OTHERWISE_ON_BIOS) or (bool(inner) and depends_on_firmware(inner))


def parts(wanted: str) -> tuple[str, str]:
    """The title or id that a default begins with, and all behind its first >. `>>` is one > of a title."""
    first, at = "", 0
    while at < len(wanted):
        if wanted[at] == ">":
            if wanted[at + 1 : at + 2] != ">":
                return first, wanted[at + 1 :]
            at += 1
        first += wanted[at]
        at += 1
    return first, ""


def index(entries: Sequence[Named], wanted: str, *, el: bool = False) -> int | None:
    """Which of them a default names; None: none of them, and GRUB takes the first."""
    found = _index_el(entries, wanted) if el else _index(entries, wanted)
    return found if found is not None and found < len(entries) else None


def _index(entries: Sequence[Named], wanted: str) -> int | None:
    read = number(wanted)
    if read.value is not None:
        return read.index
    return next((at for at, entry in enumerate(entries) if parts(wanted)[0] in (entry.title, entry.id)), None)


def _index_el(entries: Sequence[Named], wanted: str) -> int | None:
    word = wanted.split(None, 1)[0] if wanted[:1] not in _BLANKS and wanted else ""
    for at, entry in enumerate(entries):
        if word and parts(word)[0] == entry.id:
            return at if word == wanted else None
    for at, entry in enumerate(entries):
        if entry.title and parts(wanted)[0] == entry.title:
            return at
    read = number(wanted)
    return read.index if read.value is not None and not read.rest else None
