"""The frame around every measurement of a session, whether of a datapath or of the host.

Reuse what was measured, reserve the machine, prepare, measure, keep: in this order, for each kind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from labkit.measure.gate import Gate
from labkit.measure.proof import Proof
from labkit.progress import Progress
from labkit.record.model import Key, Measurement
from labkit.session.recorder import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a measurement yields."""

    payload: Mapping[str, object]
    """The one field of `Measurement` that belongs to its kind."""
    tester: Mapping[str, object]
    proof: Proof
    gates: Sequence[Gate]
    limited_by: str
    deviations: Sequence[str]
    bases: Sequence[Measurement] = ()
    """Other measurements that it rests on and no figure of which is valid."""


Body = Callable[[], Measured]
"""Measures, when everything is prepared."""


class Frame:
    """Makes each measurement once."""

    def __init__(self, recorder: Recorder, *, reserve: Callable[[], None], progress: Progress) -> None:
        self._recorder = recorder
        self._reserve = reserve
        self._progress = progress

    def measure(
        self,
        key: Key,
        kind: str,
        variant: str,
        prepare: Callable[[], Body],
        *,
        phase: str,
        on_machine: bool = True,
    ) -> Measurement:
        """The measurement of this row, made unless there is one.

        `prepare` brings up what is measured, which does not count as measuring time. `on_machine` is False where
        nothing that is measured runs on this machine (a simulated topology, a lab on other hosts): it is not reserved.
        """
        known = self._recorder.find(key, kind, variant)
        if known is not None:
            return known
        if on_machine:
            self._reserve()
        body = prepare()
        self._progress.phase(phase)
        started, began = datetime.now(UTC), time.monotonic()
        measured = body()
        measurement = Measurement(
            key=key,
            kind=kind,
            started=started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            duration_s=time.monotonic() - began,
            tester=measured.tester,
            proof=measured.proof,
            gates=tuple(measured.gates),
            limited_by=measured.limited_by,
            deviations=tuple(measured.deviations),
            variant=variant,
            attempt=self._recorder.attempt(key, kind, variant),
            **measured.payload,  # type: ignore[arg-type]  # the one payload of its kind
        )
        self._recorder.keep(measurement, bases=measured.bases)
        self._progress.done()
        return measurement
