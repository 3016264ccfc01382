"""A whole run, as results.json holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from labkit.record.model import Measurement, Verdict
from labkit.record.provenance import Environment

SCHEMA_VERSION = 2
"""Raised whenever a reader of the former version would misread a file. Older files are read (labkit.record.upgrade),
newer ones are refused."""

State = Literal["finished", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """What is known when a run begins."""

    id: str
    """UTC time and a short random part: the folder's name."""
    started: str
    """UTC, ISO 8601."""
    labkit_version: str
    command: tuple[str, ...]
    """As typed, without the program's folder; home folders are written as ~."""
    quick: bool
    """Shorter trials and fewer of them: for a look, not for a quotation."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a run ended."""

    state: State
    ended: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that one run left."""

    schema_version: int
    start: RunStart
    end: RunEnd | None
    """None: it was killed, or is still going; what it had finished is here."""
    environment: Environment | None
    measurements: tuple[Measurement, ...]
    """Those that stand: of a measurement that was repeated the last attempt."""
    verdicts: tuple[Verdict, ...]
    """Those that stand: of a test that was repeated the last attempt's."""
    former_measurements: tuple[Measurement, ...] = ()
    """Attempts that were invalid and measured again."""
    former_verdicts: tuple[Verdict, ...] = ()
    """What the tests that were repeated had ended with before."""

    def with_measurement(self, new: Measurement) -> Run:
        """The run with one more measurement; a later attempt takes the place of the former one."""
        of = (new.key, new.kind, new.variant)
        former = [
            m for m in self.measurements if (m.key, m.kind, m.variant) == of and m.attempt < new.attempt
        ]
        return replace(
            self,
            measurements=(*(m for m in self.measurements if all(m is not f for f in former)), new),
            former_measurements=(*self.former_measurements, *former),
        )

    def with_verdict(self, new: Verdict) -> Run:
        """The run with one more verdict; those of a test's later attempt take the place of all of the former ones."""
        former = [v for v in self.verdicts if v.test == new.test and v.attempt < new.attempt]
        return replace(
            self,
            verdicts=(*(v for v in self.verdicts if all(v is not f for f in former)), new),
            former_verdicts=(*self.former_verdicts, *former),
        )

    def with_environment(self, new: Environment) -> Run:
        """The run with what a machine was later, or what another process of the run has seen of it."""
        former = self.environment
        if former is None:
            return replace(self, environment=new)
        topologies = {one.name: one for one in (*former.topologies, *new.topologies)}
        network = replace(new.network, links={**former.network.links, **new.network.links})
        hosts = {**former.hosts, **new.hosts}
        merged = replace(new, topologies=tuple(topologies.values()), network=network, hosts=hosts)
        return replace(self, environment=merged)

    @property
    def state(self) -> State:
        """A run without an end was killed: interrupted."""
        return self.end.state if self.end else "interrupted"
