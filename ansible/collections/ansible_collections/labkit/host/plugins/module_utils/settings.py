"""Values of the kernel in /proc/sys and /sys: written down, written, read back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import cpus
from .state import Change, State

KIND = "setting"


class SettingRefused(Exception):
    """The kernel did not take the value. What was there before is there again."""


def _selected(text: str) -> str:
    """The word in brackets: "always [madvise] never"."""
    found = re.search(r"\[([^\]]+)\]", text)
    return found.group(1) if found else text.strip()


def _cpumask(text: str) -> str:
    """Hexadecimal words, with or without leading zeros and commas."""
    return f"{int(text.strip().replace(',', '') or '0', 16):x}"


def _cpulist(text: str) -> str:
    """A list of cores such as "0-2,5": sorted, without ranges."""
    return ",".join(map(str, sorted(cpus.parse(text))))


READERS: dict[str, Callable[[str], str]] = {
    "exact": str.strip,
    "selected": _selected,
    "cpumask": _cpumask,
    "cpulist": _cpulist,
    "int": lambda text: str(int(text)),
}
"""How two spellings of a value are compared."""


@dataclass(frozen=True)
class Setting:
    """One file of /proc/sys or /sys."""

    path: str
    reads_as: str = "exact"
    root: Path = Path("/")

    @property
    def _file(self) -> Path:
        return self.root / self.path.lstrip("/")

    def exists(self) -> bool:
        """Whether this kernel has it."""
        return self._file.exists()

    def offline(self) -> int | None:
        """Core that this is a setting of and that does not run, so that the kernel neither reads nor writes it."""
        found = re.match(r"/sys/devices/system/cpu/cpu(\d+)/", self.path)
        try:
            online = (self.root / cpus.ONLINE.lstrip("/")).read_text()
        except OSError:
            return None
        core = int(found[1]) if found else None
        return core if core is not None and cpus.offline({core}, online) else None

    def read(self) -> str:
        """The value now, as it has to be written to get it back."""
        text = self._file.read_text().strip()
        return _selected(text) if self.reads_as == "selected" else text

    def same(self, one: str, other: str) -> bool:
        """Whether both mean the same value. Raises ValueError for what is none."""
        reader = READERS[self.reads_as]
        return reader(one) == reader(other)

    def write(self, value: str) -> None:
        """Set it and read it back. Raises SettingRefused; the old value is there again then."""
        old = self.read()
        try:
            self._file.write_text(value + "\n")
        except OSError as error:
            raise SettingRefused(
                f"{self.path}: writing {value!r} failed: {error.strerror}; it stays {old!r}"
            ) from error
        got = self.read()
        if self.same(got, value):
            return
        self._file.write_text(old + "\n")
        raise SettingRefused(
            f"{self.path}: wrote {value!r}, read back {got!r}; the old value {old!r} is restored"
        )


def change(
    role: str, setting: Setting, value: str, *, persist: bool = False, check: bool = False
) -> tuple[bool, str]:
    """Make the setting `value`. Returns whether that changes it, and the value before.

    With `persist` it is set again at every boot, and also written down where it is so already: the next boot may
    find another value.
    """
    before = setting.read()
    state = State(role, setting.root)
    known = state.noted(KIND, setting.path)
    if setting.same(before, value):
        if not persist or (known and known.persist and setting.same(known.new, value)):
            return False, before
        if not check:
            state.note(KIND, setting.path, _old(setting, before), value, persist=True)
        return True, before
    if not check:
        state.note(KIND, setting.path, _old(setting, before), value, persist=persist)
        try:
            setting.write(value)
        except SettingRefused:
            # Nothing was changed, so the note is as before this run too: what it has is made again at boot.
            if known is None:
                state.forget(Change(KIND, setting.path, None))
            else:
                state.note(KIND, setting.path, known.old, known.new, persist=known.persist)
            raise
    return True, before


def _old(setting: Setting, value: str) -> dict[str, str]:
    return {"value": value, "reads_as": setting.reads_as}


def again(change: Change, root: Path) -> None:
    """Make it so once more, after a boot. Raises SettingRefused and OSError."""
    setting = Setting(change.target, change.old["reads_as"], root)
    if setting.offline() is not None:
        return
    if not setting.same(setting.read(), change.new):
        setting.write(change.new)


def restore(change: Change, root: Path) -> str | None:
    """Put it back; None when done, else why not."""
    if reason := refusal(change, root):
        return reason
    setting = Setting(change.target, change.old["reads_as"], root)
    if setting.same(setting.read(), change.old["value"]):
        return None
    try:
        setting.write(change.old["value"])
    except SettingRefused as error:
        return str(error)
    return None


def refusal(change: Change, root: Path) -> str | None:
    """Why `restore` would leave it, as far as that shows before the kernel is asked. Changes nothing."""
    setting = Setting(change.target, change.old["reads_as"], root)
    if (core := setting.offline()) is not None:
        return (
            f"{change.target} (it was {change.old['value']}) can't be reverted while core {core} is offline: "
            f"chcpu -e {core}, then revert again"
        )
    if setting.exists():
        return None
    return f"{change.target} is no longer there (it was {change.old['value']})"
