"""What a promise is and what looking at a host finds. It must not know how a host is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.reader import HostReader
from labkit.errors import ToolFailed


@dataclass(frozen=True, slots=True)
class Kept:
    """The value in effect is the desired one."""

    found: str


@dataclass(frozen=True, slots=True)
class Broken:
    """It is another one."""

    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """Nothing is desired here, or this host cannot have it."""

    reason: str


Outcome = Kept | Broken | NotApplicable


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One thing that a role of ansible/roles promises of a host that it went over."""

    id: str
    """Role and what is promised, such as "hugepages.granted"; stable: the sabotage table keys on it."""
    text: str
    """What holds when it is kept."""
    check: Callable[[HostReader, Desired], Outcome]
    """Looks at the host, changes nothing."""

    def look(self, reader: HostReader, desired: Desired) -> Outcome:
        """What `check` finds. Raises LabkitError where that can't be told: one answer that nobody expected is no more.

        The readers name the file that they can't read; this is for what they did not think of.
        """
        try:
            return self.check(reader, desired)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ToolFailed(
                f"{self.id}: what was found can't be read ({type(error).__name__}: {error})",
                hint="this is a fault of labkit's: please report it",
            ) from error

    @property
    def role(self) -> str:
        """The role that keeps it; also the tag of site.yml that closes the difference."""
        return self.id.partition(".")[0]


def compare(differences: list[tuple[str, str, str]], kept: str) -> Kept | Broken:
    """Of (what, expected, found) all those that differ, or `kept` when none do."""
    wrong = [(what, expected, found) for what, expected, found in differences if expected != found]
    if not wrong:
        return Kept(kept)
    return Broken(
        "; ".join(f"{what} {expected}" for what, expected, _ in wrong),
        "; ".join(f"{what} {found}" for what, _, found in wrong),
    )
