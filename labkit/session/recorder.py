"""What a session keeps: the run folder and its store, the measurements and verdicts, and the environment.

It measures nothing and judges nothing.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.lab.topology import Topology
from labkit.measure.gate import BASE, MAX_OFFERED_LOAD
from labkit.record import environment
from labkit.record.codec import encode
from labkit.record.model import Key, Measurement, Verdict
from labkit.session.attempts import CONNECTION_LOST, Attempts
from labkit.session.plan import Plan
from labkit.session.settings import Settings

if TYPE_CHECKING:
    from labkit.record.run import Run
    from labkit.record.store import RunStore


class Recorder:
    """Remembers each measurement for the rest of the session and stores it at once, if the session stores anything."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        self._settings = settings
        self._plan = plan
        self.seed = settings.seed if settings.seed is not None else secrets.randbelow(2**31)
        self.attempts = Attempts()
        self.topologies: dict[str, Topology] = {}
        """All topologies that were measured on, by name."""
        self._links: dict[str, Mapping[str, object]] = {}
        """Facts read back from their links."""
        self._hosts: dict[str, object] = {}
        """What other machines that take part are, by name."""
        self._known: dict[str, dict[str, Measurement]] = {}
        """By row (`Key.id`), then by `Measurement.kind` with its variant: later measurements build on earlier ones."""
        self._bases: dict[tuple[str, str], tuple[Measurement, ...]] = {}
        """By row and name: the invalid measurements that a measurement rests on."""
        self._former: dict[tuple[str, str], list[Measurement]] = {}
        """The attempts at a measurement that no longer count, by row and name."""
        self._outdated: set[int] = set()
        """By identity: attempts that were made before a test was rerun from the beginning."""
        self._adopted: set[str] = set()
        """Topologies of which it was looked up what another process of the run had measured."""
        self._store: RunStore | None = None
        self._folder: Path | None = None
        self._finished: Run | None = None

    # --- measurements --------------------------------------------------------------------------------------

    def find(self, key: Key, kind: str, variant: str = "") -> Measurement | None:
        """The measurement of this row, if it was made already."""
        self._adopt(key.topology)
        return self._known.get(key.id, {}).get(_name(kind, variant))

    def _adopt(self, topology: str) -> None:
        """Take over what was measured on a topology by a worker that was killed: this process is there in its place.

        What is valid counts; what is invalid is an attempt, which this process makes again.
        """
        folder = self.folder
        if self._settings.shared is None or topology in self._adopted:
            return
        self._adopted.add(topology)
        if folder is None:
            return
        from labkit.record.store import load

        run = load(folder)
        for measurement in (*run.former_measurements, *run.measurements):
            if measurement.key.topology != topology:
                continue
            name = _name(measurement.kind, measurement.variant)
            stands = any(measurement is one for one in run.measurements)
            if stands and all(gate.state != "invalid" for gate in measurement.gates):
                self._known.setdefault(measurement.key.id, {})[name] = measurement
            else:
                self._former.setdefault((measurement.key.id, name), []).append(measurement)

    def row(self, key: Key) -> list[Measurement]:
        """All measurements of a row."""
        return list(self._known.get(key.id, {}).values())

    def everything(self) -> list[Measurement]:
        """All measurements that count at present."""
        return [measurement for row in self._known.values() for measurement in row.values()]

    def attempt(self, key: Key, kind: str, variant: str = "") -> int:
        """Number of the next attempt at a measurement: 1 and up."""
        former = self._former.get((key.id, _name(kind, variant)), ())
        return former[-1].attempt + 1 if former else 1

    def former(self, key: Key, kind: str) -> Sequence[Measurement]:
        """The attempts at a measurement that were repeated; those that a rerun was to forget are not among them."""
        return [m for m in self._former.get((key.id, _name(kind, "")), ()) if id(m) not in self._outdated]

    def keep(self, measurement: Measurement, *, bases: Sequence[Measurement] = ()) -> None:
        """Remember a measurement, and store it. `bases`: those that it rests on, where no figure of them is valid."""
        name = _name(measurement.kind, measurement.variant)
        self._known.setdefault(measurement.key.id, {})[name] = measurement
        self._bases[measurement.key.id, name] = tuple(bases)
        if (store := self.store) is not None:
            store.add_measurement(measurement)

    def forget(self, keys: Collection[Key]) -> None:
        """Have these rows measured anew when they are next asked for; what was stored of them stays."""
        for key in keys:
            self._known.pop(key.id, None)
            for (row, _), former in self._former.items():
                self._outdated |= {id(m) for m in former if row == key.id}

    def to_repeat(self, test: str) -> list[Measurement]:
        """The measurements that the test's next attempt makes again: with the invalid ones that they rest on."""
        found: dict[int, Measurement] = {}
        todo = list(self.attempts.to_repeat(test))
        while todo:
            one = todo.pop(0)
            if self.find(one.key, one.kind, one.variant) is one:  # else it was replaced meanwhile
                found[id(one)] = one
                todo += self._bases.get((one.key.id, _name(one.kind, one.variant)), ())
        return list(found.values())

    def repeat(self, test: str) -> list[Measurement]:
        """Begin a test's next attempt: forget what it makes again, keep all others.

        Returns those whose limit is to be decided again.
        """
        for measurement in self.to_repeat(test):
            self._forget(measurement)
        unsure = self.attempts.unsure(test)
        self.attempts.begin(test)
        return [m for m in unsure if self.find(m.key, m.kind, m.variant) is m]

    def reasons(self, test: str) -> set[str]:
        """Why a test is worth another attempt, by the names of gates. Empty: it is not."""
        if self.attempts.interrupted(test):
            return {CONNECTION_LOST}
        blamed = self.attempts.to_repeat(test)
        gates = {g.name for m in (*blamed, *self.to_repeat(test)) for g in m.gates if g.state == "invalid"}
        # The gates of a rate itself say more than that something rests on it.
        causes = {name for name in gates if not name.startswith(BASE)} or gates
        if blamed and not causes:
            causes = {"the tester stalled"}
        return causes | ({MAX_OFFERED_LOAD} if self.attempts.unsure(test) else set())

    def replace(self, former: Measurement, measurement: Measurement) -> None:
        """Keep a measurement as the next attempt of a former one, resting on what that rested on."""
        self._forget(former)
        attempt = self.attempt(former.key, former.kind, former.variant)
        bases = self._bases.get((former.key.id, _name(former.kind, former.variant)), ())
        self.keep(dataclasses.replace(measurement, attempt=attempt), bases=bases)

    def _forget(self, measurement: Measurement) -> None:
        name = _name(measurement.kind, measurement.variant)
        self._known.get(measurement.key.id, {}).pop(name, None)
        self._former.setdefault((measurement.key.id, name), []).append(measurement)

    # --- the run -------------------------------------------------------------------------------------------

    @property
    def store(self) -> RunStore | None:
        """The run's folder, created when the first record is stored. None if nothing is to be stored."""
        if self._store is None and self._settings.store:
            self._store = self._open()
            self._record_environment()
        return self._store

    def _open(self) -> RunStore:
        from labkit.record.store import RunStore

        shared = self._settings.shared
        store = RunStore.create(
            self._settings.results,
            command=list(self._settings.command),
            quick=self._settings.quick,
            seed=self.seed,
            shared=None if shared is None else shared.name,
        )
        self._folder = store.folder
        return store

    @property
    def folder(self) -> Path | None:
        """Where the run is stored. None as long as nothing was."""
        shared = self._settings.shared
        if self._folder is None and shared is not None:
            from labkit.record.load import RECORDS

            folder = self._settings.results / shared.name
            return folder if (folder / RECORDS).is_file() and (folder / RECORDS).stat().st_size else None
        return self._folder

    @property
    def finished(self) -> Run | None:
        """The run as it was read back from disk, once it is closed. None if nothing was stored."""
        return self._finished

    def store_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Store the verdicts of a test that has ended."""
        if verdicts and (store := self.store) is not None:
            for verdict in verdicts:
                store.add_verdict(verdict)

    def note_topology(
        self,
        topology: Topology,
        links: Mapping[str, object] | None = None,
        hosts: Mapping[str, object] | None = None,
    ) -> None:
        """Record that this topology is measured on, with the facts that were read back from its links.

        `hosts`: what other machines that take part are (environment records as JSON values, by name).
        """
        self.topologies[topology.name] = topology
        self._hosts.update(hosts or {})
        if links is not None:
            self._links[topology.name] = links
        self._record_environment()

    def _record_environment(self) -> None:
        if self._store is None:
            return
        from labkit.probe.build import built_executables

        self._store.set_environment(
            environment.collect(
                topologies=list(self.topologies.values()),
                links=self._links,
                tools=built_executables(),
                hosts=self._hosts,
                seed=self.seed,
                parameters={**encode(self._plan), "retry_budget_s": self._settings.retry_s},
            )
        )

    def close(self, *, interrupted: bool) -> None:
        """End the run and write its report; a worker leaves that to its controller."""
        shared = self._settings.shared
        if shared is not None and not shared.ends_here:
            if self._store is not None:
                self._store.close()
            return
        store, self._store = self._store, None
        if store is None and shared is not None and self.folder is not None:
            store = self._open()  # what the workers stored
        if store is None:
            return
        from labkit.results import report

        store.finish("interrupted" if interrupted else "finished")
        self._finished = store.run  # as it was read back from disk and found equal
        report.render(self._finished, store.folder / "report.html")

    def summary(self, *, width: int | None, encoding: str | None) -> str:
        """The results table for a terminal of this width (None: not a terminal). Empty until the run is closed."""
        if self._folder is None or self._finished is None:
            return ""
        from labkit.results.table import as_text

        table = as_text(self._finished, width=width, encoding=encoding)
        return f"{table}report: {self._folder / 'report.html'}\n"


def _name(kind: str, variant: str) -> str:
    """What tells the measurements of one row apart: a latency measurement also by its loads."""
    return f"{kind}:{variant}" if variant else kind
