"""Search goals (RFC 9971) and the sets of them that labkit offers.

The accuracy of `software_goals` and `quick_goals`, by 60 searches each on a simulated DUT of 1 Mpps whose capacity has
the given standard deviation from trial to trial, and of which the given share of trials loses one to five frames at any
load; 40 ms of overhead a trial, maximum load 1.2 times the capacity. Relevant lower bound against the true answer
for trials of that duration, 5th and 95th percentile; median time and number of trials:

    goals      noise  lossy trials    NDR            PDR            time    trials
    software    0 %       0 %       -0.1  -0.1 %   -0.6  -0.6 %    3.9 s      28
    software    1 %       0 %       -1.1  -0.1 %   -0.6  +0.4 %    7.1 s      51
    software    3 %       0 %       -1.1  +0.9 %   -1.6  +0.4 %    9.9 s      70
    software    3 %      30 %       -3.4  +0.6 %   -1.6  +0.4 %   15.1 s     108
    software    5 %      30 %       -5.1  +1.8 %   -2.6  +0.4 %   17.4 s     124
    quick       0 %       0 %       -0.8  -0.8 %   -1.3  -1.3 %    1.9 s      27
    quick       1 %       0 %       -0.8  -0.8 %   -1.3  -1.3 %    2.2 s      31
    quick       3 %       0 %       -3.8  -0.8 %   -1.3  -1.3 %    3.1 s      44
    quick       3 %      30 %       -5.1  +0.8 %   -4.3  -1.3 %    4.9 s      70
    quick       5 %      30 %       -9.7  +2.0 %   -4.3  +1.7 %    5.6 s      80

A load is decided by the first 11 trials that agree, of 21 at most. With fewer, quick searches are no faster if trials
are lossy, and NDR is up to 20 % wrong: good loads are misjudged too often. tests/unit/test_search.py checks a part of
the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A search goal with all its attributes (RFC 9971, "Search Goal")."""

    name: str
    """"NDR" or "PDR"."""
    loss_ratio: float
    exceed_ratio: float
    relative_width: float
    initial_trial_duration_s: float
    final_trial_duration_s: float
    duration_sum_s: float
    """Sum of full-length trials a load needs: duration_sum / final_trial_duration trials per load."""
    preceding_targets: int = 2
    """Coarser targets on the way to this one: a matter of speed, not of the result."""

    @property
    def trials_per_load(self) -> int:
        """Full-length trials that classify a load at most; `deciding` says how many are enough to decide."""
        return round(self.duration_sum_s / self.final_trial_duration_s)

    @property
    def deciding(self) -> tuple[int, int]:
        """How many trials within the loss ratio, and how many beyond it, decide a load: the others are not made."""
        may_exceed = int(self.exceed_ratio * self.trials_per_load + 1e-9)
        return self.trials_per_load - may_exceed, may_exceed + 1

    def lengthened(self, shortest_s: float) -> Goal:
        """The same number of trials, none shorter than this."""
        final_s = max(self.final_trial_duration_s, shortest_s)
        return replace(
            self,
            initial_trial_duration_s=max(self.initial_trial_duration_s, shortest_s),
            final_trial_duration_s=final_s,
            duration_sum_s=self.trials_per_load * final_s,
        )


def _goals(
    *,
    loss_ratio: float,
    relative_width: float,
    trial_duration_s: float,
    trials_per_load: int,
    exceed_ratio: float,
) -> tuple[Goal, Goal]:
    def goal(name: str, loss: float) -> Goal:
        return Goal(
            name=name,
            loss_ratio=loss,
            exceed_ratio=exceed_ratio,
            relative_width=relative_width,
            initial_trial_duration_s=trial_duration_s,
            final_trial_duration_s=trial_duration_s,
            duration_sum_s=trial_duration_s * trials_per_load,
        )

    return goal("NDR", 0.0), goal("PDR", loss_ratio)


def csit_goals() -> tuple[Goal, Goal]:
    """NDR and PDR as FD.io CSIT searches for them: 1 s trials, up to 21 a load, width 0.5 %. Takes minutes."""
    return _goals(
        loss_ratio=0.005, relative_width=0.005, trial_duration_s=1.0, trials_per_load=21, exceed_ratio=0.5
    )


def software_goals(*, trial_duration_s: float = 0.1) -> tuple[Goal, Goal]:
    """CSIT's goals with shorter trials and a wider width (1 %), for links in software.

    A short trial flatters: what the DUT's buffers hold when it ends counts as forwarded, so that the answer is
    buffer / duration too high (1000 frames in 0.1 s: 10 kpps).
    """
    return _goals(
        loss_ratio=0.005,
        relative_width=0.01,
        trial_duration_s=trial_duration_s,
        trials_per_load=21,
        exceed_ratio=0.5,
    )


def quick_goals() -> tuple[Goal, Goal]:
    """A first look in a few seconds: 30 ms trials, still up to 21 a load, width 3 %. Flattered by buffer / 30 ms."""
    return _goals(
        loss_ratio=0.005, relative_width=0.03, trial_duration_s=0.03, trials_per_load=21, exceed_ratio=0.5
    )


def rfc2544_goals() -> tuple[Goal, Goal]:
    """RFC 2544 compliant per RFC 9971: final trials of 60 s, one a load, none may exceed the goal's loss."""
    ndr, pdr = (
        Goal(
            name=name,
            loss_ratio=loss_ratio,
            exceed_ratio=0.0,
            relative_width=0.005,
            initial_trial_duration_s=1.0,
            final_trial_duration_s=60.0,
            duration_sum_s=60.0,
        )
        for name, loss_ratio in (("NDR", 0.0), ("PDR", 0.005))
    )
    return ndr, pdr


def deviations(goal: Goal) -> tuple[str, ...]:
    """Where a search for this goal departs from RFC 2544 (sections 24 and 26.1), as RFC 9971 asks to report."""
    found = []
    if goal.final_trial_duration_s < 60.0:
        found.append(
            f"{goal.name}: final trials of {goal.final_trial_duration_s:g} s, RFC 2544 asks for 60 s"
        )
    if goal.exceed_ratio > 0.0:
        within, beyond = goal.deciding
        agree = (
            f"{within} that agree"
            if within == beyond
            else f"{within} within or {beyond} beyond the loss ratio"
        )
        found.append(
            f"{goal.name}: a load is decided by the first {agree} of at most {goal.trials_per_load} trials, of which "
            f"{goal.exceed_ratio:.0%} may exceed the loss ratio; RFC 2544 allows none"
        )
    return tuple(found)
