"""Which labkit this is: a hash of its files, to see whether another machine has the same."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = frozenset({".py", ".c", ".h", ".build", ".json", ".options", ".txt"})


@cache
def digest() -> str:
    """Of the Python and C files of the package, 16 hexadecimal digits."""
    found = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*")):
        inside = path.relative_to(_PACKAGE)
        if path.suffix in _SUFFIXES and not {"perf_suite", "topologies", "ansible"} & set(inside.parts):
            found.update(str(inside).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]
