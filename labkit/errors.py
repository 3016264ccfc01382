"""What can go wrong, with who is to blame and the exit code that says so.

A message holds what was expected, what was seen and where; `hint` says what to do next.
Only the command line turns one of these into an exit.
"""

from __future__ import annotations

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


class EnvironmentBroken(LabkitError):
    """The machine lacks something or refused something; `hint` is the command that mends it."""

    exit_code = 3


class ToolFailed(LabkitError):
    """An external program (the probe among them) failed or died."""

    exit_code = 4


class LabkitBug(LabkitError):
    """Something that cannot happen did: negative loss, counters that do not add up."""

    exit_code = 70
