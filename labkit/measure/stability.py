"""The stability preflight: how often a trial loses frames at a very low load.

If that happens often, NDR (or PDR) can't be measured on the machine: good loads are misjudged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

from labkit.measure.gate import Gate, state_of
from labkit.measure.goals import Goal
from labkit.measure.trial import Measurer, TrialResult

MISJUDGE_WARN, MISJUDGE_INVALID = 0.05, 0.2
"""Probability of misjudging a good load from which NDR (or PDR) is doubtful, and from which not measurable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """The preflight: the share of trials that lose frames at a very low load.

    A search calls a load an upper bound when too many of its trials exceed the goal's loss ratio. If a share q of all
    trials does so for reasons that have nothing to do with the load, a good load with k trials is misjudged with
    the probability P(Binomial(k, q) > exceed ratio * k): for 21 trials and half of them 0.0003 at q = 0.15, 0.026 at
    0.3, 0.17 at 0.4, 0.5 at 0.5. Searches of a simulated DUT (3 % noise, 60 seeds each) ended more than a tenth too
    low in 0, 3, 15 and 62 % of cases at q = 0.2, 0.3, 0.4 and 0.5: about as often as they misjudge one good load.
    """

    load_pps: float
    """The load of these trials."""
    trials: int
    lossy_ndr: int
    """Trials that lost any frame."""
    lossy_pdr: int
    """Trials that lost more than PDR allows."""
    misjudge_ndr: float
    """Probability that a good load is taken for an upper bound of NDR [1]."""
    misjudge_pdr: float

    def gates(self) -> tuple[Gate, Gate]:
        """The gates "stability" (for all figures) and "stability-ndr" (for NDR alone, which suffers first)."""
        return (
            self._gate("stability", "PDR", self.lossy_pdr, self.misjudge_pdr, "more than PDR allows"),
            self._gate("stability-ndr", "NDR", self.lossy_ndr, self.misjudge_ndr, "frames"),
        )

    def _gate(self, name: str, rate: str, lossy: int, misjudge: float, what: str) -> Gate:
        state = state_of(misjudge, warn=MISJUDGE_WARN, invalid=MISJUDGE_INVALID)
        finding = {"ok": "measurable", "warn": "doubtful", "invalid": "not measurable here"}[state]
        return Gate(
            name=name,
            state=state,
            value=f"{rate} {finding}: {lossy} of {self.trials} trials at {self.load_pps:.0f} pps lost {what}",
            limit=f"warn: a good load is misjudged in > {MISJUDGE_WARN:.0%}, invalid: in > {MISJUDGE_INVALID:.0%}",
            why=f"a good load is taken for an upper bound in {misjudge:.1%} of cases",
        )

    @property
    def ndr_measurable(self) -> bool:
        """Whether an NDR found here can be quoted."""
        return self.misjudge_ndr <= MISJUDGE_INVALID


def misjudge_probability(lossy_share: float, *, trials_per_load: int, exceed_ratio: float) -> float:
    """P(more than `exceed_ratio` of `trials_per_load` trials are lossy) when each is so with `lossy_share` [1]."""
    most = int(exceed_ratio * trials_per_load + 1e-9)
    kept = sum(
        comb(trials_per_load, k) * lossy_share**k * (1.0 - lossy_share) ** (trials_per_load - k)
        for k in range(most + 1)
    )
    return max(1.0 - kept, 0.0)


def stability(trials: Sequence[TrialResult], *, ndr: Goal, pdr: Goal) -> Stability:
    """Judge trials made at one low load. Shares are estimated as (k + 1/2) / (n + 1) (Jeffreys)."""

    def misjudge(lossy: int, goal: Goal) -> float:
        share = (lossy + 0.5) / (len(trials) + 1)
        return misjudge_probability(
            share, trials_per_load=goal.trials_per_load, exceed_ratio=goal.exceed_ratio
        )

    lossy_ndr = sum(trial.loss_ratio > ndr.loss_ratio for trial in trials)
    lossy_pdr = sum(trial.loss_ratio > pdr.loss_ratio for trial in trials)
    return Stability(
        load_pps=median(trial.intended_load_pps or trial.offered_pps for trial in trials),
        trials=len(trials),
        lossy_ndr=lossy_ndr,
        lossy_pdr=lossy_pdr,
        misjudge_ndr=misjudge(lossy_ndr, ndr),
        misjudge_pdr=misjudge(lossy_pdr, pdr),
    )


def measure_stability(
    measurer: Measurer,
    *,
    load_pps: float,
    ndr: Goal,
    pdr: Goal,
    trials: int = 20,
    on_trial: Callable[[TrialResult], None] | None = None,
) -> Stability:
    """Run the preflight: `trials` trials of the goals' own duration at a load far below what the DUT can do."""
    made: list[TrialResult] = []
    for _ in range(trials):
        made.append(measurer.measure(load_pps=load_pps, duration_s=ndr.final_trial_duration_s))
        if on_trial is not None:
            on_trial(made[-1])
    return stability(made, ndr=ndr, pdr=pdr)
