"""Takes kernel and command line back, as far as this boot allows: a kernel that runs cannot be removed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import boot_kernels, boot_undo, undo
from .boot_commands import Run, run
from .boot_loaders import loader
from .boot_look import BootRefused
from .grub import ARGUMENTS_ROLE, KERNEL_ROLE
from .state import State


@dataclass(frozen=True)
class Reverted:
    """What a revert did so far."""

    done: list[str]
    reboot: bool
    """Whether the host still runs what was taken back: reboot, then revert again."""


def revert(*, check: bool = False, run: Run = run, root: Path = Path("/")) -> Reverted:
    """Make the kernel that ran first the default again, without our arguments. Raises BootRefused."""
    state = State(KERNEL_ROLE, root)
    first = [one.old["release"] for one in state.changes() if one.kind == boot_undo.KIND]
    done: list[str] = []
    now = boot_kernels.running(root)
    if first:
        menu = loader(run, root)
        if menu.pinned() != first[0]:
            if menu.target(first[0]) is None:
                raise BootRefused(
                    f"The kernel that ran before, {first[0]}, is no longer in GRUB's menu: install it again, so "
                    "that the host has something to come back to"
                )
            if not check:
                # Both at once: update-grub takes its time.
                menu.put(pin=first[0], arguments=() if menu.ours() else None)
            done.append(f"default is kernel {first[0]}")
    undone, left = undo.undo(ARGUMENTS_ROLE, root, check=check)
    still = [reason for reason in left if not reason.startswith(f"{boot_undo.KIND} {boot_undo.MENU}")]
    if still:
        raise BootRefused("Not put back: " + "; ".join(still))
    ran = [word for word in boot_undo.noted(ARGUMENTS_ROLE, root) if word in now.arguments] if check else []
    other = bool(first) and now.release != first[0]
    return Reverted(done + undone, reboot=bool(left or ran) or other or now.trial() is not None)
