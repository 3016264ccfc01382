"""Takes kernel and command line back, as far as this boot allows: a kernel that runs cannot be removed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import boot_kernels, boot_stand_in, boot_trial, boot_undo, undo
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
    warning: str = ""
    """What is not as it was, and cannot be."""


def revert(
    *,
    panic_s: int = 10,
    confirm_s: int = 900,
    check: bool = False,
    run: Run = run,
    root: Path = Path("/"),
) -> Reverted:
    """Make the kernel that ran first the default again, without our arguments. Raises BootRefused.

    Where that kernel is gone the newest of the distribution's stands in, after a trial.
    """
    state = State(KERNEL_ROLE, root)
    first = next((one.old["release"] for one in state.changes() if one.kind == boot_undo.KIND), "")
    back, warning = first, ""
    done: list[str] = []
    now = boot_kernels.running(root)
    if first:
        menu = loader(run, root)
        if menu.target(first) is None:
            back = boot_stand_in.newest(first, menu, run, root)
            warning = f"Kernel {first}, which ran first, is gone from this host. {back} stands in for it"
            if now.release != back:
                if not check:
                    boot_stand_in.try_once(
                        back, menu, panic_s=panic_s, confirm_s=confirm_s, run=run, root=root
                    )
                return Reverted([f"next boot is kernel {back}, on trial"], reboot=True, warning=warning)
            if not check:
                boot_trial.disarm(run, root)
        if menu.pinned() != back:
            if not check:
                # Both at once: update-grub takes its time.
                menu.put(pin=back, arguments=() if menu.ours() else None)
            done.append(f"default is kernel {back}")
    undone, left = undo.undo(ARGUMENTS_ROLE, root, check=check)
    still = [reason for reason in left if not reason.startswith(f"{boot_undo.KIND} {boot_undo.MENU}")]
    if still:
        raise BootRefused("Not reverted: " + "; ".join(still))
    ran = [word for word in boot_undo.noted(ARGUMENTS_ROLE, root) if word in now.arguments] if check else []
    tried = boot_trial.name(back, ()) if back != first else None
    other = now.release != back if back else False
    reboot = bool(left or ran) or other or now.trial() not in (None, tried)
    return Reverted(done + undone, reboot, warning)
