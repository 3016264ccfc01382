"""How long and how often to measure: one plan for a quick run, one for the default run, one that follows RFC 2544.

The ordinary plan keeps the number of trials (a load is decided by the first 11 that agree, of 21 at most) and shortens
them: a software link behaves in a tenth of a second as in a second, and many short trials say more than few long ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from labkit.measure.search import Goal, quick_goals, rfc2544_goals, software_goals
from labkit.testers.base import RFC2544_DRAIN, SOFTWARE_DRAIN, DrainTime

USUAL_TRIALS = 80
"""Of a search on a noisy DUT (see labkit.measure.goals)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Durations and repeats of everything that is measured."""

    name: str
    ndr: Goal
    pdr: Goal
    max_search_s: float
    offered_load_trials: int
    offered_load_duration_s: float
    mrr_trials: int
    mrr_duration_s: float
    stability_trials: int
    latency_min_duration_s: float
    loss_duration_s: float
    burst_repeats: int
    burst_max_s: float
    predictability_rounds: int
    """In each of which both datapaths are measured once at each load."""
    wakeup_duration_s: int
    """Of the kinds that sample wake-ups of the host: long enough for p99.9 of every core."""
    host_duration_s: int
    """Of the kinds that watch the host continuously: busy loops, gaps of the hardware."""
    wakeup_interval_us: int
    """Between two wake-ups of a core: p99.9 needs 10 000 of them."""
    drain: DrainTime
    deviations: tuple[str, ...]
    """From RFC 2544, listed in every result."""

    def lengthened(self, shortest_s: float) -> Plan:
        """The plan for a tester that makes no shorter trials: as many of them, and a search has the time for that."""
        longer_s = shortest_s - self.pdr.final_trial_duration_s
        if longer_s <= 0:
            return self
        pdr = self.pdr.lengthened(shortest_s)
        return replace(
            self,
            ndr=self.ndr.lengthened(shortest_s),
            pdr=pdr,
            max_search_s=self.max_search_s + USUAL_TRIALS * longer_s,
            mrr_duration_s=max(self.mrr_duration_s, shortest_s),
            latency_min_duration_s=max(self.latency_min_duration_s, shortest_s),
            loss_duration_s=max(self.loss_duration_s, shortest_s),
            deviations=_shortened(pdr, self.drain),
        )


def plan_for(*, quick: bool, rfc2544: bool) -> Plan:
    """The plan for a run's options; RFC 2544 wins over quick."""
    if rfc2544:
        ndr, pdr = rfc2544_goals()
        return Plan(
            name="rfc2544",
            ndr=ndr,
            pdr=pdr,
            max_search_s=7200,
            offered_load_trials=5,
            offered_load_duration_s=1.0,
            mrr_trials=10,
            mrr_duration_s=1.0,
            stability_trials=20,
            latency_min_duration_s=120.0,
            loss_duration_s=60.0,
            burst_repeats=50,
            burst_max_s=2.0,
            predictability_rounds=20,
            wakeup_duration_s=600,
            host_duration_s=600,
            wakeup_interval_us=1000,
            drain=RFC2544_DRAIN,
            deviations=(
                "no 5 s pause between trials: the path keeps no state that needs one (RFC 2544 23 e)",
            ),
        )
    ndr, pdr = quick_goals() if quick else software_goals()
    drain = SOFTWARE_DRAIN
    deviations = _shortened(pdr, drain)
    if quick:
        return Plan(
            name="quick",
            ndr=ndr,
            pdr=pdr,
            max_search_s=20,
            offered_load_trials=3,
            offered_load_duration_s=0.1,
            mrr_trials=6,
            mrr_duration_s=0.1,
            stability_trials=10,
            latency_min_duration_s=0.25,
            loss_duration_s=0.1,
            burst_repeats=10,
            burst_max_s=0.1,
            predictability_rounds=6,
            wakeup_duration_s=6,
            host_duration_s=2,
            wakeup_interval_us=500,
            drain=drain,
            deviations=deviations,
        )
    return Plan(
        name="ordinary",
        ndr=ndr,
        pdr=pdr,
        max_search_s=40,
        offered_load_trials=5,
        offered_load_duration_s=0.2,
        mrr_trials=10,
        mrr_duration_s=0.2,
        stability_trials=20,
        latency_min_duration_s=0.5,
        loss_duration_s=0.2,
        burst_repeats=50,
        burst_max_s=0.2,
        predictability_rounds=12,
        wakeup_duration_s=30,
        host_duration_s=10,
        wakeup_interval_us=500,
        drain=drain,
        deviations=deviations,
    )


def _shortened(pdr: Goal, drain: DrainTime) -> tuple[str, ...]:
    """What a plan with short trials has other than RFC 2544."""
    return (
        f"final trials of {pdr.final_trial_duration_s:g} s, RFC 2544 24 asks for 60 s",
        f"a trial ends {drain.quiet_ms:g} ms after the last frame and {drain.max_ms:g} ms after sending at most, "
        "RFC 2544 23 waits 2 s and 5 s",
        f"frames that come back more than {drain.late_share or 0:.1%} of the trial after sending count as lost: "
        "a short trial would credit the DUT's buffers to its rate",
    )
