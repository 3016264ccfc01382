"""Datapaths measured in turn, in rounds in random order: what `measure.predictability` compares."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from labkit.machine.cores import listed
from labkit.measure.gate import Gate
from labkit.measure.latency import LatencyPoint, duration_for, measure_latency
from labkit.measure.predictability import Predictability, Spread
from labkit.measure.proof import Proof
from labkit.progress import Progress
from labkit.session.datapaths import Datapath
from labkit.session.frame import Measured
from labkit.session.neighbour import Neighbour, Place
from labkit.session.on_testbed import Notes, measure_on
from labkit.session.plan import Plan
from labkit.session.testbed import Testbed
from labkit.session.testbeds import Testbeds
from labkit.testers.frames import FrameSpec

ATTEMPTS = 2.0
"""So many times the rounds that count are made at most; the rest was disturbed."""
_WORSE = ("ok", "warn", "invalid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is measured in each round."""

    ladder: Mapping[str, float]
    """Loads by name [pps]."""
    limit_us: float | None = None
    """The longest run of slower round trips is counted."""
    neighbour: Neighbour | None = None
    """The last of the loads once more, beside it."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One datapath in one round."""

    points: Mapping[str, LatencyPoint]
    measured: Measured

    @property
    def invalid(self) -> bool:
        return any(gate.state == "invalid" for gate in self.measured.gates)


def measure_rounds(
    testbeds: Testbeds,
    datapaths: Sequence[Datapath],
    frames: FrameSpec,
    conditions: Conditions,
    *,
    plan: Plan,
    order: random.Random,
    against: str,
    notes: Notes,
    progress: Progress,
) -> Measured:
    """Measure all datapaths (the first one is compared with the second) at each load, in `plan.predictability_rounds`.

    A round in which a gate made one of them invalid is made again: it is chosen by its validity, never by its figures.
    `notes`: what else there is to say of the measurement.
    """
    wanted = plan.predictability_rounds
    good: list[list[_Run]] = []
    bad: list[list[_Run]] = []
    place: Place | None = None
    while len(good) < wanted and len(good) + len(bad) < ATTEMPTS * wanted:
        progress.update(f"round {len(good) + 1} of {wanted}" + (f", {len(bad)} disturbed" if bad else ""))
        runs: dict[int, _Run] = {}
        for index in order.sample(range(len(datapaths)), len(datapaths)):
            try:
                testbed = testbeds.testbed(datapaths[index], frames.ip_version)
                testbed.set_frames(frames)
                place = _place(testbed, conditions, notes) if place is None else place
                testbed.count_above(conditions.limit_us)
                runs[index] = _run(testbed, conditions, place.cores, plan, progress)
                testbed.count_above(None)
            except BaseException:
                testbeds.close_testbed()  # its state is unknown: the next measurement starts a new one
                raise
        made = [runs[index] for index in range(len(datapaths))]
        (bad if any(run.invalid for run in made) else good).append(made)
    # With too few good ones the rest is shown, and its gates say why nothing can be concluded.
    counted = good if len(good) == wanted else [*good, *bad]
    return _joined(counted, conditions, against=against, disturbed=len(bad), plan=plan, notes=notes)


def _place(testbed: Testbed, conditions: Conditions, notes: Notes) -> Place:
    """Where the neighbour runs; where it can't, that is noted."""
    if conditions.neighbour is None or not conditions.ladder:
        return Place()
    place = testbed.place(conditions.neighbour)
    words = conditions.neighbour.words
    if place.cores:
        notes.deviations.append(f"{words} ran on cores {listed(place.cores)} of the DUT's machine")
    else:
        notes.deviations.append(f"nothing was measured beside {words}: {place.why_not}")
    return place


