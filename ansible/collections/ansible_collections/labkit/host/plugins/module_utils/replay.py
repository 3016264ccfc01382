"""Makes again, after a boot, what the kernel has forgotten: `python3 -m labkit_host.replay` of labkit-host.service.

Makes nothing that was not noted with `persist`, and writes nothing down: the old values stay those of the first run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import drivers, ethtool, hugepools, irqs, mounts, settings
from .state import Change, State, StateUnreadable, roles

REPLAY: dict[str, Callable[[Change, Path], None]] = {
    settings.KIND: settings.again,
    drivers.KIND: drivers.again,
    ethtool.KIND: ethtool.again,
    hugepools.KIND: hugepools.again,
    irqs.KIND: irqs.again,
    mounts.KIND: mounts.again,
}
"""Kind of change to what makes it again; raises an error with the reason why it could not."""
PATIENCE_S = 15.0
"""Devices appear while a machine boots: so long what could not be made is tried once more."""


def replay(
    root: Path = Path("/"),
    *,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, str | None]]:
    """Make all of it again, oldest first; yields each with the reason why it could not be (None: it is so)."""
    deadline = clock() + patience_s
    left: set[str] | None = None
    unreadable: set[str] = set()
    while left is None or left:
        failed: dict[str, str] = {}
        # Read anew each time: a role may have changed meanwhile what failed, or taken it back.
        for name, found in _noted(root):
            if isinstance(found, str):
                if name not in unreadable:
                    unreadable.add(name)
                    yield name, found
            elif left is None or name in left:
                reason = _again(found, root)
                if reason is None:
                    yield name, None
                else:
                    failed[name] = reason
        if failed and clock() >= deadline:
            yield from failed.items()
            return
        left = set(failed)
        if left:
            sleep(0.5)


def _noted(root: Path) -> Iterator[tuple[str, Change | str]]:
    """What is to be made again, by name, oldest first; for a role whose notes cannot be read, why not."""
    for role in roles(root):
        try:
            changes = State(role, root).changes()
        except (StateUnreadable, OSError) as error:
            yield role, str(error)
            continue
        yield from ((f"{role}: {one.kind} {one.target}", one) for one in changes if one.persist)


def _again(change: Change, root: Path) -> str | None:
    if change.kind not in REPLAY:
        return "a kind of change that is not made again at boot"
    try:
        REPLAY[change.kind](change, root)
    except Exception as error:  # whatever it is, the others are made
        return str(error) or type(error).__name__
    return None


def main() -> int:
    """A line each for the journal; exit code 1 if any failed."""
    code = 0
    for name, reason in replay():
        # <3> and <6> are priorities of the journal (sd-daemon(3)): error, information.
        print(
            f"<6>{name}: made again" if reason is None else f"<3>{name}: NOT made again: {reason}", flush=True
        )
        code = code if reason is None else 1
    return code


if __name__ == "__main__":
    sys.exit(main())
