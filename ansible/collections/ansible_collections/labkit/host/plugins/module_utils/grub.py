"""GRUB as Debian and Ubuntu set it up: grub.cfg is made by update-grub from /etc/default/grub and its drop-ins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import boot_kernels, boot_line, boot_trial, files, grub_defaults, grub_menu, kernel_words
from .boot_arguments import missing
from .boot_commands import CommandFailed, Run, run
from .boot_line import Tried
from .boot_target import Target
from .grub_environment import Environment

KERNEL_ROLE = "lowlatency_kernel"
"""Whose change the pinned default is: it goes after the kernels that came with it."""
ARGUMENTS_ROLE = "boot"
"""Whose change the kernel arguments are."""
_LATER_PIN = f"look for a file after {grub_defaults.PIN} that sets GRUB_DEFAULT"
_LATER_ARGUMENTS = f"look for a file after {grub_defaults.ARGUMENTS} that sets GRUB_CMDLINE_LINUX_DEFAULT"

_SET_DEFAULT = (
    "Set GRUB_DEFAULT in /etc/default/grub to the id of an entry (grep menuentry_id_option /boot/grub/grub.cfg) or to "
    "its number, look for files in /etc/grub.d that set `default`, and run update-grub"
)
_STALE = "Run update-grub, reboot onto what it writes, and run this again"
_SOME_TRIAL = "menuentry 'labkit trial' --id 'labkit-trial-' {\n}\n"
_BEHIND_OURS = ("$vt_handoff", "${vt_handoff}")
"""What 10_linux of Ubuntu puts behind all that is configured."""
_NOT_ON_TRIAL = ("savedefault", "recordfail")
"""What would make the entry of a trial the default, or show the menu after it."""


class Grub:
    """Reads the menu, and changes it by our two files."""

    def __init__(self, run: Run = run, root: Path = Path("/")) -> None:
        self._run = run
        self.root = root
        self.folder = root / "boot/grub"
        self.environment = Environment("grub", self.folder, run)

    def _menu(self, trial: str = "") -> grub_menu.Menu:
        """`trial`: an entry at the end of custom.cfg. One that waits there is left out, for it goes again."""
        text = (self.folder / "grub.cfg").read_text(errors="replace")
        custom = self.folder / "custom.cfg"
        theirs = custom.read_text(errors="replace") if custom.exists() else ""
        return grub_menu.read(grub_menu.with_custom(text, f"{boot_trial.BLOCK.sub('', theirs)}\n{trial}"))

    def refusal(self) -> str | None:
        """Why no kernel can be booted for once here; None: one can."""
        menu = self._menu()
        if not menu.one_shot:
            return f"{self.folder}/grub.cfg does not follow next_entry: it was not made by grub-mkconfig"
        if not menu.reads_custom:
            return f"{self.folder}/grub.cfg does not read custom.cfg: make /etc/grub.d/41_custom executable again"
        once = self.environment.chosen_by_others()
        return once or self._undecided(menu) or self.environment.unwritable()

    def _undecided(self, menu: grub_menu.Menu) -> str | None:
        """Why a trial would not show what the boots after it are."""
        environment = self.environment.read()
        doubt = menu.doubt(environment)
        if doubt:
            return f"{self.folder}/grub.cfg: {doubt}, so a trial boot would not show what boots next. {_SET_DEFAULT}"
        default = menu.chosen(environment)
        beside = self._menu(_SOME_TRIAL).chosen(environment)
        if default and (beside is None or (beside.title, beside.linux) != (default.title, default.linux)):
            return (
                f"{self.folder}/grub.cfg: its default {menu.default!r} counts entries, and with that of a trial among "
                f"them it would be another one. {_SET_DEFAULT}"
            )
        return self._several_lines(menu, default)

    def _several_lines(self, menu: grub_menu.Menu, default: grub_menu.Entry | None) -> str | None:
        """An entry that counts here and is not one kernel line, as 10_linux of Ubuntu writes it on cloud images."""
        for entry in menu.walk():
            if entry.undecided and (entry is default or entry.id.startswith("gnulinux-")):
                found = grub_defaults.forced_partuuid(self.root)
                way_out = f"Take GRUB_FORCE_PARTUUID out of {found}" if found else "Make it one line"
                return (
                    f"{self.folder}/grub.cfg has several kernel lines in its entry {entry.title!r}, and GRUB chooses "
                    "between them at each boot, so a trial boot would not show what boots next. "
                    f"{way_out} and run update-grub"
                )
        return None

    def target(self, release: str) -> Target | None:
        """A kernel of the menu."""
        menu = self._menu()
        return self._target(menu, menu.of_release(release))

    def default(self) -> Target | None:
        """What the next boot starts, if nothing is chosen for once."""
        menu = self._menu()
        return self._target(menu, menu.chosen(self.environment.read()))

    def ours(self) -> list[str]:
        """Arguments that we have added."""
        return grub_defaults.our_arguments(self.root)

    def pinned(self) -> str | None:
        """Release of the kernel that we have pinned, if it is in the menu."""
        path = grub_defaults.pinned(self.root)
        found = [entry for entry in self._menu().walk() if path and entry.path == path]
        return found[0].release if found else None

    def stale(self) -> str | None:
        """What in grub.cfg is not what update-grub would write now; None: all that matters here is."""
        wanted = grub_defaults.configured(self._run, self.root)
        menu = self._menu()
        if menu.default != wanted.default:
            return f"its default is {menu.default}, not {wanted.default}"
        for entry in menu.walk():
            if not entry.id.startswith("gnulinux-") or menu.of_release(entry.release) is not entry:
                continue
            # 10_linux writes root=... ro (on btrfs rootflags=...), then what is configured.
            given = entry.arguments
            given = given[given.index("ro") + 1 :] if "ro" in given else given
            given = [word for word in given if not word.startswith("rootflags=subvol=")]
            if given != [
                word for word in wanted.arguments if not word.startswith(("rootflags=subvol=", "$"))
            ]:
                return f"{entry.release} has {' '.join(given) or 'no arguments'}, not {' '.join(wanted.arguments)}"
        return None

    def update(self) -> None:
        """Make grub.cfg anew, and look whether it says what our files say. Raises CommandFailed."""
        self._run(["update-grub"])
        reason = self.stale()
        if reason:
            raise CommandFailed(f"update-grub ran, but of {self.folder}/grub.cfg: {reason}")

    def overruled(self, *, pin: str | None, arguments: Sequence[str], tried: Target) -> str | None:
        """Why the default would not be that with our files in place; None: it would. Raises CommandFailed.

        `tried`: what is to be tried, as grub.cfg has it now.
        """
        ours = {path: text for _, path, text in self._files(pin, arguments)}
        said = grub_defaults.foreseen(ours, self._run, self.root)
        menu, environment = self._menu(), self.environment.read()
        doubt = menu.doubt(environment, said.default)
        if doubt:
            return f"of what update-grub would write {doubt}. {_SET_DEFAULT}"
        entry = menu.chosen(environment, said.default)
        if pin is not None and entry is not menu.of_release(pin):
            return f"the default would be {said.default} and not kernel {pin}: {_LATER_PIN}"
        if entry is None or entry.release != tried.release:
            return f"the default would be {said.default} and not kernel {tried.release}, which would be tried. {_STALE}"
        if arguments and not entry.id.startswith("gnulinux-"):
            return (
                f"the default entry {entry.title!r} is not one that update-grub writes for each kernel, so it takes no "
                f"arguments from /etc/default/grub. {_SET_DEFAULT}"
            )
        lost = missing(arguments, said.arguments, boot_kernels.last_core(self.root))
        if lost:
            return f"of the default {'; '.join(lost)}: {_LATER_ARGUMENTS}"
        return self._older_than_files(said, tried, arguments)

    def _older_than_files(
        self, said: grub_defaults.Configured, tried: Target, arguments: Sequence[str]
    ) -> str | None:
        """What update-grub would write otherwise than it stands in grub.cfg, from where it is tried."""
        if "ro" not in tried.arguments:
            return None
        before = tried.arguments[: tried.arguments.index("ro") + 1]
        before += tuple(word for word in tried.arguments if word.startswith("rootflags=subvol="))
        written = replace(tried, arguments=(*before, *said.arguments))
        line = tried.line(self.ours(), arguments)
        changed = boot_line.differences(written, Tried(tried.release, tuple(line)))
        return (
            f"grub.cfg is not what update-grub would write: {'; '.join(changed)}. {_STALE}"
            if changed
            else None
        )

    def _files(self, pin: str | None, arguments: Sequence[str] | None) -> list[tuple[str, str, str | None]]:
        """Role, path and content (None: absent) of those that say this."""
        wanted: list[tuple[str, str, str | None]] = []
        if pin is not None:
            entry = self._menu().of_release(pin)
            if entry is None:
                raise CommandFailed(f"kernel {pin} is not in {self.folder}/grub.cfg")
            wanted.append((KERNEL_ROLE, grub_defaults.PIN, grub_defaults.pin_text(entry.path)))
        if arguments is not None:
            text = grub_defaults.arguments_text(arguments) if arguments else None
            wanted.append((ARGUMENTS_ROLE, grub_defaults.ARGUMENTS, text))
        return wanted

    def put(self, *, pin: str | None, arguments: Sequence[str] | None, tried: Tried | None = None) -> bool:
        """Pin the default and set our arguments; None leaves that one alone. Returns whether that changed anything.

        Where grub.cfg does not come out right, or the default is not what was `tried`, the files are restored. Raises
        CommandFailed.
        """
        wanted = self._files(pin, arguments)
        before = {path: self._text(path) for _, path, _ in wanted}
        changed = [files.change(role, path, text, root=self.root) for role, path, text in wanted]
        if not any(changed) and self.stale() is None:
            return False
        try:
            self.update()
            self._look_at_default(pin, arguments or (), tried)
        except CommandFailed as error:
            for role, path, _ in wanted:
                files.change(role, path, before[path], root=self.root)
            self._run(["update-grub"])
            raise CommandFailed(f"{error}. The files in /etc/default/grub.d are as before") from error
        return True

    def _text(self, path: str) -> str | None:
        file = self.root / path.lstrip("/")
        return file.read_text() if file.exists() else None

    def _look_at_default(self, pin: str | None, arguments: Sequence[str], tried: Tried | None) -> None:
        default = self.default()
        if default is None:
            raise CommandFailed("GRUB's default is no Linux kernel")
        if pin is not None and default.release != pin:
            raise CommandFailed(f"the default is {default.release} and not {pin}: {_LATER_PIN}")
        lost = missing(arguments, default.line((), ()), boot_kernels.last_core(self.root))
        if lost:
            raise CommandFailed(f"of the default {'; '.join(lost)}: {_LATER_ARGUMENTS}")
        changed = boot_line.differences(default, tried, boot_kernels.last_core(self.root)) if tried else []
        if changed:
            raise CommandFailed(f"the next boot would not be what was tried: {'; '.join(changed)}")

    def _target(self, menu: grub_menu.Menu, entry: grub_menu.Entry | None) -> Target | None:
        if entry is None or not entry.release:
            return None
        filled = menu.filled(entry, self.environment.read())
        # A trial's entry is in no submenu, and would be given what this one, which is in one, does not see.
        image, *words = (word for word in kernel_words.words(entry.linux) if filled.get(word) != "")
        behind = len(words)
        while behind and words[behind - 1] in _BEHIND_OURS:
            behind -= 1
        return Target(
            release=entry.release,
            image=image,
            arguments=tuple(words[:behind]),
            variables=tuple(words[behind:]),
            initrd=entry.initrd,
            preparation=tuple(
                line.strip() for line in entry.preparation if line.strip() not in _NOT_ON_TRIAL
            ),
            filled=filled,
        )
