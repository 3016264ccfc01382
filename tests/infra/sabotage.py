"""Breaks each promise on a host that keeps it, looks whether its check catches that, and mends it.

    python -m tests.infra.sabotage --host H -i INVENTORY [-k hugepages] [--others] [--mend]

For machines that are for tests: what it breaks is really broken for some seconds. After a kill `--mend` mends all; so
does a reboot, except for what is in /etc and the next boot's choice.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.doctor.host import PROMISES, Broken, NotApplicable, Outcome
from labkit.doctor.host.connect import with_facts
from labkit.doctor.host.desired import Desired, work_out
from labkit.doctor.host.doctor import source
from labkit.doctor.host.reader import Host, HostReader, as_root
from labkit.errors import LabkitError

if __package__:
    from tests.infra.sabotages import SABOTAGES, Sabotage
else:
    sys.path.insert(0, str(Path(__file__).parent))
    from sabotages import SABOTAGES, Sabotage

BY_ID = {promise.id: promise for promise in PROMISES}


@dataclass(frozen=True)
class Result:
    """What became of one sabotage."""

    promise: str
    verdict: str
    """caught, skipped, or what is wrong."""
    told: str
    took_s: float

    @property
    def well(self) -> bool:
        return self.verdict in ("caught", "skipped")


@dataclass(frozen=True)
class Saboteur:
    """Someone at a host."""

    host: Host
    desired: Desired
    others: bool = False
    """Also look that no other promise falls than those that may."""

    def tried(self, sabotages: Sequence[Sabotage]) -> Iterator[Result]:
        """One after the other."""
        for sabotage in sabotages:
            start = time.monotonic()
            try:
                verdict, told = self._one(sabotage)
            except LabkitError as error:
                verdict, told = "ERROR", str(error)
            yield Result(sabotage.promise, verdict, told, time.monotonic() - start)

    def _one(self, sabotage: Sabotage) -> tuple[str, str]:
        before = self._look(sabotage.promise)
        wanted = self._wanted_otherwise(sabotage)
        if isinstance(before, Broken):
            return "BROKEN BEFORE", f"expected {before.expected}, found {before.found}"
        if isinstance(before, NotApplicable) and wanted is self.desired:
            return "skipped", before.reason
        fell: list[str] = []
        try:
            if wanted is self.desired:
                done = as_root(self.host, sabotage.breaks(self.desired), name=self.desired.host)
                if done.rc:
                    return "NOT BROKEN", done.stderr.strip() or f"exit code {done.rc}"
            during = self._look(sabotage.promise, wanted)
            if self.others and wanted is self.desired:
                fell = self._fallen(sabotage)
        finally:
            mended = as_root(self.host, sabotage.mends(self.desired), name=self.desired.host)
        after = self._look(sabotage.promise)
        if isinstance(before, NotApplicable) and isinstance(during, NotApplicable):
            return "skipped", before.reason
        if not isinstance(during, Broken):
            return "MISSED", str(during)
        if type(after) is not type(before):
            return "NOT MENDED", f"{after} {mended.stderr.strip()}"
        if fell:
            return "FELL WITH IT", ", ".join(fell)
        return "caught", f"expected {during.expected}, found {during.found}"

    def _wanted_otherwise(self, sabotage: Sabotage) -> Desired:
        other = sabotage.wants(self.desired)
        if not other:
            return self.desired
        unknown = {name: why for name, why in self.desired.unknown.items() if name not in other}
        return replace(self.desired, values={**self.desired.values, **other}, unknown=unknown)

    def _look(self, promise: str, desired: Desired | None = None) -> Outcome:
        """With a new host reader: nothing that was read before is remembered."""
        return BY_ID[promise].check(HostReader(self.host, name=self.desired.host), desired or self.desired)

    def _fallen(self, sabotage: Sabotage) -> list[str]:
        reader = HostReader(self.host, name=self.desired.host)
        broken = [
            promise.id for promise in PROMISES if isinstance(promise.check(reader, self.desired), Broken)
        ]
        return [one for one in broken if one != sabotage.promise and one not in sabotage.also]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when every sabotage that the host allows was caught and mended."""
    parser = argparse.ArgumentParser(description="Is every broken promise caught by its check?")
    parser.add_argument("--host", required=True)
    parser.add_argument("-i", "--inventory", action="append")
    parser.add_argument("--desired")
    parser.add_argument(
        "-k", dest="part", default="", metavar="REGEX", help="only promises with this in their id"
    )
    parser.add_argument("--others", action="store_true", help="also look that no other promise falls")
    parser.add_argument("--mend", action="store_true", help="only mend what a killed run has broken")
    arguments = parser.parse_args(argv)
    chosen = [sabotage for sabotage in SABOTAGES if re.search(arguments.part, sabotage.promise)]
    try:
        where = source(arguments.host, inventory=arguments.inventory, desired=arguments.desired)
        with with_facts(where, work_out(where)) as (host, desired):
            saboteur = Saboteur(host, desired, others=arguments.others)
            if arguments.mend:
                for sabotage in chosen:
                    as_root(host, f"( {sabotage.mends(desired)} ) 2>/dev/null; true", name=desired.host)
                return 0
            results = []
            for result in saboteur.tried(chosen):
                print(
                    f"{result.verdict:<13} {result.promise:<28} {result.took_s:4.1f} s  {result.told}",
                    flush=True,
                )
                results.append(result)
    except LabkitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    caught = sum(result.verdict == "caught" for result in results)
    print(f"{caught} of {len(results)} sabotages caught, {sum(not result.well for result in results)} wrong")
    return 0 if caught and all(result.well for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
