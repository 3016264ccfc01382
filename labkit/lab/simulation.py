"""The parameters of a simulated DUT: read from a topology, run by labkit.testers.simulated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import ClassVar

from labkit.errors import ConfigInvalid
from labkit.units import Unit, parse_quantity, parse_whole


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
    max_offered_load_pps: float = 20e6
    """Maximum offered load (RFC 2285 3.5.3): the tester sends no faster; what a load asks for beyond is unsent."""
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
            "max_offered_load": self.max_offered_load_pps > 0,
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

    RENAMED: ClassVar[Mapping[str, str]] = {"tester_ceiling": "max_offered_load"}
    """Former keys, by which a file of an older labkit is answered."""

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
                number = None if isinstance(value, bool) else parse_whole(str(value))
                if number is None:
                    raise ConfigInvalid(f"simulated DUT: {key}: expected a whole number, got {value!r}")
                values[name] = number
            else:
                try:
                    values[name] = parse_quantity(str(value), unit)
                except ConfigInvalid as error:
                    raise ConfigInvalid(f"simulated DUT: {key}: {error.message}") from error
        return cls(**values)  # type: ignore[arg-type]  # each value was just read as its field's type

    def highest_load_pps(self, *, loss_ratio: float, duration_s: float, exceed_ratio: float = 0.5) -> float:
        """The true answer of a search.

        It is the highest load at which at most `exceed_ratio` of such trials lose more than `loss_ratio`.
        The buffer makes short trials too good by buffer / duration: what it holds at the end counts as forwarded.
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
        return min(load_pps, self.livelock_pps, self.max_offered_load_pps / (1.0 - loss_ratio))
