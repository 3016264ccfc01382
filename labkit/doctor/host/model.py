"""A host check and its outcomes. It must not know how a host is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.reader import HostReader
from labkit.errors import ToolFailed


@dataclass(frozen=True, slots=True)
class Passed:
    """The value in effect is the desired one."""

    found: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The value in effect is not the desired one."""

    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """Nothing is desired here, or this host cannot have it."""

    reason: str


Outcome = Passed | Failed | NotApplicable


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCheck:
    """One read-only check that a host is as a role of ansible/roles provisions it."""

    id: str
    """Role and what is checked, such as "hugepages.granted"; stable: the table of faults (tests/infra) keys on it."""
    text: str
    """What is true when it passes."""
    check: Callable[[HostReader, Desired], Outcome]
    """Reads the host, changes nothing."""

    def run(self, reader: HostReader, desired: Desired) -> Outcome:
        """The outcome of `check`. Raises LabkitError where it can't be determined, also for an unexpected answer.

        The readers name the file that they can't parse; this is for what they did not expect.
        """
        try:
            return self.check(reader, desired)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ToolFailed(
                f"{self.id}: what was found can't be read ({type(error).__name__}: {error})",
                hint="this is a bug in labkit: please report it",
            ) from error

    @property
    def role(self) -> str:
        """The role that provisions it; also the tag of site.yml that fixes a failure."""
        return self.id.partition(".")[0]


def compare(differences: list[tuple[str, str, str]], passed: str) -> Passed | Failed:
    """Of (what, expected, found) all those that differ, or `passed` when none do."""
    wrong = [(what, expected, found) for what, expected, found in differences if expected != found]
    if not wrong:
        return Passed(passed)
    return Failed(
        "; ".join(f"{what} {expected}" for what, expected, _ in wrong),
        "; ".join(f"{what} {found}" for what, _, found in wrong),
    )
