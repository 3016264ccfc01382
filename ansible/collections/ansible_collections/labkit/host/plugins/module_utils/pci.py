"""PCI addresses, in whatever spelling a person has written one. Pure."""

from __future__ import annotations

import re

_SPELLING = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])", re.IGNORECASE)
_INSIDE = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def address(text: str) -> str | None:
    """As the kernel spells it: "3B:0.0" is 0000:3b:00.0; None: this is none."""
    found = _SPELLING.fullmatch(text.strip())
    if not found:
        return None
    domain, bus, slot, function = found.groups()
    return f"{int(domain or '0', 16):04x}:{int(bus, 16):02x}:{int(slot, 16):02x}.{function}"


def innermost(path: str) -> str | None:
    """Address of the PCI device that a path below /sys/devices leads through last."""
    found = _INSIDE.findall(path)
    return found[-1] if found else None
