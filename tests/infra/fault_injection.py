"""Injects faults into a provisioned host, one at a time: each host check must fail, and pass again after the revert.

    python -m tests.infra.fault_injection --host H -i INVENTORY [-k hugepages] [--others] [--revert]

For test machines only: the faults are real for some seconds. After a kill `--revert` reverts all; so does a reboot,
except for files in /etc and the next boot's choice.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.doctor.host import HOST_CHECKS, Failed, NotApplicable, Outcome
from labkit.doctor.host.connect import with_facts
from labkit.doctor.host.desired import Desired, work_out
from labkit.doctor.host.doctor import source
from labkit.doctor.host.reader import HostReader, RemoteHost, as_root
from labkit.errors import LabkitError

if __package__:
    from tests.infra.faults import FAULTS, Fault
else:
    sys.path.insert(0, str(Path(__file__).parent))
    from faults import FAULTS, Fault

BY_ID = {check.id: check for check in HOST_CHECKS}


@dataclass(frozen=True)
class Result:
    """What came of one fault."""

    check: str
    """Id of the host check."""
    verdict: str
    """detected, skipped, or what is wrong."""
    detail: str
    took_s: float

    @property
    def passed(self) -> bool:
        return self.verdict in ("detected", "skipped")


@dataclass(frozen=True)
class FaultInjector:
    """Injects faults into one host."""

    host: RemoteHost
    desired: Desired
    others: bool = False
    """Whether other host checks must pass meanwhile, except for those that may fail with it."""

    def results(self, faults: Sequence[Fault]) -> Iterator[Result]:
        """One fault after the other."""
        for fault in faults:
            start = time.monotonic()
            try:
                verdict, detail = self._one(fault)
            except LabkitError as error:
                verdict, detail = "ERROR", str(error)
            yield Result(fault.check, verdict, detail, time.monotonic() - start)

    def _one(self, fault: Fault) -> tuple[str, str]:
        before = self._check(fault.check)
        wanted = self._other_wanted(fault)
        if isinstance(before, Failed):
            return "FAILED BEFORE", f"expected {before.expected}, found {before.found}"
        if isinstance(before, NotApplicable) and wanted is self.desired:
            return "skipped", before.reason
        others: list[str] = []
        try:
            if wanted is self.desired:
                done = as_root(self.host, fault.inject(self.desired), name=self.desired.host)
                if done.rc:
                    return "NOT INJECTED", done.stderr.strip() or f"exit code {done.rc}"
            during = self._check(fault.check, wanted)
            if self.others and wanted is self.desired:
                others = self._others_failed(fault)
        finally:
            reverted = as_root(self.host, fault.revert(self.desired), name=self.desired.host)
        after = self._check(fault.check)
        if isinstance(before, NotApplicable) and isinstance(during, NotApplicable):
            return "skipped", before.reason
        if not isinstance(during, Failed):
            return "NOT DETECTED", str(during)
        if type(after) is not type(before):
            return "NOT REVERTED", f"{after} {reverted.stderr.strip()}"
        if others:
            return "OTHERS FAILED", ", ".join(others)
        return "detected", f"expected {during.expected}, found {during.found}"

    def _other_wanted(self, fault: Fault) -> Desired:
        other = fault.wants(self.desired)
        if not other:
            return self.desired
        unknown = {name: why for name, why in self.desired.unknown.items() if name not in other}
        return replace(self.desired, values={**self.desired.values, **other}, unknown=unknown)

    def _check(self, id_: str, desired: Desired | None = None) -> Outcome:
        """Run a host check with a new host reader, which has no cached answers."""
        return BY_ID[id_].check(HostReader(self.host, name=self.desired.host), desired or self.desired)

    def _others_failed(self, fault: Fault) -> list[str]:
        reader = HostReader(self.host, name=self.desired.host)
        failed = [one.id for one in HOST_CHECKS if isinstance(one.check(reader, self.desired), Failed)]
        return [one for one in failed if one != fault.check and one not in fault.also]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when every fault that the host allows was detected and reverted."""
    parser = argparse.ArgumentParser(description="Does each host check detect its faults?")
    parser.add_argument("--host", required=True)
    parser.add_argument("-i", "--inventory", action="append")
    parser.add_argument("--desired")
    parser.add_argument(
        "-k", dest="part", default="", metavar="REGEX", help="only host checks with this in their id"
    )
    parser.add_argument("--others", action="store_true", help="also require that no other host check fails")
    parser.add_argument("--revert", action="store_true", help="only revert what a killed run has injected")
    arguments = parser.parse_args(argv)
    chosen = [fault for fault in FAULTS if re.search(arguments.part, fault.check)]
    try:
        where = source(arguments.host, inventory=arguments.inventory, desired=arguments.desired)
        with with_facts(where, work_out(where)) as (host, desired):
            injector = FaultInjector(host, desired, others=arguments.others)
            if arguments.revert:
                for fault in chosen:
                    as_root(host, f"( {fault.revert(desired)} ) 2>/dev/null; true", name=desired.host)
                return 0
            results = []
            for result in injector.results(chosen):
                print(
                    f"{result.verdict:<13} {result.check:<28} {result.took_s:4.1f} s  {result.detail}",
                    flush=True,
                )
                results.append(result)
    except LabkitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    detected = sum(result.verdict == "detected" for result in results)
    print(
        f"{detected} of {len(results)} faults detected, {sum(not result.passed for result in results)} wrong"
    )
    return 0 if detected and all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
