"""One measurement on a testbed, between the readings that the validity gates need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from labkit.measure import nic, noise, tcp
from labkit.measure.gate import GATE_SCOPE, MAX_OFFERED_LOAD, Gate, invalid_for
from labkit.measure.histogram import percentiles_us
from labkit.measure.limits import DUT, MaxOfferedLoad, limited_by
from labkit.measure.rates import Mrr
from labkit.measure.search import SearchResult
from labkit.measure.trial import TrialResult
from labkit.progress import Progress
from labkit.record.model import Measurement
from labkit.session.frame import Measured
from labkit.session.testbed import Testbed


@dataclass(slots=True)
class Notes:
    """What a measurement reports besides its payload."""

    progress: Progress
    deciding: Sequence[TrialResult] = ()
    """The trials that the result rests on."""
    rates: Mrr | SearchResult | None = None
    """What the maximum offered load may limit."""
    gates: list[Gate] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    bases: list[Measurement] = field(default_factory=list)
    """Other measurements that this one rests on and no figure of which is valid."""
    trials: int = 0

    def count(self, trial: TrialResult) -> None:
        """A trial is over."""
        self.trials += 1
        self.progress.update(f"trial {self.trials}, {trial.forwarding_rate_pps / 1e3:.0f} kpps forwarded")

    def rest_on(self, base: Measurement | None, rate: str) -> None:
        """Loads, or where a search began, are relative to this rate ("ndr", "pdr" or "mrr") of another measurement."""
        failing = invalid_for(base.gates, rate) if base is not None else []
        if base is None or not failing:
            return
        self.gates.append(noise.base_gate(rate, failing))
        if any(gate.name not in GATE_SCOPE for gate in failing):
            self.bases.append(base)


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
    before = testbed.read()
    payload = body(testbed, notes)
    after = testbed.read()
    proof, tester = testbed.proof(), testbed.tester()
    if counted := nic.differences(before, after):
        tester = {**tester, "nics": counted}
    if sent_again := tcp.words([trial.tcp for trial in notes.deciding]):
        notes.deviations.append(sent_again)
    if unequal := tcp.shares([one.tcp for one in notes.deciding if one.intended_load_pps is None]):
        notes.deviations.append(unequal)
    if "engine_note" in tester:
        notes.deviations.append(str(tester["engine_note"]))
    gates = noise.gates(
        before=before,
        after=after,
        intended_cores=testbed.cores(),
        deciding=notes.deciding,
        proven=proof.proven,
        claim=proof.claim,
    )
    return Measured(
        payload=payload,
        tester=tester,
        proof=proof,
        gates=(*filter(_is_known(tester), gates), *testbed.gates(before, after), *notes.gates),
        limited_by=DUT,
        deviations=(*deviations, *notes.deviations),
        bases=tuple(notes.bases),
    )


def _is_known(tester: Mapping[str, object]) -> Callable[[Gate], bool]:
    """Whether a gate has something to judge: TRex says nothing of its own stalls."""
    return lambda gate: gate.name != "stall" or tester.get("reports_stalls") is not False


def with_limit(measured: Measured, rates: Mrr | SearchResult | None, load: MaxOfferedLoad | None) -> Measured:
    """The measurement with the maximum offered load on its link, and whose limit its rates show by that.

    Without one, the trials alone show it.
    """
    if load is None:
        return (
            measured
            if rates is None
            else replace(measured, limited_by=limited_by(rates, max_offered_load_pps=None))
        )
    found = replace(measured, tester={**measured.tester, "max_offered_load_pps": load.pps})
    if load.floor is not None:
        own_us = percentiles_us(load.floor, (50.0, 99.0))
        disturbed = ", ".join(f"{gate.name} was {gate.value}" for gate in load.floor_disturbed)
        found = replace(
            found,
            tester={
                **found.tester,
                "rtt_floor_us": {f"p{p:g}": value for p, value in own_us.items()},
                **({"rtt_floor_disturbed": disturbed} if disturbed else {}),
            },
            deviations=(
                *found.deviations,
                "the tester's own round trips, opposite a reflector that does nothing else: "
                + ", ".join(f"p{p:g} {value:.0f} us" for p, value in own_us.items() if value is not None)
                + (f"; measured while {disturbed}: they may be too long" if disturbed else ""),
            ),
        )
    if rates is None:
        return found
    return replace(
        found,
        limited_by=limited_by(rates, max_offered_load_pps=load.pps),
        gates=(*measured.gates, load.gate(rates)),
    )


def with_later_limit(known: Measurement, rates: Mrr | SearchResult, load: MaxOfferedLoad) -> Measurement:
    """A measurement whose limit is decided by a maximum offered load that was measured later. Its rates stay."""
    return replace(
        known,
        tester={**known.tester, "max_offered_load_pps": load.pps},
        limited_by=limited_by(rates, max_offered_load_pps=load.pps),
        gates=tuple(load.gate(rates) if gate.name == MAX_OFFERED_LOAD else gate for gate in known.gates),
        deviations=(
            *known.deviations,
            "the maximum offered load was disturbed and measured again; the rates are of the former attempt",
        ),
    )
