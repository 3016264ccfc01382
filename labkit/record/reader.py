"""Reads single facts from a machine's files: what can't be read is None, and its error is kept."""

from __future__ import annotations

import os
import re
from pathlib import Path


class FactReader:
    """Reads files below `root` and keeps the error of each that could not be read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unreadable: dict[str, str] = {}

    def path(self, absolute: str) -> Path:
        """Where the machine's file is."""
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str | None:
        """A file's text without the white space around it."""
        try:
            return self.path(absolute).read_text(errors="replace").strip()
        except OSError as e:
            self.unreadable[absolute] = os.strerror(e.errno) if e.errno else str(e)
            return None

    def integer(self, absolute: str) -> int | None:
        """A file that holds one whole number."""
        text = self.text(absolute)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            self.unreadable[absolute] = f"holds {text[:40]!r}, not a whole number"
            return None

    def names(self, absolute: str) -> list[str]:
        """What a folder holds, in order; nothing where it can't be read."""
        try:
            return sorted(p.name for p in self.path(absolute).iterdir())
        except OSError as e:
            self.unreadable[absolute] = os.strerror(e.errno) if e.errno else str(e)
            return []

    def chosen(self, absolute: str) -> str | None:
        """The word in brackets of "always [madvise] never"; the text where there are none."""
        text = self.text(absolute)
        if text is None:
            return None
        match = re.search(r"[\[(](\w+)[\])]", text)
        return match[1] if match else text
