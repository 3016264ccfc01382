"""What GRUB's variables are once grub.cfg has run, as far as the text shows. Pure.

Assignments, and conditions that only look at variables, are followed. A variable that is set under a condition of
another kind (a file, a command, a key) has several values that it may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_WORD = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s;'"\\])+|;|\n""", re.DOTALL)
_PIECE = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)|([^'"\\]+)""", re.DOTALL)
_VARIABLE = re.compile(r"\\(.)|\$\{(\w+)\}|\$(\w+|[?@*#])", re.DOTALL)
_ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)
_EMPTY = frozenset(
    {
        *(
            "next_entry",
            "prev_entry",
            "saved_entry",
            "prev_saved_entry",
            "boot_once",
            "recordfail",
            "initrdfail",
        ),
        *("boot_counter", "boot_success", "boot_indeterminate", "menu_auto_hide", "menu_show_once"),
        *("menu_show_once_timeout", "tuned_params", "tuned_initrd"),
    }
)
"""Variables that are empty where nobody set them. GRUB's own (grub_platform, feature_...) are not known here."""


@dataclass(frozen=True)
class Values:
    """What variables may be."""

    may_be: Mapping[str, frozenset[str | None]] = field(default_factory=dict)
    """All values that each may have; None is one that the text does not show."""
    exported: Mapping[str, bool | None] = field(default_factory=dict)
    """Those that submenus see, too; None: maybe."""

    def get(self, name: str) -> str | None:
        """Its value; None: the text does not show it."""
        found = self.may_be.get(name, _unset(name))
        return next(iter(found)) if len(found) == 1 else None

    def all_of(self, name: str) -> frozenset[str | None]:
        """All that it may be; none where nothing sets it."""
        return self.may_be.get(name, frozenset())

    def below(self) -> Values:
        """The same inside a submenu, where GRUB knows none that was not exported."""
        found = dict(self.may_be)
        for name, values in self.may_be.items():
            if self.exported.get(name, False) is not True:
                found[name] = frozenset([""]) | (values if name in self.exported else frozenset())
        return Values(found, self.exported)


def _unset(name: str) -> frozenset[str | None]:
    return frozenset([""] if name in _EMPTY else [None])


def run(text: str, environment: Mapping[str, str]) -> Values:
    """Follow a script. `environment`: what is loaded from grubenv."""
    values: dict[str, frozenset[str | None]] = {
        name: frozenset([value]) for name, value in environment.items()
    }
    exported: dict[str, bool | None] = {}
    # Of each open `if` whether its branches so far were taken; None: unknown.
    levels: list[list[bool | None]] = []
    for statement in _statements(text):
        words = list(statement)
        known = Values(values)
        if words[0] in ("if", "while", "until", "for"):
            levels.append([_holds(words[1:], known) if words[0] == "if" else None])
            continue
        if words[0] == "elif" and levels:
            levels[-1].append(_holds(words[1:], known))
            continue
        if words[0] in ("fi", "done") and levels:
            levels.pop()
            continue
        if words[0] == "else" and levels:
            levels[-1].append(True)
            words = words[1:]
        elif words[0] in ("then", "do"):
            words = words[1:]
        taken = _all(_branch(level) for level in levels)
        if words[:1] == ["export"] and taken is not False:
            exported.update({name.partition("=")[0]: taken for name in words[1:]})
        for name, value in _assigned(words, known):
            if taken:
                values[name] = frozenset([value])
            elif taken is None:
                values[name] = values.get(name, _unset(name)) | {value}
    return Values(values, exported)


def handed(words: Sequence[str], known: Values) -> list[str | None]:
    """The words of a command line as GRUB's loader hands them to the kernel; None for each that the text does not show.

    What a variable holds is divided at its blanks; a word with blanks of its own is put between quotes.
    """
    found: list[str | None] = []
    for word in words:
        value = expanded(word, known)
        if value is None:
            found.append(None)
        elif "$" in word:
            found += value.split()
        else:
            value = re.sub(r"([\\\"'])", r"\\\1", value)
            found.append(f'"{value}"' if " " in value else value)
    return found


def expanded(text: str, known: Values) -> str | None:
    """A word without its quotes, and with the values of its variables; None: one of them is not known."""
    found = ""
    for single, double, escaped, bare in _PIECE.findall(text):
        inner = _filled(double or bare, known) if double or bare else single or escaped
        if inner is None:
            return None
        found += inner
    return found


def _filled(text: str, known: Values) -> str | None:
    unknown = []

    def value(match: re.Match[str]) -> str:
        if match.group(1):
            return match.group(1) if match.group(1) in '"\\$' else match.group()
        got = known.get(match.group(2) or match.group(3))
        if got is None:
            unknown.append(match.group())
        return got or ""

    filled = _VARIABLE.sub(value, text)
    return None if unknown else filled


def _statements(text: str) -> Iterator[list[str]]:
    words: list[str] = []
    lines = "\n".join("" if line.lstrip().startswith("#") else line for line in text.splitlines())
    for word in [*_WORD.findall(lines), "\n"]:
        if word not in (";", "\n"):
            words.append(word)
            continue
        # `then` and `else` may have a statement behind them, also an `if`.
        while len(words) > 1 and words[0] in ("then", "else", "do") and words[1] in ("if", "while", "for"):
            yield words[:1]
            words = words[1:]
        if words:
            yield words
        words = []


def _assigned(words: Sequence[str], known: Values) -> Iterator[tuple[str, str | None]]:
    if words[:1] == ["unset"]:
        yield from ((name, "") for name in words[1:])
        return
    for word in words[1:2] if words[:1] == ["set"] else words[:1]:
        found = _ASSIGNMENT.fullmatch(word)
        if found:
            yield found.group(1), expanded(found.group(2), known)


def _holds(condition: Sequence[str], known: Values) -> bool | None:
    """Whether a condition on variables alone is true; None: it is another one, or their values are not known."""
    if condition[:1] not in (["["], ["test"]):
        return None
    words = [word for word in condition[1:] if word != "]"]
    return _any(_each_of(group, known) for group in _divided(words, "-o"))


def _divided(words: Sequence[str], at: str) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for word in words:
        if word == at:
            groups.append([])
        else:
            groups[-1].append(word)
    return groups


def _each_of(group: Sequence[str], known: Values) -> bool | None:
    return _all(_term(term, known) for term in _divided(group, "-a"))


def _term(term: Sequence[str], known: Values) -> bool | None:
    if term[:1] == ["!"]:
        inner = _term(term[1:], known)
        return None if inner is None else not inner
    words = [expanded(word, known) for word in term]
    if any(word is None for word in words):
        return None
    if len(words) == 1:
        return bool(words[0])
    if len(words) == 2 and words[0] in ("-n", "-z"):
        return bool(words[1]) == (words[0] == "-n")
    if len(words) == 3 and words[1] in ("=", "==", "!="):
        return (words[0] == words[2]) == (words[1] != "!=")
    return None


def _branch(level: Sequence[bool | None]) -> bool | None:
    """Whether the last branch of an `if` is the one that is taken."""
    if True in level[:-1]:
        return False
    return None if None in level[:-1] and level[-1] is not False else level[-1]


def _all(taken: Iterator[bool | None]) -> bool | None:
    found = list(taken)
    return False if False in found else None if None in found else True


def _any(taken: Iterator[bool | None]) -> bool | None:
    found = list(taken)
    return True if True in found else None if None in found else False
