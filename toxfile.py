"""What `sudo tox` makes in this checkout belongs to the one who called sudo, as results/ does."""

from __future__ import annotations

import sys
from pathlib import Path

from tox.plugin import impl
from tox.tox_env.api import ToxEnv

ROOT = Path(__file__).parent
MADE_HERE = (".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", "build", "results")


@impl
def tox_env_teardown(tox_env: ToxEnv) -> None:
    """Hand it over at the end of every environment, however it ended."""
    sys.path.insert(0, str(ROOT))
    try:
        from labkit.machine.ownership import caller, hand_over
    finally:
        sys.path.remove(str(ROOT))
    if caller() is None:
        return
    for name in MADE_HERE:
        hand_over(ROOT / name)
    for folder in ("ansible", "labkit", "tests"):
        for cache in (ROOT / folder).rglob("__pycache__"):
            hand_over(cache)
    hand_over(ROOT / "__pycache__")
