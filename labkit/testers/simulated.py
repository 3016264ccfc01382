"""A simulated DUT with its tester: a Measurer that needs no packets, no privileges and no waiting.

The model, per trial: the DUT's capacity is drawn once (Gaussian about `capacity`), the tester sends at the intended
load up to its maximum offered load, the DUT forwards what its capacity and its buffer can take, and one trial in so
many loses a few frames at any load. Time is virtual: a trial advances a clock and returns at once.
"""

from __future__ import annotations

import math
import random

from labkit.errors import ToolFailed
from labkit.lab.simulation import SimulatedSpec
from labkit.measure.histogram import record
from labkit.measure.trial import Histogram, TrialResult

STALL, STALL_LOSS = 0.3, 0.01


class VirtualClock:
    """A clock that moves only by `advance`; call it for the time [s]."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        """Virtual time since the start [s]."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds


class SimulatedTester:
    """Tester and DUT in one: a Measurer and a BurstMeasurer, deterministic by its spec's seed."""

    def __init__(
        self, spec: SimulatedSpec, *, clock: VirtualClock | None = None, record_rtt: bool = True
    ) -> None:
        self.spec = spec
        self.clock = clock or VirtualClock()
        self.trials = 0
        self._record_rtt = record_rtt
        self._random = random.Random(spec.seed)  # noqa: S311 - a simulation

    def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """Run one trial in virtual time. Raises ToolFailed once the DUT has died."""
        highest_pps = self.spec.max_offered_load_pps
        sent_pps = highest_pps if load_pps is None else min(load_pps, highest_pps)
        sent = round(sent_pps * duration_s)
        intended = sent if load_pps is None else round(load_pps * duration_s)
        return self._trial(load_pps, duration_s, sent_pps=sent_pps, intended=intended, sent=sent)

    def measure_burst(self, count: int) -> TrialResult:
        """Send `count` frames as fast as the tester goes."""
        rate = self.spec.max_offered_load_pps
        return self._trial(None, count / rate, sent_pps=rate, intended=count, sent=count)

    def _trial(
        self, load_pps: float | None, duration_s: float, *, sent_pps: float, intended: int, sent: int
    ) -> TrialResult:
        spec, draw = self.spec, self._random
        self.clock.advance(duration_s + spec.overhead_s)
        self.trials += 1
        if spec.dies_after_trials is not None and self.trials > spec.dies_after_trials:
            raise ToolFailed(f"simulated DUT died in trial {self.trials}, as its spec says")
        capacity_pps = spec.capacity_pps * max(draw.gauss(1.0, spec.noise), 0.01)
        received = min(sent, math.floor(capacity_pps * duration_s) + spec.buffer_frames)
        lossy = draw.random() < spec.lossy_trials
        unlucky = draw.randint(1, spec.lossy_frames)
        if lossy:
            received = max(received - unlucky, 0)
        # Drawn only if needed, so that other simulations keep their results for a seed.
        stalled = bool(spec.stalled_trials) and draw.random() < spec.stalled_trials
        if stalled:
            received = max(received - round(sent * STALL_LOSS), 0)
        if sent_pps > spec.livelock_pps:
            received = 0
        if spec.drop_one_in:
            received = min(received, sent - sent // spec.drop_one_in)
        return TrialResult(
            intended_load_pps=load_pps,
            duration_s=duration_s,
            intended=intended,
            sent=sent,
            received=received,
            duplicates=received // spec.duplicate_one_in if spec.duplicate_one_in else 0,
            reordered=received // spec.reorder_one_in if spec.reorder_one_in else 0,
            tx_duration_s=duration_s,
            overhead_s=spec.overhead_s,
            stall_total_s=STALL * duration_s if stalled else 0.0,
            stall_max_s=STALL * duration_s if stalled else 0.0,
            rtt=self._rtt(received, sent_pps, capacity_pps) if received and self._record_rtt else None,
            tester_busy=min(sent_pps / spec.max_offered_load_pps, 1.0),
        )

    def _rtt(self, n: int, sent_pps: float, capacity_pps: float) -> Histogram:
        """Round trips of `n` frames: base, waiting in the queue (M/D/1, at most the buffer), a tail."""
        spec, draw = self.spec, self._random
        share = sent_pps / capacity_pps
        full_s = spec.buffer_frames / capacity_pps
        wait_s = full_s if share >= 1.0 else min(share / (2.0 * (1.0 - share)) / capacity_pps, full_s)
        values: dict[int, int] = {}
        done = 0
        beyond = 1.0  # share of frames still to be given a value, the fast ones first
        while done < n:
            beyond *= 0.9
            upto = n if beyond * n < 1.0 else n - round(beyond * n)
            count = upto - done
            if count <= 0:
                continue
            # Exponential wait at this quantile; from p99 on the disturbances are added to it.
            spread = -math.log(beyond * (1.0 + 0.02 * draw.random()))
            value_s = spec.base_latency_s + min(wait_s * spread, full_s)
            if beyond < 0.01:
                value_s += spec.tail_latency_s * -math.log(beyond / 0.01)
            value_ns = max(round(value_s * 1e9), 1)
            values[value_ns] = values.get(value_ns, 0) + count
            done = upto
        return record(values)
