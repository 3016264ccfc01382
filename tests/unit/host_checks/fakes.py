"""A host reader with given answers, in the place of one that reads a host."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.reader import CommandResult, HostFacts

NOT_FOUND = CommandResult(127, "not found")


@dataclass(frozen=True)
class FakeReader:
    """Files, links, and what commands print, by their name in the host check; a command that is not given fails."""

    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, CommandResult | str] = field(default_factory=dict)
    name: str = "dut"

    def look(
        self,
        *,
        files: Sequence[str] = (),
        links: Sequence[str] = (),
        commands: Mapping[str, str] | None = None,
    ) -> HostFacts:
        results = {name: self.commands.get(name, NOT_FOUND) for name in commands or {}}
        return HostFacts(
            _asked(self.files, files),
            _asked(self.links, links),
            {
                name: result if isinstance(result, CommandResult) else CommandResult(0, result)
                for name, result in results.items()
            },
        )

    def but(
        self, *, files: Mapping[str, str | None] | None = None, **changes: Mapping[str, Any]
    ) -> FakeReader:
        """The same host with other files (None: not there), links or commands."""
        left = {path: text for path, text in {**self.files, **(files or {})}.items() if text is not None}
        parts = {part: {**getattr(self, part), **changed} for part, changed in changes.items()}
        return replace(self, files=left, **parts)


def _asked(there: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    plain = [word for pattern in patterns for word in shlex.split(pattern)]
    return {path: text for path, text in there.items() if any(fnmatchcase(path, one) for one in plain)}


def desired(**values: Any) -> Desired:
    return Desired("dut", values, {}, {}, "ansible-playbook -i INV ansible/site.yml --limit dut --tags {tag}")
