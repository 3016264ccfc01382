"""What one run leaves: measurements and verdicts, as frozen types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from labkit import format as fmt
from labkit.lab.topology import split_name
from labkit.measure.back_to_back import BackToBack
from labkit.measure.gate import Gate as Gate
from labkit.measure.hosttimes import HardwareTimes, HostTimes
from labkit.measure.latency import LatencyLadder
from labkit.measure.predictability import Predictability
from labkit.measure.proof import Proof
from labkit.measure.rates import LossCurve, Mrr
from labkit.measure.search import SearchResult


class Outcome(StrEnum):
    """The four ways a target can end."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SKIP = "skip"
    INVALID = "invalid"


MEASURED, CAN_RUN, CAN_BE_MEASURED = "measured", "can run here", "can be measured"
PASSES = "the test passes"
NO_TARGET = frozenset({MEASURED, CAN_RUN, CAN_BE_MEASURED, PASSES})
"""What stands for the target of a test that has none, that was skipped, or that was aborted."""
HOST = "lowlatency"
"""Stands in test ids, markers and files of targets where a backend's name does: the host itself is measured."""
HOST_KINDS = ("hardware", "wakeup", "timerlat", "busy_loop")
"""Kinds of measurement of the host itself, in the order of a run: delays of the hardware are part of every wake-up."""


MESSAGES = (
    f"messages{fmt.MORE_OF_TRAFFIC}over TCP, a size is that of a message in the byte stream, with its header"
)
"""The traffic of a row, where it is no frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatapathKey:
    """A row of the table that is about a datapath."""

    backend: str
    mode: str
    """Empty: the backend's default mode."""
    topology: str
    link: str
    """Kind of link: veth, vhost, memif."""
    frame: str
    """Frame size on the wire with FCS ("64"), "imix" or "pcap"."""
    ip_version: int = 4
    flows: int = 1
    traffic: str = ""
    """What else the frames of this lab are, in words ("TCP, VLAN 100"), or MESSAGES. Empty: UDP of the lab's own
    addresses."""

    @property
    def lab(self) -> str:
        """The topology's name in its file: the same for all testers that measured on it in a run."""
        return split_name(self.topology)[0]

    @property
    def further_tester(self) -> str:
        """In a run of several testers, which of them; empty: the first one, or the only one."""
        return split_name(self.topology)[1]

    @property
    def id(self) -> str:
        """The stable part of test ids: "af_xdp-veth-64", "dpdk-net_af_packet-veth-64"."""
        parts = [part for part in (self.backend, self.mode, self.topology, self.frame) if part]
        parts += ["ipv6"] if self.ip_version == 6 else []
        parts += [f"{self.flows}flows"] if self.flows != 1 else []
        return "-".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """A row of the table that is about the host itself, without a datapath, a link or frames."""

    topology: str
    """The topology that describes the host."""
    kind: str = ""
    """Kind of measurement: wakeup, busy_loop; empty for a test that measures several, or none yet."""

    @property
    def id(self) -> str:
        """The stable part of test ids: "lowlatency-veth", "lowlatency-wakeup-veth"."""
        return "-".join(part for part in (HOST, self.kind, self.topology) if part)


Key: TypeAlias = DatapathKey | HostKey
"""What was measured: the row of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Everything that was found out about one row by one kind of measurement.

    Exactly one of the payload fields is set; `kind` names it.
    """

    key: Key
    kind: str
    """throughput, mrr, latency, loss_curve, back_to_back, predictability; of the host itself hardware, wakeup,
    timerlat, busy_loop."""
    started: str
    """UTC, ISO 8601."""
    duration_s: float
    tester: Mapping[str, object]
    """Engine, core, clock, max_offered_load_pps, frame template facts; of the host: the tool and its arguments."""
    proof: Proof
    gates: tuple[Gate, ...]
    limited_by: str
    """dut, tester ("at least"), or none (no bound was found)."""
    deviations: tuple[str, ...] = ()
    variant: str = ""
    """What distinguishes it within its kind and row: the loads of a latency measurement, the request of a host's."""
    attempt: int = 1
    """Above 1: measured again, because the attempt before was invalid for a reason that can pass."""
    throughput: SearchResult | None = None
    mrr: Mrr | None = None
    latency: LatencyLadder | None = None
    loss_curve: LossCurve | None = None
    back_to_back: BackToBack | None = None
    predictability: Predictability | None = None
    hardware: HardwareTimes | None = None
    wakeup: HostTimes | None = None
    timerlat: HostTimes | None = None
    busy_loop: HostTimes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of one target (or of a test that has none: then `target` is "measured")."""

    test: str
    """pytest node id."""
    key: Key | None
    target: str
    """As written: "pdr >= 10 Mpps"."""
    outcome: Outcome
    value: float | None
    unit: str | None
    reason: str
    """What decided; for skip also the fix, for invalid the gate."""
    extra: Mapping[str, object] = field(default_factory=dict)
    attempt: int = 1
    """Which run of the test it ended."""
