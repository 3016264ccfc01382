"""What the menu was before us, and how it gets that way again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import boot_kernels, boot_trial
from .boot_commands import CommandFailed, Run, run
from .boot_loaders import NoLoader, loader
from .state import Change, State

KIND = "boot"
MENU = "menu"
"""What changes of this kind name: there is one menu. `old` has the release that ran, `new` all arguments of ours."""


def note(role: str, arguments: Sequence[str], root: Path) -> None:
    """Write down what rules before our first change of the menu."""
    now = boot_kernels.running(root)
    State(role, root).note(KIND, MENU, {"release": now.release}, list(arguments))


def noted(role: str, root: Path) -> list[str]:
    """Arguments that we have ever added."""
    found = [one.new for one in State(role, root).changes() if one.kind == KIND]
    return found[0] if found else []


def restore(change: Change, root: Path, run: Run = run) -> str | None:
    """Make grub.cfg fit the files that are left; None when this boot, too, is free of our arguments."""
    try:
        menu = loader(run, root)
        if menu.stale() is not None:
            menu.update()
    except (NoLoader, CommandFailed) as error:
        return str(error)
    now = boot_kernels.running(root)
    default = menu.default()
    rest = [
        word for word in change.new if word in now.arguments and default and word not in default.arguments
    ]
    # The trial of a kernel alone has none of our arguments: a stand-in for the first kernel comes so.
    if rest or (change.new and now.trial() not in (None, boot_trial.name(now.release, ()))):
        return f"this boot still has {' '.join(rest) or 'a trial'}: reboot, then revert again"
    return None
