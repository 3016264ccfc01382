"""The errors that labkit raises, by cause, each with its exit code.

A message says what was expected, what was found and where; `hint` says what to do next.
Only the command line turns an error into an exit code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar


class LabkitError(Exception):
    """Base of every error that labkit raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigInvalid(LabkitError):
    """The user's input is wrong (a file, an option, a unit). Nothing was changed."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None, line: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.line = line
        """Line in the file, by which several mistakes are sorted; 0: none."""
        self.parts: tuple[ConfigInvalid, ...] = ()
        """The single mistakes, if this error reports several."""


class AlreadyNoted(ConfigInvalid):
    """A consequence of a mistake that is noted already; it is not reported."""


class Mistakes:
    """Collects the mistakes in the user's input, to report them together and not one per run."""

    def __init__(self) -> None:
        self._found: list[tuple[int, ConfigInvalid]] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a mistake that is raised in the block, and continue after the block."""
        try:
            yield
        except AlreadyNoted:
            pass
        except ConfigInvalid as error:
            # The mistakes of another file stay together, after those of this one.
            group = len(self._found) + 1 if error.parts else 0
            self._found += [(group, part) for part in error.parts or (error,)]

    def check(self) -> None:
        """Raise ConfigInvalid with all mistakes, if any was noted."""
        ordered = [e for _, e in sorted(self._found, key=lambda found: (found[0], found[1].line))]
        if ordered:
            raise _together(list({str(error): error for error in ordered}.values()))


def _together(found: Sequence[ConfigInvalid]) -> ConfigInvalid:
    if len(found) == 1:
        return found[0]
    whole = ConfigInvalid("\n".join([*map(str, found), f"{len(found)} mistakes in all"]), line=found[0].line)
    whole.parts = tuple(found)
    return whole


class EnvironmentBroken(LabkitError):
    """The machine lacks something or refused something; `hint` is the command that fixes it."""

    exit_code = 3


class ToolFailed(LabkitError):
    """An external program (the probe among them) failed or died."""

    exit_code = 4


class ConnectionLost(ToolFailed):
    """The connection to another machine was lost while it was measured, or that machine restarted."""


class LabkitBug(LabkitError):
    """An internal contradiction, such as negative loss or counters that do not add up."""

    exit_code = 70
