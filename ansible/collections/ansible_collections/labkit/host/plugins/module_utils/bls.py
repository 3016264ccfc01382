"""GRUB as EL sets it up: one file a kernel (Boot Loader Specification), and a default that grubby sets.

Held by tests of files and command lines alone: no EL host was booted by it yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import boot_kernels, files, grub_choice, grub_menu, grub_script, kernel_words
from .boot_arguments import missing, replaced
from .boot_commands import CommandFailed, Run, run
from .boot_line import Tried, differences
from .boot_target import Target
from .grub import ARGUMENTS_ROLE, KERNEL_ROLE
from .grub_environment import Environment, note_saved
from .grub_menu import Entry

PIN = "/etc/kernel/labkit-default"
"""Release that is pinned."""
ARGUMENTS = "/etc/kernel/labkit-arguments"
"""Kernel arguments of ours, one a line."""
ENTRIES = "/boot/loader/entries"
_PREPARATION = ("load_video", "set gfxpayload=keep", "insmod gzio")
"""What blscfg does before it loads; GRUB's root is /boot's file system by then."""


class Bls:
    """Reads the entries, and changes them by our two files."""

    def __init__(self, run: Run = run, root: Path = Path("/")) -> None:
        self._run = run
        self.root = root
        self.folder = root / "boot/grub2"
        self.environment = Environment("grub2", self.folder, run)

    def refusal(self) -> str | None:
        """Why no kernel can be booted for once here; None: one can."""
        text = (self.folder / "grub.cfg").read_text(errors="replace")
        menu = grub_menu.read(text)
        if not menu.one_shot or "blscfg" not in text:
            return f"{self.folder}/grub.cfg does not follow next_entry and {ENTRIES}: run grub2-mkconfig"
        if not menu.reads_custom:
            return f"{self.folder}/grub.cfg does not read custom.cfg: make /etc/grub.d/41_custom executable again"
        default, started = self.default(), self._started()
        if default is None or default.release != started:
            return (
                f"grubby's default is {default.release if default else 'none'}, and GRUB starts "
                f"{started or 'another'}: look what sets `default` in {self.folder}/grub.cfg, and at saved_entry "
                "(grub2-editenv list)"
            )
        return self.environment.chosen_by_others() or self.environment.unwritable()

    def _files(self) -> dict[str, Path]:
        """File of each release, but for rescue."""
        found = {}
        for file in sorted((self.root / ENTRIES.lstrip("/")).glob("*.conf")):
            image = _fields(file).get("linux", "")
            if "-0-rescue" not in file.name and "vmlinuz-" in image:
                found[image.partition("vmlinuz-")[2]] = file
        return found

    def target(self, release: str) -> Target | None:
        """A kernel that has an entry."""
        file = self._files().get(release)
        if file is None:
            return None
        fields = _fields(file)
        words = kernel_words.words(fields.get("options", ""))
        return Target(
            release=release,
            image=fields["linux"],
            arguments=tuple(word for word in words if not word.startswith("$")),
            variables=tuple(word for word in words if word.startswith("$")),
            initrd=fields.get("initrd", ""),
            preparation=_PREPARATION,
            filled={
                word: grub_script.expanded(word, self._values()) for word in words if word.startswith("$")
            },
        )

    def _menu(self) -> grub_menu.Menu:
        return grub_menu.read((self.folder / "grub.cfg").read_text(errors="replace"))

    def _values(self) -> grub_script.Values:
        """GRUB's variables when it reads the entries: tuned keeps its own in grubenv."""
        return self._menu().values(self.environment.read())

    def _started(self) -> str | None:
        """Release that GRUB itself takes, which follows grub.cfg where grubby asks grubenv alone; None: not known."""
        wanted = self._values().get("default")
        files = sorted(self._files().items(), key=lambda one: boot_kernels.order(one[1].stem), reverse=True)
        entries = [Entry(_fields(file).get("title", ""), file.stem, "") for _, file in files]
        at = None if wanted is None else grub_choice.index(entries, wanted, el=True)
        return None if wanted is None or not files else files[at or 0][0]

    def default(self) -> Target | None:
        """What the next boot starts, if nothing is chosen for once."""
        image = self._run(["grubby", "--default-kernel"]).strip()
        return self.target(image.partition("vmlinuz-")[2])

    def ours(self) -> list[str]:
        """Arguments that we have added."""
        return self._lines(ARGUMENTS)

    def pinned(self) -> str | None:
        """Release of the kernel that we have pinned, if it has an entry."""
        found = self._lines(PIN)
        return found[0] if found and self.target(found[0]) else None

    def _lines(self, path: str) -> list[str]:
        file = self.root / path.lstrip("/")
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line and not line.startswith("#")]

    def stale(self) -> str | None:
        """What the next boot would have otherwise than our files say; None: nothing."""
        default = self.default()
        if default is None:
            return "its default is no kernel with an entry"
        if self.pinned() and default.release != self.pinned():
            return f"its default is {default.release}, not {self.pinned()}"
        return "; ".join(missing(self.ours(), default.arguments)) or None

    def update(self) -> None:
        """Make default and entry what our files say, and look. Raises CommandFailed."""
        self.put(pin=self.pinned(), arguments=self.ours())

    def overruled(self, *, pin: str | None, arguments: Sequence[str], tried: Target) -> str | None:
        """None, whatever is asked: the entry itself is written, and nothing is read after it."""
        return None

    def put(self, *, pin: str | None, arguments: Sequence[str] | None, tried: Tried | None = None) -> bool:
        """Pin the default and set our arguments; None leaves that one alone. Returns whether that changed anything.

        Where the default is not what was `tried` everything is restored. Raises CommandFailed.
        """
        old = self.default()
        before = [*self._contents(old.release if old else None), *self._contents(pin)]
        changed = self._put(pin, arguments)
        default = self.default()
        other = differences(default, tried, boot_kernels.last_core(self.root)) if default and tried else []
        if other:
            for role, path, text in before:
                files.change(role, path, text, root=self.root)
            if old and default and old.release != default.release:
                self._run(["grubby", f"--set-default=/boot/vmlinuz-{old.release}"])
            raise CommandFailed(
                f"the next boot would not be what was tried: {'; '.join(other)}. The boot entries are as before"
            )
        return changed

    def _contents(self, release: str | None) -> list[tuple[str, str, str | None]]:
        """Role, path and text (None: absent) of all files that a change for this kernel writes."""
        entry = self._files().get(release or "")
        paths = [(KERNEL_ROLE, PIN), (ARGUMENTS_ROLE, ARGUMENTS)]
        paths += [(ARGUMENTS_ROLE, f"{ENTRIES}/{entry.name}")] if entry else []
        found = [(role, path, self.root / path.lstrip("/")) for role, path in paths]
        return [(role, path, file.read_text() if file.exists() else None) for role, path, file in found]

    def _put(self, pin: str | None, arguments: Sequence[str] | None) -> bool:
        changed = False
        if pin is not None:
            if self.target(pin) is None:
                raise CommandFailed(f"kernel {pin} has no entry in {ENTRIES}")
            changed |= files.change(KERNEL_ROLE, PIN, f"{pin}\n", root=self.root)
            default = self.default()
            # With nothing saved the newest is the default: right now, and not when the next one comes.
            if not default or default.release != pin or not self.environment.read().get("saved_entry"):
                note_saved(KERNEL_ROLE, self.environment, self.root)
                self._run(["grubby", f"--set-default=/boot/vmlinuz-{pin}"])
                changed = True
        default = self.default()
        if default is None or (pin is not None and default.release != pin):
            raise CommandFailed(
                f"grubby set the default to {pin}, and then reports {default.release if default else 'none'}"
            )
        if arguments is not None:
            changed |= self._set_arguments(default, arguments)
        return changed

    def _set_arguments(self, target: Target, arguments: Sequence[str]) -> bool:
        """In the entry of that kernel alone: that of the old one stays a way out."""
        file = self._files()[target.release]
        ours = [] if missing(self.ours(), target.arguments) else self.ours()
        if ours or missing(arguments, target.arguments):
            line = " ".join([*replaced(target.arguments, ours, arguments), *target.variables])
        else:
            line = " ".join([*target.arguments, *target.variables])
        text = "".join(
            f"options {line}\n" if one.split(maxsplit=1)[:1] == ["options"] else f"{one}\n"
            for one in file.read_text().splitlines()
        )
        place = f"{ENTRIES}/{file.name}"
        mode = f"{file.stat().st_mode & 0o777:04o}"
        changed = files.change(ARGUMENTS_ROLE, place, text, mode=mode, root=self.root)
        list_text = "".join(f"{argument}\n" for argument in arguments) if arguments else None
        return files.change(ARGUMENTS_ROLE, ARGUMENTS, list_text, root=self.root) or changed


def _fields(file: Path) -> dict[str, str]:
    """Keys and values of an entry."""
    words = (line.split(maxsplit=1) for line in file.read_text().splitlines())
    return {pair[0]: pair[1].strip() for pair in words if len(pair) == 2}
