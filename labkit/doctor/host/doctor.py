"""`labkit doctor --host`: runs every host check on one host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.doctor.host import HOST_CHECKS, Failed, HostCheck, Outcome, Passed
from labkit.doctor.host.connect import opened
from labkit.doctor.host.desired import Desired, Source, of_file, of_inventory
from labkit.doctor.host.reader import HostReader
from labkit.errors import ConfigInvalid, EnvironmentBroken, ToolFailed
from labkit.machine.roles import folder

NOTHING_APPLIES = 1
"""Exit code where no check applies: nothing failed, and nothing was checked."""


@dataclass(frozen=True, slots=True)
class UnknownOutcome:
    """The check could not be completed: what the host has, or its desired state, is not known."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One host check and its outcome."""

    check: HostCheck
    outcome: Outcome | UnknownOutcome
    fix: str
    """Command that fixes a failure."""


def source(host: str, *, inventory: Sequence[str] | None, desired: str | None) -> Source:
    """Where the desired state of `host` is written; of localhost without either, the roles' own inventory."""
    if inventory and desired:
        raise ConfigInvalid(
            "both an inventory and a file of variables were given", hint="use either -i or --desired"
        )
    if desired:
        return of_file(host, Path(desired))
    if inventory:
        return of_inventory(host, *inventory)
    if host != "localhost":
        raise ConfigInvalid(
            f"no configuration is given for {host}",
            hint="give its inventory (-i INVENTORY) or --desired FILE",
        )
    return of_inventory(host, folder() / "inventory/local.yml")


def run(where: Source) -> list[CheckResult]:
    """Run every host check. Raises EnvironmentBroken for a host that cannot be reached."""
    with opened(where) as (reader, desired):
        return [
            CheckResult(check=check, outcome=_outcome(check, reader, desired), fix=desired.fix(check.role))
            for check in HOST_CHECKS
        ]


def _outcome(check: HostCheck, reader: HostReader, desired: Desired) -> Outcome | UnknownOutcome:
    """Its outcome. An error in one variable or file of a host leaves the other checks to run."""
    try:
        return check.run(reader, desired)
    except (ConfigInvalid, ToolFailed) as error:
        return UnknownOutcome(str(error))


def exit_code(results: Sequence[CheckResult]) -> int:
    """0: at least one check applies, and all that apply passed."""
    if any(isinstance(one.outcome, Failed | UnknownOutcome) for one in results):
        return EnvironmentBroken.exit_code
    return 0 if any(isinstance(one.outcome, Passed) for one in results) else NOTHING_APPLIES
