"""YAML with line numbers: a mapping that knows where each key stood, and errors that say so.

It knows nothing of what a file is for; readers ask for keys and report what is wrong with them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import yaml

from labkit.errors import AlreadyNoted, ConfigInvalid, Mistakes
from labkit.units import parse_whole


def suggest(wrong: str, known: Iterable[str], *, likely: Iterable[str] = ()) -> str:
    """A suggestion for a misspelling: the closest known word first (of those that are likely, if any), then all."""
    words = sorted(map(str, known))
    close = difflib.get_close_matches(wrong, list(likely), n=1) or difflib.get_close_matches(
        wrong, words, n=1
    )
    listed = ", ".join(words) or "(none)"
    return f"did you mean {close[0]!r}? known: {listed}" if close else f"known: {listed}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a YAML file with its place."""

    source: Path
    line: int
    value: str | list[Node] | dict[str, Node]
    """Scalars stay text as written, so that "no" and "0644" are read by who knows what they mean."""
    where: str
    """Path of keys to it, such as links[0].tester.mac."""
    mistakes: Mistakes | None = None
    """Where wrong keys are noted, to be reported together. None: the first one is raised."""
    missing: bool = False
    """A placeholder for a missing key, which was noted."""

    def fail(self, expected: str, *, hint: str | None = None, after: int = 0) -> NoReturn:
        """Raise ConfigInvalid for this place; `after`: the line after whose mistakes it is reported."""
        prefix = f"{self.where}: " if self.where else ""
        kind = AlreadyNoted if self.missing else ConfigInvalid
        raise kind(f"{self.source}:{self.line}: {prefix}{expected}", hint=hint, line=max(self.line, after))

    def _note(self, expected: str, *, hint: str, after: int = 0) -> None:
        """The same, and the next key is read, where mistakes are noted."""
        with self.mistakes.noted() if self.mistakes is not None else nullcontext():
            self.fail(expected, hint=hint, after=after)

    def mapping(
        self,
        *,
        required: Iterable[str],
        optional: Iterable[str] = (),
        renamed: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Node]:
        """The value as a mapping with exactly these keys; a former key (`renamed`) is answered with the new one."""
        required, optional = list(required), list(optional)
        if not isinstance(self.value, dict):
            self.fail(
                f"expected a mapping with the keys {', '.join(required + optional)}, got {self._seen()}"
            )
        known = required + optional
        unknown = [key for key in self.value if key not in known]
        absent = [key for key in known if key not in self.value]
        for key in (key for key in unknown if key in renamed):
            self.value[key]._note(
                f"the key {key!r} is now called {renamed[key]!r}",
                hint=f"write {renamed[key]}: instead of {key}:",
            )
        for key in (key for key in unknown if key not in renamed):
            self.value[key]._note(f"unknown key {key!r}", hint=suggest(key, known, likely=absent))
        misspelt = {close for key in unknown for close in difflib.get_close_matches(key, absent, n=1)}
        last = max((self.value[key].line for key in unknown), default=0)
        found = {key: node for key, node in self.value.items() if key in known}
        for key in required:
            if key not in found and key not in misspelt:
                self._note(f"missing key {key!r}", hint=f"expected keys: {', '.join(known)}", after=last)
            if key not in found:
                where = f"{self.where}.{key}" if self.where else key
                found[key] = Node(self.source, self.line, "", where, self.mistakes, missing=True)
        return found

    def items(self) -> Iterator[Node]:
        """The value as a sequence."""
        if not isinstance(self.value, list):
            self.fail(f"expected a list, got {self._seen()}")
        return iter(self.value)

    def text(self) -> str:
        """The value as non-empty text."""
        if not isinstance(self.value, str) or not self.value:
            self.fail(f"expected text, got {self._seen()}")
        return self.value

    def one_of(self, words: Iterable[str]) -> str:
        """The value as one of `words`."""
        words, text = list(words), self.text()
        if text not in words:
            self.fail(f"expected one of {', '.join(words)}, got {text!r}", hint=suggest(text, words))
        return text

    def boolean(self) -> bool:
        """The value as yes/no."""
        text = self.text()
        if text.lower() not in ("yes", "no", "true", "false"):
            self.fail(f"expected yes or no, got {text!r}")
        return text.lower() in ("yes", "true")

    def integer(self, low: int, high: int) -> int:
        """The value as an integer in [low, high]."""
        text = self.text()
        found = parse_whole(text.removeprefix("-"))
        if found is not None and text.startswith("-"):
            found = -found
        if found is None or not low <= found <= high:
            self.fail(f"expected an integer from {low} to {high}, got {text!r}")
        return found

    def _seen(self) -> str:
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        return repr(self.value) if self.value else "nothing"


def parse_yaml(text: str, source: Path, mistakes: Mistakes | None = None) -> Node:
    """Read one YAML document; keys written twice are refused.

    With `mistakes`, wrong keys are noted there and reading goes on: who passes it calls its `check` at the end.
    Raises ConfigInvalid: not YAML (with line), a key that is not text, a duplicate key, more than one document.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigInvalid(f"{source}:{line}: expected YAML: {error.problem}", line=line) from None
    except yaml.YAMLError as error:
        raise ConfigInvalid(f"{source}:1: expected YAML: {error}") from None
    if root is None:
        raise ConfigInvalid(f"{source}:1: expected a mapping, got an empty file")
    return _convert(root, source, "", frozenset(), mistakes)


def _convert(
    node: yaml.Node, source: Path, where: str, above: frozenset[int], mistakes: Mistakes | None
) -> Node:
    line = node.start_mark.line + 1
    if id(node) in above:
        raise ConfigInvalid(f"{source}:{line}: {where}: expected no alias that contains itself")
    above |= {id(node)}
    if isinstance(node, yaml.ScalarNode):
        return Node(source, line, "" if node.tag.endswith(":null") else str(node.value), where, mistakes)
    if isinstance(node, yaml.SequenceNode):
        items = [_convert(n, source, f"{where}[{i}]", above, mistakes) for i, n in enumerate(node.value)]
        return Node(source, line, items, where, mistakes)
    mapping: dict[str, Node] = {}
    for key, value in node.value:
        key_line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigInvalid(f"{source}:{key_line}: expected a word as key")
        name = str(key.value)
        if name in mapping:
            with mistakes.noted() if mistakes is not None else nullcontext():
                raise ConfigInvalid(
                    f"{source}:{key_line}: duplicate key {name!r} (first on line {mapping[name].line})",
                    line=key_line,
                )
            continue
        child = _convert(value, source, f"{where}.{name}" if where else name, above, mistakes)
        mapping[name] = Node(source, key_line, child.value, child.where, mistakes)
    return Node(source, line, mapping, where, mistakes)
