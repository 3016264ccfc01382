"""One boot of a kernel that is not trusted yet, after which the old default rules again whatever happened.

GRUB forgets next_entry before it starts the kernel; a kernel that cannot be loaded gives way to the old one at once;
one that panics reboots by panic=N, and one that finds no root file system by that (initramfs-tools) or by rd.emergency=
(dracut); one that boots and is not reached is rebooted by a unit. Nothing here catches a kernel that hangs before it
could panic: that takes a watchdog of the hardware.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import boot_kernels
from .boot_arguments import replaced
from .boot_commands import CommandFailed, Run, run
from .boot_target import Target
from .grub_environment import Environment
from .state import Change, State, remove, write_whole

KIND = "boot_trial"
ROLE = "boot"
UNIT = "labkit-trial.service"
_UNIT_FILE = "etc/systemd/system/" + UNIT
_BEGIN = "### BEGIN labkit trial ###\n"
_END = "### END labkit trial ###\n"
BLOCK = re.compile(re.escape(_BEGIN) + ".*?" + re.escape(_END), re.DOTALL)
_PREFIXES = {"boot/grub": "grub", "boot/grub2": "grub2"}


@dataclass(frozen=True)
class Trial:
    """What is booted once."""

    target: Target
    old: Target
    """Started at once where the other cannot be loaded."""
    ours: tuple[str, ...]
    """Our arguments that the menu has now."""
    arguments: tuple[str, ...]
    """Our arguments to try."""
    panic_s: int
    confirm_s: int

    @property
    def id(self) -> str:
        """The same for the same kernel and arguments."""
        return name(self.target.release, self.arguments)

    @property
    def entry(self) -> str:
        """Id of its menu entry."""
        return f"labkit-trial-{self.id}"

    def block(self) -> str:
        """The menu entry, for custom.cfg."""
        line = replaced(self.target.arguments, self.ours, self.arguments)
        line += _added(self.panic_s, self.id)
        words = [self.target.image, *line, *self.target.variables]
        fallback = [self.old.image, *self.old.arguments, *self.old.variables]
        body = [
            *self.target.preparation,
            f"if linux {' '.join(words)}; then",
            f"\tinitrd {self.target.initrd}" if self.target.initrd else "\ttrue",
            "else",
            f"\tlinux {' '.join(fallback)}",
            f"\tinitrd {self.old.initrd}" if self.old.initrd else "\ttrue",
            "fi",
        ]
        return (
            _BEGIN
            + f"menuentry 'labkit trial, with Linux {self.target.release}' --unrestricted --id '{self.entry}' {{\n"
            + "".join(f"\t{text}\n" for text in body)
            + "}\n"
            + _END
        )

    def unit(self) -> str:
        """The unit that ends a trial nobody confirms. The kernel's command line asks for it, so it is not enabled."""
        return (
            "# Written by labkit for one boot on trial, and removed when that is decided.\n"
            "[Unit]\n"
            f"Description=Reboot onto the old kernel unless labkit confirms this one within {self.confirm_s} s\n"
            "ConditionKernelCommandLine=labkit.trial\n"
            "# Runs from the very start, and also where the boot ends in the emergency shell.\n"
            "DefaultDependencies=no\n"
            "IgnoreOnIsolate=yes\n"
            "[Service]\n"
            f"ExecStart=/bin/sh -c 'sleep {self.confirm_s}; exec systemctl reboot --force'\n"
            "CapabilityBoundingSet=CAP_SYS_BOOT\n"
            "NoNewPrivileges=yes\n"
        )


def name(release: str, arguments: Sequence[str]) -> str:
    """Id of the trial of a kernel and arguments of ours; a boot on trial has it on its command line."""
    return hashlib.sha256(json.dumps([release, list(arguments)]).encode()).hexdigest()[:12]


def _added(panic_s: int, trial: str) -> list[str]:
    """What a trial has at the end of its command line: its name, and its ways back.

    dracut reboots instead of waiting at a shell only if it may not open one (dracut.cmdline(7)).
    """
    dracut = ["rd.shell=0", "rd.emergency=reboot"]
    return [f"panic={panic_s}", f"labkit.trial={trial}", *dracut, f"systemd.wants={UNIT}"]


def without(words: Sequence[str]) -> list[str]:
    """A command line without the words that `Trial.block` added to it."""
    at = next((at for at, word in enumerate(words) if word.startswith("labkit.trial=")), 0)
    added = _added(0, "")
    first = at - added.index("labkit.trial=")
    return [*words[:first], *words[first + len(added) :]] if at else list(words)


