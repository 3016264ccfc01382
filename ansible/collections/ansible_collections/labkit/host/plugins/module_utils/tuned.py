"""tuned sets much of what the roles set: whether it runs, by which profile, and what that sets. Changes nothing."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .kernel_words import words

_ACTIVE = "etc/tuned/active_profile"
_BOOT = "etc/tuned/bootcmdline"
_PID = "run/tuned/tuned.pid"
_FOLDERS = ("etc/tuned/profiles", "etc/tuned", "usr/lib/tuned/profiles", "usr/lib/tuned")
_VARIABLE = "tuned_params"


@dataclass(frozen=True)
class Tuned:
    """What is known of it on a host."""

    running: bool
    profile: str
    """Empty: none."""
    arguments: tuple[str, ...]
    """What it puts on the kernel's command line."""
    settings: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """(plugin, key) to the value and the file that has it; of a key that several files have the one that counts."""

    def __str__(self) -> str:
        state = "running" if self.running else "not running"
        return f"tuned ({state}, profile {self.profile})" if self.profile else f"tuned ({state}, no profile)"


def look(root: Path = Path("/")) -> Tuned | None:
    """What there is; None: no tuned, or one that sets nothing."""
    profile, arguments, running = _text(root / _ACTIVE).strip(), _arguments(root), _runs(root)
    if not (profile or arguments or running):
        return None
    settings: dict[tuple[str, str], tuple[str, str]] = {}
    for name in profile.split():
        settings.update(_settings(name, root, ()))
    return Tuned(running, profile, arguments, settings)


def blamed(reasons: Sequence[str], filled: Mapping[str, str | None], root: Path) -> str | None:
    """What to do where words of tuned's are among the reasons; None: none is.

    `filled`: what GRUB's variables are worth, by the word that has them.
    """
    found = look(root)
    theirs = [*(found.arguments if found else ())]
    theirs += [one for word, text in filled.items() if _VARIABLE in word for one in words(text or "")]
    said = {word for reason in reasons for word in words(reason.replace(",", " ").replace(";", " "))}
    told = {word for reason in reasons for word in reason.split()}
    guilty = [word for word in dict.fromkeys(theirs) if word in told or word in said]
    if not guilty:
        return None
    who = str(found) if found else "tuned"
    return (
        f"{who} puts {' '.join(guilty)} there (/{_BOOT}). Give its profile the same cores "
        f"({_variables_file(found, root)}) or take one that sets none (tuned-adm profile), reboot, and run this again"
    )


def _variables_file(found: Tuned | None, root: Path) -> str:
    for name in (found.profile if found else "").split():
        if (root / f"etc/tuned/{name}-variables.conf").exists():
            return f"/etc/tuned/{name}-variables.conf"
    return "its variables in /etc/tuned"


def _runs(root: Path) -> bool:
    pid = _text(root / _PID).strip()
    return pid.isdecimal() and (root / "proc" / pid).is_dir()


def _arguments(root: Path) -> tuple[str, ...]:
    found = re.findall(r"^TUNED_BOOT_CMDLINE=(.*)$", _text(root / _BOOT), re.MULTILINE)
    text = found[-1].strip() if found else ""
    return tuple(
        words(text[1:-1] if text[:1] == text[-1:] and text[:1] in ("'", '"') and len(text) > 1 else text)
    )


def _settings(
    name: str, root: Path, above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Of a profile: those that it includes first, for its own count."""
    file = next(
        (root / one / name / "tuned.conf" for one in _FOLDERS if (root / one / name / "tuned.conf").exists()),
        None,
    )
    if file is None or name in above:
        return
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, delimiters=("=",), allow_no_value=True
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(_text(file))
    except configparser.Error:
        return  # tuned itself will tell
    include = parser.get("main", "include", fallback="") or ""
    for other in re.split(r"[\s,;]+", include):
        if other.lstrip("-"):
            yield from _settings(other.lstrip("-"), root, (*above, name))
    for section in parser.sections():
        plugin = parser.get(section, "type", fallback=section) or section
        for key, value in parser.items(section):
            if section not in ("main", "variables"):
                yield (plugin, key), ((value or "").strip(), f"/{file.relative_to(root)}")


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
