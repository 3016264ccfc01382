"""A simulated DUT with its tester: a Measurer that needs no packets, no privileges and no waiting.

The model, per trial: the DUT's capacity is drawn once (Gaussian about `capacity`), the tester sends at the
intended load up to its ceiling, the DUT forwards what its capacity and its buffer can take, and one trial in
so many loses a few frames at any load. Time is virtual: a trial advances a clock and returns at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist

from labkit.errors import ConfigInvalid, ToolFailed
from labkit.measure.histogram import record
from labkit.measure.trial import Histogram, TrialResult
from labkit.units import Unit, parse_quantity

STALL, STALL_LOSS = 0.3, 0.01


class VirtualClock:
    """A clock that only moves when told to; call it for the time [s]."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        """Virtual time since the start [s]."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSpec:
    """What is simulated. `parse` reads it from a mapping with units (`{"capacity": "1 Mpps"}`)."""

    capacity_pps: float = 1e6
    """Frames that the DUT forwards in a second."""
    noise: float = 0.01
    """Relative standard deviation of the capacity from trial to trial [1]."""
    lossy_trials: float = 0.0
    """Share of trials that lose a few frames whatever the load [1]."""
    lossy_frames: int = 5
    """Such a trial loses 1 to this many."""
    stalled_trials: float = 0.0
    """Share of trials in which the tester stands still for STALL of the time and loses STALL_LOSS of the frames [1]."""
    buffer_frames: int = 256
    """Frames that the DUT can hold: a burst of these is taken at any rate."""
    livelock_pps: float = math.inf
    """Above this rate the DUT only receives, and forwards nothing."""
    tester_ceiling_pps: float = 20e6
    """The tester sends no faster; what a load asks for beyond is unsent."""
    base_latency_s: float = 10e-6
    """Round trip of a frame that waits for nothing."""
    tail_latency_s: float = 20e-6
    """Mean of the extra time of the one frame in a hundred that meets a disturbance."""
    duplicate_one_in: int = 0
    """Every n-th frame comes back twice (0: none)."""
    reorder_one_in: int = 0
    """Every n-th frame comes back late (0: none)."""
    drop_one_in: int = 0
    """Every n-th frame is lost (0: none)."""
    dies_after_trials: int | None = None
    """The DUT dies in the trial after so many."""
    overhead_s: float = 0.03
    """What a trial takes beyond its duration."""
    seed: int = 1

    def __post_init__(self) -> None:
        limits = {
            "capacity": self.capacity_pps > 0,
            "noise": 0 <= self.noise < 0.5,
            "lossy_trials": 0 <= self.lossy_trials <= 1,
            "lossy_frames": self.lossy_frames >= 1,
            "stalled_trials": 0 <= self.stalled_trials <= 1,
            "buffer_frames": self.buffer_frames >= 0,
            "livelock": self.livelock_pps > 0,
            "tester_ceiling": self.tester_ceiling_pps > 0,
            "base_latency": self.base_latency_s > 0,
            "tail_latency": self.tail_latency_s >= 0,
            "duplicate_one_in": self.duplicate_one_in == 0 or self.duplicate_one_in >= 2,
            "reorder_one_in": self.reorder_one_in == 0 or self.reorder_one_in >= 2,
            "drop_one_in": self.drop_one_in == 0 or self.drop_one_in >= 2,
            "dies_after_trials": self.dies_after_trials is None or self.dies_after_trials >= 0,
            "overhead": self.overhead_s >= 0,
        }
        wrong = [name for name, holds in limits.items() if not holds]
        if wrong:
            raise ConfigInvalid(f"simulated DUT: {', '.join(wrong)}: out of range")

    @classmethod
    def _known(cls) -> dict[str, tuple[str, Unit | None]]:
        """By key as written: the field and its unit (None: a whole number)."""
        units = {"_pps": Unit.PPS, "_s": Unit.SECONDS}
        known: dict[str, tuple[str, Unit | None]] = {}
        for field in fields(cls):
            suffix = next((s for s in units if field.name.endswith(s)), "")
            ratio = field.name in ("noise", "lossy_trials", "stalled_trials")
            unit = Unit.RATIO if ratio else units.get(suffix)
            known[field.name.removesuffix(suffix)] = (field.name, unit)
        return known

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """What `parse` reads."""
        return tuple(cls._known())

    @classmethod
    def parse(cls, mapping: Mapping[str, object]) -> SimulatedSpec:
        """Read `{"capacity": "1 Mpps", "noise": "2 %", "base_latency": "10 us", "buffer_frames": 512}`.

        A key is a field's name without its unit. Raises ConfigInvalid for an unknown key or a wrong unit.
        """
        known = cls._known()
        values: dict[str, float | int] = {}
        for key, value in mapping.items():
            if key not in known:
                raise ConfigInvalid(f"simulated DUT: unknown key {key!r}; expected one of {', '.join(known)}")
            name, unit = known[key]
            if unit is None:
                # Text too: that is what files and command lines hold.
                if isinstance(value, bool) or not str(value).isdecimal():
                    raise ConfigInvalid(f"simulated DUT: {key}: expected a whole number, got {value!r}")
                values[name] = int(str(value))
            else:
                try:
                    values[name] = parse_quantity(str(value), unit)
                except ConfigInvalid as error:
                    raise ConfigInvalid(f"simulated DUT: {key}: {error.message}") from error
        return cls(**values)  # type: ignore[arg-type]  # each value was just read as its field's type

    def highest_load_pps(self, *, loss_ratio: float, duration_s: float, exceed_ratio: float = 0.5) -> float:
        """Tell the true answer of a search.

        It is the highest load at which at most `exceed_ratio` of such trials lose more than `loss_ratio`.
        The buffer flatters short trials by buffer / duration: what it holds at the end counts as forwarded.
        Loss 0 also needs a trial that is not one of the lossy ones.
        """
        good_share = 1.0 - exceed_ratio
        if loss_ratio == 0.0:
            if self.lossy_trials >= 1.0 - good_share:
                return 0.0
            good_share /= 1.0 - self.lossy_trials
        capacity_pps = self.capacity_pps
        if self.noise:
            capacity_pps *= 1.0 + self.noise * NormalDist().inv_cdf(1.0 - good_share)
        load_pps = (capacity_pps + self.buffer_frames / duration_s) / (1.0 - loss_ratio)
        return min(load_pps, self.livelock_pps, self.tester_ceiling_pps / (1.0 - loss_ratio))


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
        ceiling = self.spec.tester_ceiling_pps
        sent_pps = ceiling if load_pps is None else min(load_pps, ceiling)
        sent = round(sent_pps * duration_s)
        intended = sent if load_pps is None else round(load_pps * duration_s)
        return self._trial(load_pps, duration_s, sent_pps=sent_pps, intended=intended, sent=sent)

    def measure_burst(self, count: int) -> TrialResult:
        """Send `count` frames as fast as the tester goes."""
        rate = self.spec.tester_ceiling_pps
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
        # Drawn only where it is wanted: what other simulations give for a seed stays.
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
            tester_busy=min(sent_pps / spec.tester_ceiling_pps, 1.0),
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
