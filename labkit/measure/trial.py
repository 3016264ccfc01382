"""One trial: an intended load for one duration, and the resulting counts.

Pure data. Rates and ratios are derived here and not stored; nothing here knows what a packet is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Protocol

from labkit.errors import LabkitBug
from labkit.measure.tcp import TcpFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """A recorded distribution of times, as the probe wrote it."""

    n: int
    """Values recorded."""
    min_ns: int
    max_ns: int
    mean_ns: float
    hdr: str
    """Base64 of the compressed HdrHistogram V2 encoding, 1 ns to 10 s, 3 digits."""
    overflow: int = 0
    """Values over 10 s (recorded as 10 s)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """Counts of one trial. All counts are frames, all ports together."""

    intended_load_pps: float | None
    """Load asked for [pps]; None: maximum rate of the tester."""
    duration_s: float
    """Intended duration [s]."""
    intended: int
    """Frames that the load and duration ask for (equal to `sent` where the load is None)."""
    sent: int
    received: int
    """Unique frames of this trial that came back."""
    duplicates: int = 0
    reordered: int = 0
    """RFC 4737 Type-P-Reordered."""
    stale: int = 0
    foreign: int = 0
    corrupt: int = 0
    late: int = 0
    """Of `received`: frames that were still queueing in buffers when sending was over. A short trial would credit
    them to the DUT's rate, which a long one would not."""
    aborted: bool = False
    tx_duration_s: float = 0.0
    """Time from the first to the last departure [s]."""
    overhead_s: float = 0.0
    """What the trial took beyond its duration, drain time and controller included [s]."""
    rtt: Histogram | None = None
    """Round trip from the intended send time."""
    service: Histogram | None = None
    """Round trip from the actual send time."""
    lag: Histogram | None = None
    """Actual minus intended departure."""
    stall_max_s: float = 0.0
    """Longest gap between two turns of the tester's loop [s]."""
    stall_total_s: float = 0.0
    """Sum of such gaps over 100 us [s]."""
    involuntary_switches: int = 0
    tx_full: int = 0
    """Times that the link had no room for a frame that was due: the far end held it up."""
    tester_busy: float | None = None
    """Share of the tester's turns that moved a frame [1]."""
    longest_above: int | None = None
    """Most frames in a row that took longer than a limit that was given, or did not come back. None: none was given, or
    the tester does not count them."""
    dut: dict[str, float] = field(default_factory=dict)
    """The DUT's own counters over this trial, where it has them."""
    tcp: dict[str, TcpFigures] = field(default_factory=dict)
    """Over TCP connections: what the kernels of "tester" and "dut" (where it is known) say of them."""

    def __post_init__(self) -> None:
        if any(getattr(self, name) < 0 for name in COUNTERS):
            raise LabkitBug(f"negative count in {self!r}")
        if not 0 <= self.late <= self.received:
            raise LabkitBug(f"more late frames than received ones in {self!r}")
        if self.received > self.sent:
            raise LabkitBug(f"negative loss: more unique frames received than sent in {self!r}")

    @property
    def unsent(self) -> int:
        """Frames that the tester should have sent and did not."""
        return max(self.intended - self.sent, 0)

    @property
    def lost(self) -> int:
        """Frames sent and not received."""
        return self.sent - self.received

    @property
    def forwarded(self) -> int:
        """Frames received in time: what the DUT carried at this load, without what its buffers took in."""
        return self.received - self.late

    @property
    def loss_ratio(self) -> float:
        """(intended - forwarded) / intended: what was never sent (RFC 9971, CSIT) or came late counts as lost [1]."""
        intended = max(self.intended, self.sent)
        return (intended - self.forwarded) / intended if intended else 0.0

    @property
    def offered_pps(self) -> float:
        """Frames sent over the intended duration [pps]."""
        return self.sent / self.duration_s

    @property
    def forwarding_rate_pps(self) -> float:
        """Unique frames received in time over the intended duration [pps] (RFC 2285 3.6.1)."""
        return self.forwarded / self.duration_s


COUNTERS = tuple([one.name for one in fields(TrialResult) if one.type == "int"])
"""Fields of a TrialResult that count: the probe answers each by the same name, and trials merged add them up."""


class Measurer(Protocol):
    """All that a search knows of the world."""

    def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """Run one trial. Raises ToolFailed when tester or DUT died, never returns counts of a broken trial."""
        ...
