"""GRUB's menu, read from the text of grub.cfg: entries with their ids, and which one is the default. Pure.

It reads what grub-mkconfig writes (an entry's brace ends its line, its closing brace has one of its own) and one-line
entries of a person's hand; GRUB's language as a whole it does not.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_OPENING = re.compile(r"^\s*(menuentry|submenu)\s+(.*)$")
_LINUX = re.compile(r"^\s*linux(?:16|efi)?\s+(\S+)\s*(.*)$")
_INITRD = re.compile(r"^\s*initrd(?:16|efi)?\s+(.+)$")
_IMAGE = re.compile(r"/(?:vmlinu[xz]|kernel)-([^/]+?)(?:\.efi\.signed)?$")
_DEFAULT = re.compile(r'^\s*set default="(.*)"\s*$', re.MULTILINE)
NEXT = "${next_entry}"
SAVED = "${saved_entry}"


@dataclass
class Entry:
    """A menu entry or a submenu."""

    title: str
    id: str
    """Empty: it has none."""
    path: str
    """How GRUB_DEFAULT and next_entry name it: ids, outermost first, joined by >; empty where it cannot be named."""
    body: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    """What a submenu holds."""
    submenu: bool = False

    @property
    def linux(self) -> str:
        """The line's text from the image on; empty: it boots no Linux."""
        found = [match for line in self.body if (match := _LINUX.match(line))]
        return f"{found[-1].group(1)} {found[-1].group(2)}".strip() if found else ""

    @property
    def initrd(self) -> str:
        """What the initrd line loads; empty: nothing."""
        found = [match.group(1) for line in self.body if (match := _INITRD.match(line))]
        return found[-1].strip() if found else ""

    @property
    def release(self) -> str:
        """Kernel release, by the image's name; empty: none."""
        found = _IMAGE.search(self.linux.partition(" ")[0])
        return found.group(1) if found else ""

    @property
    def undecided(self) -> bool:
        """Whether GRUB chooses between several kernel lines each time: none of them tells what boots."""
        return sum(bool(_LINUX.match(line)) for line in self.body) > 1

    @property
    def arguments(self) -> list[str]:
        """Kernel arguments, without GRUB's own variables such as $vt_handoff."""
        return [word for word in self.linux.split()[1:] if not word.startswith("$")]

    @property
    def preparation(self) -> list[str]:
        """What the entry does before it loads: finding the disk, video."""
        return [
            line
            for line in self.body
            if not _LINUX.match(line) and not _INITRD.match(line) and not re.match(r"\s*echo\s", line)
        ]


@dataclass(frozen=True)
class Menu:
    """All of grub.cfg that matters here."""

    entries: list[Entry]
    default: str
    """As in the file: a number, a title, an id, a path of those, or ${saved_entry}."""
    reads_custom: bool
    """Whether /boot/grub/custom.cfg is read at every boot (/etc/grub.d/41_custom)."""
    one_shot: bool
    """Whether next_entry of the environment is followed, and cleared."""

    def walk(self) -> Iterator[Entry]:
        """Every entry that boots something."""
        yield from _walk(self.entries)

    def of_release(self, release: str) -> Entry | None:
        """The ordinary entry of a kernel: not for recovery, not with another init."""
        found = [entry for entry in self.walk() if entry.release == release and entry.path]
        named = [entry for entry in found if f"-{release}-advanced-" in entry.id]  # as 10_linux names it
        plain = [entry for entry in found if not {"single", "recovery"} & set(entry.arguments)]
        return next(iter(named or plain), None)

    def chosen(self, environment: Mapping[str, str]) -> Entry | None:
        """What boots when nothing is given for one boot. As GRUB does, the first one where the default is unknown."""
        wanted = environment.get("saved_entry", "") if self.default == SAVED else self.default
        entries = self.entries
        parts = wanted.split(">")
        while entries:
            found = _find(entries, parts[0] if parts else "")
            parts = parts[1:]
            if not found.submenu:
                return found
            entries = found.entries
        return None


def _walk(entries: list[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if entry.submenu:
            yield from _walk(entry.entries)
        else:
            yield entry


def _find(entries: list[Entry], name: str) -> Entry:
    """By number, title or id; else the first."""
    if name.isdigit():
        return entries[int(name)] if int(name) < len(entries) else entries[0]
    for entry in entries:
        if name and name in (entry.id, entry.title):
            return entry
    return entries[0]


def read(text: str) -> Menu:
    """Read a grub.cfg."""
    top: list[Entry] = []
    open_entries: list[Entry] = []
    depth = 0  # of other braces (functions) inside the innermost entry, or outside all
    for line in text.splitlines():
        opening = _OPENING.match(line)
        bare = line.strip()
        if opening and not depth:
            rest = opening.group(2).strip()
            above = open_entries[-1] if open_entries else None
            entry = _entry(opening.group(1), rest.partition("{")[0], above)
            (above.entries if above else top).append(entry)
            if not bare.endswith("}"):
                open_entries.append(entry)
            else:
                entry.body.append(rest.partition("{")[2].rpartition("}")[0])
        elif bare == "}":
            if depth:
                depth -= 1
            elif open_entries:
                open_entries.pop()
        else:
            if bare.endswith("{"):
                depth += 1
            if open_entries:
                open_entries[-1].body.append(line)
    defaults = [value for value in _DEFAULT.findall(text) if value != NEXT]
    return Menu(
        entries=top,
        default=defaults[-1] if defaults else "0",
        reads_custom="/custom.cfg" in text,
        one_shot=NEXT in _DEFAULT.findall(text) and "save_env next_entry" in text,
    )


def _entry(kind: str, head: str, above: Entry | None) -> Entry:
    try:
        words = shlex.split(head)
    except ValueError:
        words = [head]
    title = words[0] if words else ""
    name = ""
    for at, word in enumerate(words[:-1]):
        if word in ("--id", "$menuentry_id_option", "${menuentry_id_option}"):
            name = words[at + 1]
    # A title that holds > would have to be written otherwise, and one with a quote cannot be in a file of sh.
    own = name or title
    nameable = bool(own) and not re.search(r"[>'\"$`\\]", own) and (above is None or bool(above.path))
    path = (f"{above.path}>{own}" if above else own) if nameable else ""
    return Entry(title=title, id=name, path=path, submenu=kind == "submenu")
