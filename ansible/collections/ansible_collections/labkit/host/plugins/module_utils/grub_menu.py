"""GRUB's menu, read from the text of grub.cfg: entries with their ids, and which one is the default. Pure.

It reads what grub-mkconfig writes (an entry's brace ends its line, its closing brace has one of its own) and one-line
entries of a person's hand; GRUB's language as a whole it does not.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import grub_choice, grub_script, kernel_words

_OPENING = re.compile(r"^\s*(menuentry|submenu)\s+(.*)$")
_LINUX = re.compile(r"^\s*linux(?:16|efi)?\s+(\S+)\s*(.*)$")
_INITRD = re.compile(r"^\s*initrd(?:16|efi)?\s+(.+)$")
_IMAGE = re.compile(r"/(?:vmlinu[xz]|kernel)-([^/]+?)(?:\.efi\.signed)?$")
_DEFAULT = re.compile(r'^\s*set default="(.*)"\s*$', re.MULTILINE)
_CUSTOM = re.compile(r"^\s*(?:source|\.)\s+\S*/custom\.cfg\s*$")
NEXT = "${next_entry}"
_NOTHING_FOR_ONCE = {"next_entry": "", "prev_saved_entry": "", "initrdfail": ""}


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
    conditional: bool = False
    """Whether it is there under a condition alone."""

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
        """Whether GRUB chooses between several kernel lines each time: none of them shows what boots."""
        return sum(bool(_LINUX.match(line)) for line in self.body) > 1

    @property
    def arguments(self) -> list[str]:
        """Kernel arguments, without GRUB's own variables such as $vt_handoff."""
        return [word for word in kernel_words.words(self.linux)[1:] if not word.startswith("$")]

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
    """As update-grub wrote it: a number, a title, an id, a path of those, or ${saved_entry}."""
    reads_custom: bool
    """Whether /boot/grub/custom.cfg is read at every boot (/etc/grub.d/41_custom)."""
    one_shot: bool
    """Whether next_entry of the environment is followed, and cleared."""
    script: str = ""
    """All that is outside of entries and functions."""

    def walk(self) -> Iterator[Entry]:
        """Every entry that boots something."""
        yield from _walk(self.entries)

    def of_release(self, release: str) -> Entry | None:
        """The ordinary entry of a kernel: not for recovery, not with another init."""
        found = [entry for entry in self.walk() if entry.release == release and entry.path]
        named = [entry for entry in found if f"-{release}-advanced-" in entry.id]  # as 10_linux names it
        plain = [entry for entry in found if not {"single", "recovery"} & set(entry.arguments)]
        return next(iter(named or plain), None)

    def values(self, environment: Mapping[str, str], default: str | None = None) -> grub_script.Values:
        """GRUB's variables when it shows the menu, where nothing was chosen for one boot.

        `default`: what update-grub will write instead of that which stands there.
        """
        # prev_saved_entry: saved_entry is for the next boot alone, and GRUB puts this one back in its place.
        lasting = (
            {"saved_entry": environment["prev_saved_entry"]} if environment.get("prev_saved_entry") else {}
        )
        script = self.script
        if default is not None:
            script = script.replace(f'set default="{self.default}"', f'set default="{default}"', 1)
        return grub_script.run(script, {**environment, **lasting, **_NOTHING_FOR_ONCE})

    def chosen(self, environment: Mapping[str, str], default: str | None = None) -> Entry | None:
        """What boots when nothing is given for one boot. As GRUB does, the first one where the default is unknown."""
        known = self.values(environment, default)
        return self.named(known.get("default") or "")

    def doubt(self, environment: Mapping[str, str], default: str | None = None) -> str | None:
        """Why the text does not show which entry that is; None: it does."""
        may_be = self.values(environment, default).all_of("default")
        if len(may_be) > 1 or None in may_be:
            known = ", ".join(sorted(repr(one) for one in may_be if one is not None))
            return (
                f"its default is decided at each boot ({f'{known} or another' if None in may_be else known})"
            )
        wanted = next(iter(may_be), "") or ""
        if grub_choice.depends_on_firmware(wanted):
            return f"its default {wanted!r} has a number that GRUB reads otherwise on BIOS than on UEFI"
        always = [entry for entry in self.entries if not entry.conditional]
        if _descend(always, wanted) is not self.named(wanted):
            return f"its default {wanted!r} counts entries that are not there on every machine (UEFI, disks)"
        return None

    def filled(self, entry: Entry, environment: Mapping[str, str]) -> dict[str, str | None]:
        """Value of each word of an entry's command line that GRUB fills in; None: the text does not show it."""
        known = self._seen_by(entry, environment)
        return {
            word: grub_script.expanded(word, known) for word in kernel_words.words(entry.linux) if "$" in word
        }

    def _seen_by(self, entry: Entry, environment: Mapping[str, str]) -> grub_script.Values:
        known = self.values(environment)
        return known if any(entry is one for one in self.entries) else known.below()

    def line(self, entry: Entry, environment: Mapping[str, str]) -> list[str]:
        """An entry's command line as the kernel gets it, less what the text does not show."""
        known = self._seen_by(entry, environment)
        words = kernel_words.words(entry.linux)[1:]
        return [word for word in grub_script.handed(words, known) if word is not None]

    def named(self, wanted: str) -> Entry | None:
        """The entry that a default leads to."""
        return _descend(self.entries, wanted)


def _descend(entries: Sequence[Entry], wanted: str) -> Entry | None:
    while entries:
        at = grub_choice.index(entries, wanted)
        entry = entries[0 if at is None else at]
        if not entry.submenu:
            return entry
        entries, wanted = entry.entries, grub_choice.parts(wanted)[1]
    return None


def _walk(entries: list[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if entry.submenu:
            yield from _walk(entry.entries)
        else:
            yield entry


def with_custom(text: str, custom: str) -> str:
    """A grub.cfg with custom.cfg in it, where it is read: behind the `if` that looks for the file."""
    lines = text.splitlines()
    at = next((at for at, line in enumerate(lines) if _CUSTOM.match(line)), None)
    if at is None:
        return text
    end = next((behind for behind in range(at, len(lines)) if lines[behind].strip() == "fi"), at)
    return "\n".join([*lines[: end + 1], custom, *lines[end + 1 :], ""])


def read(text: str) -> Menu:
    """Read a grub.cfg."""
    top: list[Entry] = []
    open_entries: list[Entry] = []
    script: list[str] = []
    depth = 0  # of other braces (functions) inside the innermost entry, or outside all
    conditions = 0  # open `if`s outside of entries
    for line in text.splitlines():
        opening = _OPENING.match(line)
        bare = line.strip()
        if opening and not depth:
            rest = opening.group(2).strip()
            above = open_entries[-1] if open_entries else None
            entry = _entry(opening.group(1), rest.partition("{")[0], above)
            entry.conditional = conditions > 0
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
            elif not depth:
                script.append(line)
                words = re.findall(r"(?:^|;)\s*(?:then\s+|else\s+)?(if|fi)\b", bare)
                conditions += words.count("if") - words.count("fi")
    defaults = [value for value in _DEFAULT.findall(text) if value != NEXT]
    menu = Menu(
        entries=top,
        default=defaults[0] if defaults else "0",
        reads_custom=any(_CUSTOM.match(line) for line in text.splitlines()),
        one_shot=NEXT in _DEFAULT.findall(text) and "save_env next_entry" in text,
        script="\n".join(script),
    )
    for entry in menu.walk():
        if entry.path and menu.named(entry.path) is not entry:
            entry.path = ""  # an id that begins with a digit, or one that another entry has as well
    return menu


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
