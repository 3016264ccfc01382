"""GRUB's environment block: what is chosen for one boot, and whether GRUB can take it back by itself."""

from __future__ import annotations

from pathlib import Path

from .boot_commands import CommandFailed, Run, run
from .state import Change, State

SAVED = "grub_saved"
"""Kind of change: saved_entry, the default of a GRUB that keeps it in its environment."""

_READ_ONLY_FILE_SYSTEMS = frozenset({"btrfs", "cpiofs", "newc", "odc", "romfs", "squash4", "tarfs", "zfs"})
"""On these GRUB reads and does not write (the list of grub-mkconfig's 00_header, `check_writable`)."""


class Environment:
    """The file grubenv."""

    def __init__(self, prefix: str, folder: Path, run: Run) -> None:
        """`prefix`: of the programs' names, grub or grub2. `folder`: /boot/grub."""
        self.prefix = prefix
        self.folder = folder
        self.file = folder / "grubenv"
        self._run = run

    def read(self) -> dict[str, str]:
        """All variables; none where there is no file."""
        if not self.file.exists():
            return {}
        lines = self._run([f"{self.prefix}-editenv", str(self.file), "list"]).splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def chosen_by_others(self) -> str | None:
        """Why nothing can be chosen for one boot: somebody did; None: nobody."""
        entry = self.read().get("next_entry", "")
        if not entry or entry.startswith("labkit-trial-"):
            return None
        return (
            f"{self.file}: next_entry={entry}: somebody chose that for the next boot. Reboot first, or take it back "
            f"({self.prefix}-editenv {self.file} unset next_entry)"
        )

    def choose_once(self, entry: str) -> None:
        """Boot an entry at the next boot alone, and look whether that stuck. Raises CommandFailed."""
        if not self.file.exists():
            self._run([f"{self.prefix}-editenv", str(self.file), "create"])
        self._run([f"{self.prefix}-editenv", str(self.file), "set", f"next_entry={entry}"])
        got = self.read().get("next_entry", "")
        if got != entry:
            raise CommandFailed(f"{self.file}: wrote next_entry={entry}, read back {got!r}")

    def choose_nothing(self) -> None:
        """Take a choice for one boot back."""
        if "next_entry" in self.read():
            self._run([f"{self.prefix}-editenv", str(self.file), "unset", "next_entry"])

    def unwritable(self) -> str | None:
        """Why GRUB could not clear the choice, so that every boot would be the trial; None: it can."""
        layers = set(self._run([f"{self.prefix}-probe", "--target=abstraction", str(self.folder)]).split())
        if layers:
            return f"{self.folder} is on {', '.join(sorted(layers))}, where GRUB reads and does not write"
        kind = self._run([f"{self.prefix}-probe", "--target=fs", str(self.folder)]).strip()
        if kind in _READ_ONLY_FILE_SYSTEMS:
            return f"{self.folder} is on {kind}, where GRUB reads and does not write"
        return None


def note_saved(role: str, environment: Environment, root: Path) -> None:
    """Write down what is saved as the default before it is changed."""
    target = f"{environment.prefix} {environment.folder.relative_to(root)}"
    State(role, root).note(SAVED, target, environment.read().get("saved_entry"), None)


def restore_saved(change: Change, root: Path, run: Run = run) -> str | None:
    """Save the old default again; None when done, else why not."""
    prefix, _, folder = change.target.partition(" ")
    file = str(root / folder / "grubenv")
    words = ["unset", "saved_entry"] if change.old is None else ["set", f"saved_entry={change.old}"]
    try:
        run([f"{prefix}-editenv", file, *words])
    except CommandFailed as error:
        return str(error)
    return None
