"""tuned sets much of what the roles set: whether it runs, by which profile, and what that sets. Changes nothing."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .kernel_words import words

ACTIVE = "etc/tuned/active_profile"
BOOT = "etc/tuned/bootcmdline"
"""What it puts on the kernel's command line, as a line of shell."""
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
    profile, given, running = _text(root / ACTIVE).strip(), arguments(_text(root / BOOT)), _runs(root)
    if not (profile or given or running):
        return None
    return Tuned(running, profile, given, _settings(profile, root))


def blamed(reasons: Sequence[str], filled: Mapping[str, str | None], root: Path) -> str | None:
    """What to do where words of tuned's are among the reasons; None: none is.

    `filled`: what GRUB's variables are worth, by the word that has them.
    """
    found = look(root)
    theirs = [*(found.arguments if found else ())]
    theirs += [one for word, text in filled.items() if _VARIABLE in word for one in words(text or "")]
    said = {word for reason in reasons for word in words(reason.replace(",", " ").replace(";", " "))}
    named = {word for reason in reasons for word in reason.split()}
    guilty = [word for word in dict.fromkeys(theirs) if word in named or word in said]
    if not guilty:
        return None
    who = str(found) if found else "tuned"
    return (
        f"{who} puts {' '.join(guilty)} there (/{BOOT}). Give its profile the same cores "
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


def arguments(text: str) -> tuple[str, ...]:
    """What its file of boot arguments puts on the kernel's command line."""
    found = re.findall(r"^TUNED_BOOT_CMDLINE=(.*)$", text, re.MULTILINE)
    line = found[-1].strip() if found else ""
    quoted = len(line) > 1 and line[0] == line[-1] and line[0] in "'\""
    return tuple(words(line[1:-1] if quoted else line))


def _settings(profiles: str, root: Path) -> dict[tuple[str, str], tuple[str, str]]:
    found: dict[tuple[str, str], tuple[str, str]] = {}
    variables: dict[str, str] = {}
    for section, key, value, file in (one for name in profiles.split() for one in _lines(name, root, ())):
        if section == "variables" and key == "include":
            variables.update(_pairs(_text(root / value.lstrip("/"))))
        elif section == "variables" and f"${{{key}}}" not in value:
            variables[key] = _filled(value, variables)
        elif section not in ("main", "variables"):
            found[section, key] = _filled(value, variables), file
    return found


def _filled(value: str, variables: Mapping[str, str]) -> str:
    """With the variables that are plain text; functions of tuned's own stay as they are."""
    return re.sub(r"\$\{(\w+)\}", lambda match: variables.get(match.group(1), match.group()), value)


def _pairs(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)


def _lines(name: str, root: Path, above: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    """Plugin, key, value and file, line by line; of profiles that one includes first, for its own lines count."""
    files = (root / folder / name / "tuned.conf" for folder in _FOLDERS)
    file = next((one for one in files if one.exists()), None)
    if file is None or name in above:
        return
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, delimiters=("=",), allow_no_value=True
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(_text(file))
    except configparser.Error:
        return  # tuned itself will report it
    for other in re.split(r"[\s,;]+", parser.get("main", "include", fallback="") or ""):
        if other.lstrip("-"):
            yield from _lines(other.lstrip("-"), root, (*above, name))
    for section in parser.sections():
        plugin = parser.get(section, "type", fallback=section) or section
        for key, value in parser.items(section):
            yield plugin, key, (value or "").strip(), f"/{file.relative_to(root)}"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
