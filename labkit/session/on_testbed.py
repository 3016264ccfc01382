"""One measurement on a testbed, between the readings that the validity gates need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from labkit.measure import noise
from labkit.measure.gate import MAX_OFFERED_LOAD, Gate, invalid_for
from labkit.measure.limits import MaxOfferedLoad
from labkit.measure.trial import TrialResult
from labkit.progress import Progress
from labkit.record import readings
from labkit.record.model import Measurement
from labkit.session.frame import Measured
from labkit.session.testbed import Testbed


@dataclass(slots=True)
class Notes:
    """What a measurement reports besides its payload."""

    progress: Progress
    max_offered_load: MaxOfferedLoad
    deciding: Sequence[TrialResult] = ()
    """The trials that the result rests on."""
    limited_by: str = "dut"
    gates: list[Gate] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    bases: list[Measurement] = field(default_factory=list)
    """Other measurements that this one rests on and that were invalid themselves."""
    trials: int = 0

    def count(self, trial: TrialResult) -> None:
        """A trial is over."""
        self.trials += 1
        self.progress.update(f"trial {self.trials}, {trial.forwarding_rate_pps / 1e3:.0f} kpps forwarded")

    def rest_on(self, base: Measurement | None, metric: str) -> None:
        """Loads, or where a search began, are relative to this metric of another measurement of the row."""
        # The rate itself is right where only the maximum offered load was disturbed.
        failing = [
            gate
            for gate in invalid_for(base.gates if base is not None else (), metric)
            if gate.name != MAX_OFFERED_LOAD
        ]
        if base is not None and failing:
            self.bases.append(base)
            self.gates.append(noise.base_gate(metric, failing))


TestbedBody = Callable[[Testbed, Notes], Mapping[str, object]]
"""Makes the trials of one kind of measurement; returns its payload."""


class RoundTripsOnly:
    """A measurer whose trials keep one histogram, of the round trips.

    A search makes some hundred trials per row; with the histograms of departures and service times as well, which
    belong to latency, a run would take three times the memory and disk space.
    """

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed

    def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """One trial on the testbed."""
        return replace(
            self._testbed.measure(load_pps=load_pps, duration_s=duration_s), service=None, lag=None
        )


def measure_on(testbed: Testbed, body: TestbedBody, notes: Notes, *, deviations: Sequence[str]) -> Measured:
    """Run the body between two readings of the machine. `deviations`: those of the plan."""
    before = readings.read(testbed.workers())
    payload = body(testbed, notes)
    after = readings.read(testbed.workers())
    proof, tester = testbed.proof(), testbed.tester()
    if "engine_note" in tester:
        notes.deviations.append(str(tester["engine_note"]))
    gates = noise.gates(
        before=before,
        after=after,
        intended_cores={role: core for role, (_, core) in testbed.workers().items()},
        deciding=notes.deciding,
        proven=proof.proven,
        claim=proof.claim,
    )
    return Measured(
        payload=payload,
        tester={**tester, "max_offered_load_pps": notes.max_offered_load.pps},
        proof=proof,
        gates=(*gates, *notes.gates),
        limited_by=notes.limited_by,
        deviations=(*deviations, *notes.deviations),
        bases=tuple(notes.bases),
    )