def _run(
    testbed: Testbed, conditions: Conditions, cores: Sequence[int], plan: Plan, progress: Progress
) -> _Run:
    plan = plan.lengthened(testbed.shortest_trial_s)
    min_s = plan.latency_min_duration_s

    def body(on: Testbed, notes: Notes) -> Mapping[str, object]:
        found = measure_latency(on, pdr_pps=None, ladder=conditions.ladder, min_duration_s=min_s).points
        if conditions.neighbour is not None and cores:
            beside = _beside(conditions, conditions.neighbour)
            with on.beside(conditions.neighbour, cores):
                found += measure_latency(on, pdr_pps=None, ladder=beside, min_duration_s=min_s).points
        notes.deciding = [point.trial for point in found]
        return {point.load: point for point in found}

    measured = measure_on(testbed, body, Notes(progress=progress), deviations=plan.deviations)
    points = {load: point for load, point in measured.payload.items() if isinstance(point, LatencyPoint)}
    return _Run(points, measured)


def _beside(conditions: Conditions, neighbour: Neighbour) -> dict[str, float]:
    load, load_pps = list(conditions.ladder.items())[-1]
    return {f"{load} beside {neighbour.words}": load_pps}


def _joined(
    rounds: Sequence[Sequence[_Run]],
    conditions: Conditions,
    *,
    against: str,
    disturbed: int,
    plan: Plan,
    notes: Notes,
) -> Measured:
    def spread(load: str, load_pps: float) -> Spread:
        # Round by round: one without an answer of all counts for none.
        whole = [one for one in rounds if all(load in run.points for run in one)]
        by_datapath = [
            tuple(_slim(run.points[load]) for run in of_one) for of_one in zip(*whole, strict=True)
        ]
        own, reference, *_ = (*by_datapath, (), ())
        return Spread(load=load, load_pps=load_pps, own=own, reference=reference)

    ladder = dict(conditions.ladder)
    if conditions.neighbour is not None and any(
        load in run.points
        for load in _beside(conditions, conditions.neighbour)
        for one in rounds
        for run in one
    ):
        ladder |= _beside(conditions, conditions.neighbour)
    spreads = tuple(spread(load, load_pps) for load, load_pps in ladder.items())
    last = rounds[-1][0].measured
    proofs = [run.measured.proof for one in rounds for run in one]
    unproven = next((proof for proof in proofs if not proof.proven), None)
    times_s = [duration_for(pps, min_duration_s=plan.latency_min_duration_s) for pps in ladder.values()]
    deviations = [
        f"{len(rounds)} rounds of trials of {min(times_s, default=0.0):.2g} s or more",
        *([_disturbed(disturbed, plan.predictability_rounds, len(rounds))] if disturbed else []),
        *(
            f"{one.load}: in {len(rounds) - len(one.own)} rounds nothing came back"
            for one in spreads
            if len(one.own) < len(rounds)
        ),
    ]
    return replace(
        last,
        payload={
            "predictability": Predictability(
                against=against,
                spreads=spreads,
                rounds=len(rounds),
                disturbed=disturbed,
                limit_us=conditions.limit_us,
            )
        },
        proof=last.proof
        if unproven is None
        else Proof(proven=False, claim=unproven.claim, evidence=unproven.evidence),
        gates=_worst([*(run.measured.gates for one in rounds for run in one), notes.gates]),
        deviations=(*last.deviations, *deviations, *notes.deviations),
        bases=tuple(notes.bases),
    )


def _disturbed(disturbed: int, wanted: int, shown: int) -> str:
    if shown > wanted or shown == disturbed:
        return f"{disturbed} of {shown} rounds were disturbed, and there was no time for more: all are shown"
    return f"{disturbed} rounds were disturbed, and made again"


def _slim(point: LatencyPoint) -> LatencyPoint:
    """Without the histograms of departures and service times: of some hundred trials they would fill the record."""
    return replace(point, trial=replace(point.trial, service=None, lag=None))


def _worst(of_runs: Sequence[Sequence[Gate]]) -> list[Gate]:
    """Each gate once, in its worst state."""
    found: dict[str, Gate] = {}
    for gates in of_runs:
        for gate in gates:
            known = found.get(gate.name)
            if known is None or _WORSE.index(gate.state) > _WORSE.index(known.state):
                found[gate.name] = gate
    return list(found.values())
