"""Kernel and command line are changed as one: pinned, tried for one boot, and the default only when that was right.

Nothing is remembered between runs but what undo needs. Each step looks at what runs, what the menu says and what a
trial left, and so a run that was broken off is simply run again.
"""

from __future__ import annotations

from pathlib import Path

from . import boot_kernels, boot_trial, boot_undo
from .boot_commands import CommandFailed, Run, run
from .boot_line import Tried
from .boot_loaders import NoLoader, loader
from .boot_look import BootRefused, Found, Wanted, asked_release, look, no_systemd, not_default, to_try
from .grub import ARGUMENTS_ROLE, KERNEL_ROLE


class TrialFailed(Exception):
    """The host is not what was tried. The default is the old kernel, and the trial is cleared away."""


def pin(*, check: bool = False, run: Run = run, root: Path = Path("/")) -> bool:
    """Keep the running kernel the default, whatever kernels come; leave a pin that is there. Raises BootRefused."""
    try:
        menu = loader(run, root)
    except NoLoader as error:
        raise BootRefused(str(error)) from error
    cannot = menu.refusal() or no_systemd(root)
    if cannot:
        raise BootRefused(cannot)
    if menu.pinned():
        return False
    release = boot_kernels.running(root).release
    if menu.target(release) is None:
        raise BootRefused(
            f"The running kernel {release} is not in GRUB's menu, so the host could not come back to it: reboot first"
        )
    if not check:
        boot_undo.note(KERNEL_ROLE, [], root)
        menu.put(pin=release, arguments=None)
    return True


def try_once(
    wanted: Wanted,
    *,
    panic_s: int,
    confirm_s: int,
    check: bool = False,
    run: Run = run,
    root: Path = Path("/"),
) -> bool:
    """Make the next boot, and that alone, the one that is wanted. Returns whether one is needed."""
    found = look(wanted, expected=not check, run=run, root=root)
    if found.needed != "trial":
        return False
    if not check:
        menu = loader(run, root)
        old = menu.default()
        assert old is not None, "look refuses that"
        release = asked_release(wanted, run, root)
        trial = boot_trial.Trial(
            # The default itself where no kernel is asked for: another entry of the same one may see other variables.
            target=to_try(menu, release),
            old=old,
            ours=tuple(menu.ours()),
            arguments=wanted.arguments,
            panic_s=panic_s,
            confirm_s=confirm_s,
        )
        if release:
            # Now, for on trial another kernel runs, and a release that is there needs no pin before.
            boot_undo.note(KERNEL_ROLE, [], root)
        boot_trial.arm(trial, menu.environment, run, root)
    return True


def confirm(wanted: Wanted, *, check: bool = False, run: Run = run, root: Path = Path("/")) -> bool:
    """Make what runs the default, if it is what is wanted. Returns whether anything was changed.

    Raises TrialFailed if something else runs.
    """
    found = look(wanted, expected=not check, run=run, root=root)
    if found.needed == "nothing":
        return False
    if check:
        return True
    if found.needed == "trial":
        now = boot_kernels.running(root)
        tried, rebooted = boot_trial.waiting(root), boot_trial.rebooted(root)
        boot_trial.clear(run, root)
        raise TrialFailed(_failure(wanted, found, now, tried=tried, rebooted=rebooted))
    now = boot_kernels.running(root)
    # What runs without a trial was booted by somebody else, maybe before he changed his own settings.
    tried = Tried(now.release, tuple(boot_trial.without(now.arguments))) if now.trial() else None
    if boot_trial.waiting(root):
        boot_trial.disarm(run, root)  # before the slow part: it must not reboot in the midst of it
    menu = loader(run, root)
    release = asked_release(wanted, run, root)
    if release:
        boot_undo.note(KERNEL_ROLE, [], root)  # where it ran already nothing was tried
    if menu.ours() != list(wanted.arguments) and (menu.ours() or not_default(menu, wanted, release)):
        boot_undo.note(
            ARGUMENTS_ROLE, [*boot_undo.noted(ARGUMENTS_ROLE, root), *menu.ours(), *wanted.arguments], root
        )
    try:
        menu.put(pin=release or None, arguments=wanted.arguments, tried=tried)
    except CommandFailed as error:
        boot_trial.clear(run, root)
        raise TrialFailed(
            f"Kernel {now.release} with the arguments {' '.join(wanted.arguments) or '(none of ours)'} runs as it "
            f"should, and could not be made the default: {error}"
        ) from error
    boot_trial.clear(run, root)
    return True


def _failure(wanted: Wanted, found: Found, now: boot_kernels.Running, *, tried: bool, rebooted: bool) -> str:
    reasons = "; ".join(found.reasons)
    trial = f"Kernel {found.release} with the arguments {' '.join(wanted.arguments) or '(none of ours)'}"
    if tried and not rebooted:
        return (
            f"{trial} was chosen for one boot, but this host never rebooted ({reasons}). The selection was reverted, "
            "and the default was not touched. What the task that reboots said shows why"
        )
    if now.trial():
        return (
            f"{trial} was booted on trial, and it is not what was requested: {reasons}. The default was not touched; "
            "the next boot starts that"
        )
    if tried:
        return (
            f"{trial} was tried and did not come up, or was not reached: the host is back by itself on kernel "
            f"{now.release} as before ({reasons}). The default was not touched. A serial console or netconsole shows "
            "why; boot_confirm_s is how long a trial may take to be reached"
        )
    return f"The host does not run what is requested ({reasons}), and no trial was made: run the play again"
