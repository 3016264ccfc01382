"""Where a value of a variable was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:  # from ansible-core 2.19 on values know where they stand
    from ansible._internal._datatag._tags import Origin
except ImportError:
    Origin = None


def place(value: Any) -> str:  # noqa: ANN401 (any YAML)
    """Its file, line and column in brackets, to be appended; empty where not known."""
    origin = Origin.get_tag(value) if Origin else None
    return f" ({origin})" if origin else ""


def set_below(folder: str, name: str) -> bool:
    """Whether a task in a file of this folder gave the variable its name."""
    origin = Origin.get_tag(name) if Origin else None
    return bool(origin and origin.path) and Path(origin.path).is_relative_to(Path(folder).resolve())
