"""Files of NAME=VALUE lines that systemd gives to a service (EnvironmentFile=), read as systemd reads them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPED_IN_QUOTES = '"\\`$'


@dataclass(frozen=True)
class Assignment:
    """One variable that a file sets."""

    name: str
    value: str
    line: int
    """Where it begins, counted from 1."""


def parse(text: str) -> list[Assignment]:
    """All that the file sets, in order; of several for one name the last counts.

    systemd.exec(5): comments begin with # or ;, quotes may go over lines, a backslash continues a line. Nothing is a
    mistake: a line that is no assignment is left out ("export X=1" too, unlike in a shell).
    """
    return list(_Reader(text).assignments())


class _Reader:
    """Goes over the text once, character by character."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n").replace("\r", "\n")
        self._at = 0

    def assignments(self) -> Iterator[Assignment]:
        while self._at < len(self._text):
            if self._text[self._at].isspace():
                self._at += 1
                continue
            line = self._text.count("\n", 0, self._at) + 1
            if self._text[self._at] in "#;":
                self._until_end_of_line()
                continue
            name = self._name()
            if name is None:
                continue
            value = self._value()
            if _NAME.fullmatch(name):
                yield Assignment(name, value, line)

    def _until_end_of_line(self) -> str:
        end = self._text.find("\n", self._at)
        end = len(self._text) if end < 0 else end
        found, self._at = self._text[self._at : end], end + 1
        return found

    def _name(self) -> str | None:
        """What stands before =; None where the line has none."""
        start = self._at
        line = self._until_end_of_line()
        name, equals, _ = line.partition("=")
        if not equals:
            return None
        self._at = start + len(name) + 1
        return name.rstrip()

    def _value(self) -> str:
        """Up to the end of the line: words as they are, and what is in quotes, without them."""
        value, kept = "", 0  # kept: length that white space at the end is not taken from
        begun = False
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == "\n":
                break
            if char == "\\":
                char = self._next()
                value += "" if char == "\n" else char
                begun, kept = True, len(value)
            elif char in "'\"" and not begun:
                value = value[:kept] + self._quoted(char)
                kept = len(value)
            elif begun or not char.isspace():
                value += char
                begun = True
                kept = kept if char.isspace() else len(value)
        return value[:kept]

    def _next(self) -> str:
        char = self._text[self._at : self._at + 1]
        self._at += 1
        return char

    def _quoted(self, quote: str) -> str:
        found = ""
        while self._at < len(self._text):
            char = self._next()
            if char == quote:
                break
            if char == "\\" and quote == '"':
                char = self._next()
                found += "" if char == "\n" else char if char in _ESCAPED_IN_QUOTES else f"\\{char}"
            else:
                found += char
        return found
