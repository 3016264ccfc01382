"""What can go wrong, with who is to blame and the exit code that says so.

A message holds what was expected, what was seen and where; `hint` says what to do next.
Only the command line turns one of these into an exit.
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
        """Where in a file it is told, among others: by the line; 0: nowhere."""
        self.parts: tuple[ConfigInvalid, ...] = ()
        """What it is made of, where it is several mistakes."""


class AlreadyNoted(ConfigInvalid):
    """A consequence of a mistake that was noted before: nothing to say of it."""


class Mistakes:
    """What is wrong with the user's input, gathered so that all of it is said at once and not one a run."""

    def __init__(self) -> None:
        self._found: list[tuple[int, ConfigInvalid]] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the mistake that ends the block, and go on behind it."""
        try:
            yield
        except AlreadyNoted:
            pass
        except ConfigInvalid as error:
            # Those of another file stay together, behind one's own.
            group = len(self._found) + 1 if error.parts else 0
            self._found += [(group, part) for part in error.parts or (error,)]

    def check(self) -> None:
        """Raise ConfigInvalid with all that was noted, where something was."""
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
    """The machine lacks something or refused something; `hint` is the command that mends it."""

    exit_code = 3


class ToolFailed(LabkitError):
    """An external program (the probe among them) failed or died."""

    exit_code = 4


class LabkitBug(LabkitError):
    """Something that cannot happen did: negative loss, counters that do not add up."""

    exit_code = 70
