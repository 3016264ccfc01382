"""Backends by name, from the entry-point group `labkit.backends`."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import entry_points

from labkit.backends.base import Backend
from labkit.errors import ConfigInvalid

GROUP = "labkit.backends"

# The order in tables: the kernel first, then with less and less of it. Backends of other packages follow by name.
_ORDER = ("kernel", "af_packet", "xdp", "af_xdp", "dpdk", "onload", "command")


@cache
def names() -> tuple[str, ...]:
    """Names of all installed backends, in table order."""
    found = {entry.name for entry in entry_points(group=GROUP)}
    return tuple([n for n in _ORDER if n in found] + sorted(found - set(_ORDER)))


@cache
def load(name: str) -> Backend:
    """The backend of that name. Raises ConfigInvalid, naming those there are."""
    for entry in entry_points(group=GROUP, name=name):
        backend: Backend = entry.load()
        return backend
    close = difflib.get_close_matches(name, names(), n=1)
    raise ConfigInvalid(
        f"unknown backend {name!r}: expected one of {', '.join(names())}",
        hint=f"did you mean {close[0]!r}?" if close else None,
    )
