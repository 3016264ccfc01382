"""A kernel to come back to where the one that ran first is gone: tried for one boot, as every other is."""

from __future__ import annotations

from pathlib import Path

from . import boot_kernels, boot_trial, packages
from .boot_commands import Run
from .boot_loaders import Loader
from .boot_look import BootRefused, no_systemd
from .grub import KERNEL_ROLE
from .state import State


def newest(first: str, menu: Loader, run: Run, root: Path = Path("/")) -> str:
    """Release of the newest kernel of the menu that did not come with our packages. Raises BootRefused.

    A real-time kernel is none to come back to, whoever installed it: updates bring more of what we once asked for.
    """
    notes = [change.new for change in State(KERNEL_ROLE, root).changes() if change.kind == packages.KIND]
    added = [name.partition(":")[0] for note in notes for name in note["added"]]
    kernels = [name for name in added if name.startswith(("linux-", "kernel"))]
    ours = {boot_kernels.brought_by((name,), run, root) for name in kernels}
    left = [
        release
        for release in boot_kernels.installed(root)
        if release not in ours
        and menu.target(release) is not None
        and boot_kernels.config(release, root).get("CONFIG_PREEMPT_RT") != "y"
    ]
    if not left:
        raise BootRefused(
            f"The kernel that ran before, {first}, is no longer in GRUB's menu, and neither is another that did not "
            "come with our packages: install the distribution's kernel, so that the host has something to come back to"
        )
    return max(left, key=boot_kernels.order)


def try_once(
    release: str, menu: Loader, *, panic_s: int, confirm_s: int, run: Run, root: Path = Path("/")
) -> None:
    """Make the next boot, and that alone, that kernel without our arguments. Raises BootRefused."""
    target, old = menu.target(release), menu.default()
    assert target is not None, "newest has looked"
    cannot = menu.refusal() or no_systemd(root) or ("" if old else "GRUB's default is no Linux kernel")
    if old is None or cannot:
        raise BootRefused(f"Kernel {release} can't be tried: {cannot}")
    trial = boot_trial.Trial(
        target=target, old=old, ours=tuple(menu.ours()), arguments=(), panic_s=panic_s, confirm_s=confirm_s
    )
    if boot_trial.failed(trial, root):
        boot_trial.clear(run, root)
        raise BootRefused(
            f"Kernel {release} was tried and did not come up, or was not reached, so the default is as before: install "
            "another kernel of the distribution, and revert again"
        )
    boot_trial.arm(trial, menu.environment, run, root)