def arm(trial: Trial, environment: Environment, run: Run = run, root: Path = Path("/")) -> None:
    """Write the entry and the unit, and choose the entry for the next boot. Raises CommandFailed."""
    custom = environment.folder / "custom.cfg"
    theirs = custom.read_text() if custom.exists() else ""
    text = BLOCK.sub("", theirs) + trial.block()
    _check(custom, text, environment.prefix, run)
    State(ROLE, root).note(
        KIND,
        str(custom.parent.relative_to(root)),
        {"custom": custom.exists(), "environment": environment.file.exists()},
        {"entry": trial.entry, "boot": boot_kernels.boot_id(root)},
    )
    unit = root / _UNIT_FILE
    write_whole(unit, trial.unit().encode(), mode=0o644)
    run(["systemctl", "daemon-reload"])
    mode = custom.stat().st_mode & 0o777 if custom.exists() else 0o644
    write_whole(custom, text.encode(), mode=mode)
    environment.choose_once(trial.entry)


def _check(custom: Path, text: str, prefix: str, run: Run) -> None:
    """Have GRUB's own parser read what the file is going to be: of one that is wrong no entry would be left."""
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        copy = Path(folder) / custom.name
        copy.write_text(text)
        try:
            run([f"{prefix}-script-check", str(copy)])
        except CommandFailed as error:
            raise CommandFailed(
                f"{custom} with an entry for the trial would be no menu, so nothing was changed: {error}"
            ) from error


def waiting(root: Path = Path("/")) -> bool:
    """Whether a trial was begun and is not cleared away."""
    return any(change.kind == KIND for change in State(ROLE, root).changes())


def rebooted(root: Path = Path("/")) -> bool:
    """Whether the host was started again since a trial was chosen for the next boot."""
    chosen_in = [change.new["boot"] for change in State(ROLE, root).changes() if change.kind == KIND]
    return boot_kernels.boot_id(root) not in chosen_in


def failed(trial: Trial, root: Path = Path("/")) -> bool:
    """Whether the host was started again for this one, and it is not what runs."""
    chosen = [change.new["entry"] for change in State(ROLE, root).changes() if change.kind == KIND]
    return trial.entry in chosen and rebooted(root) and boot_kernels.running(root).trial() != trial.id


def disarm(run: Run = run, root: Path = Path("/")) -> None:
    """Stop the unit that would reboot, and look whether it stopped. Raises CommandFailed."""
    if not (root / _UNIT_FILE).exists():
        return
    run(["systemctl", "stop", UNIT])
    state = run(["systemctl", "show", "--property=ActiveState", "--value", UNIT]).strip()
    if state not in ("inactive", "failed"):
        raise CommandFailed(f"{UNIT} is {state} after it was stopped: it would reboot this host")


def clear(run: Run = run, root: Path = Path("/")) -> bool:
    """Remove what a trial left. Returns whether there was anything. Raises CommandFailed."""
    state = State(ROLE, root)
    found = [change for change in state.changes() if change.kind == KIND]
    for change in found:
        _remove(change, root, run)
        state.forget(change)
    return bool(found)


def restore(change: Change, root: Path, run: Run = run) -> str | None:
    """Remove what a trial left; None when done, else why not."""
    try:
        _remove(change, root, run)
    except CommandFailed as error:
        return str(error)
    return None


def _remove(change: Change, root: Path, run: Run) -> None:
    """Take the choice for the next boot back first, then what it chose, then the unit."""
    folder = root / change.target
    environment = Environment(_PREFIXES[change.target], folder, run)
    if environment.read().get("next_entry", "").startswith("labkit-trial-"):
        environment.choose_nothing()
    custom = folder / "custom.cfg"
    theirs = BLOCK.sub("", custom.read_text()) if custom.exists() else ""
    if theirs or (custom.exists() and change.old["custom"]):
        write_whole(custom, theirs.encode(), mode=custom.stat().st_mode & 0o777)
    else:
        remove(custom)
    if environment.read().get("next_entry") == "":
        environment.choose_nothing()  # GRUB leaves the name with nothing behind it
    if environment.file.exists() and not change.old["environment"] and not environment.read():
        environment.file.unlink()
    unit = root / _UNIT_FILE
    disarm(run, root)
    known = unit.exists()
    remove(unit)
    if known:
        run(["systemctl", "daemon-reload"])
