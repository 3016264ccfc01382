"""What every tester on a live lab is: how long it waits for frames, where it sends them, what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from labkit.errors import ConfigInvalid
from labkit.lab.live import Lab
from labkit.lab.topology import Port, Topology
from labkit.lab.traffic import Traffic
from labkit.measure.trial import TrialResult
from labkit.testers.frames import FrameSpec, frames_command
from labkit.testers.messages import messages_command

# Locally administered addresses that no interface of a lab has.
FOREIGN_TESTER_MAC = "02:00:00:00:ff:01"
FOREIGN_DUT_MAC = "02:00:00:00:ff:02"

SOURCE_PORT = 10000  # flows count up from here
ECHO_PORT = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainTime:
    """How long a trial waits for frames that are still under way after the last one was sent."""

    quiet_ms: float = 20
    """The trial ends when nothing came back for this time."""
    max_ms: float = 40
    late_share: float | None = 0.005
    """Frames that come back later than this share of the trial after sending (plus the shortest round trip) were in
    buffers and do not count as forwarded: PDR's own tolerance. None: all frames that come back count."""

    def late_ms(self, duration_s: float, *, at_least_ms: float) -> float | None:
        """From when on a frame is late in a trial of this duration [ms after sending]; None: never."""
        return None if self.late_share is None else max(duration_s * 1e3 * self.late_share, at_least_ms)


class Sink(Protocol):
    """A DUT that takes messages in and counts them."""

    def begin(self, tag: int) -> None:
        """Count those of the trial with this tag, from now on."""
        ...

    def end(self, sent: int, *, within_s: float) -> int:
        """How many there were, as soon as it has all of them, or this time is over."""
        ...


SOFTWARE_DRAIN = DrainTime()
RFC2544_DRAIN = DrainTime(quiet_ms=2000, max_ms=2000, late_share=None)
"""RFC 2544 section 23 d: wait two seconds for residual frames, which count."""


class Tester(Protocol):
    """A generator on the tester's ports that stays up between trials."""

    engine: str
    has_floor: bool
    """Whether its own share of a round trip is large: then it is always measured, and stated beside the results."""

    shortest_trial_s: float
    """It makes no shorter ones: shorter ones would not be exact."""

    def set_frames(self, spec: FrameSpec, *, own_mac: bool) -> None:
        """Send these frames from now on, to the DUT's own MAC address or to a foreign one."""
        ...

    def watch(self, others: Callable[[], None]) -> None:
        """Call this each second of a trial; what it raises ends the trial."""
        ...

    def measure(self, *, load_pps: float | None, duration_s: float, verify: bool = False) -> TrialResult:
        """One trial, open loop. `verify`: whole frames are compared with what was sent, by a tester that can."""
        ...

    def count_above(self, limit_us: float | None) -> None:
        """Count the longest run of slower round trips from now on (None: don't), by a tester that can."""
        ...

    def measure_burst(self, count: int) -> TrialResult:
        """Send `count` frames as fast as the tester goes, once."""
        ...

    def measure_one_way(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """One trial in which nothing is expected back: only `sent` says something."""
        ...

    def counted(self, sink: Mapping[str, Any]) -> int:
        """How many of its frames a probe's `sink` has counted, by the answer to `stop`."""
        ...

    @property
    def next_tag(self) -> int:
        """Tag of the next trial: the `tag` argument of a sink."""
        ...

    @property
    def worker_tid(self) -> int:
        """Thread id of the worker, which moves the packets."""
        ...

    def proof(self) -> Mapping[str, object]:
        """What is read back now of how it sends."""
        ...

    def describe(self) -> Mapping[str, object]:
        """Engine, core, mode and proof, for the record."""
        ...

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """Of its ports that no kernel counts, by the kernel's names (rx_missed_errors: its own loss)."""
        ...


def messages_for(lab: Lab, spec: FrameSpec) -> dict[str, Any]:
    """Arguments of the probe's command `frames` for messages over TCP to the DUT of a lab that is up."""
    first = lab.tester_ports[0]
    return messages_command(
        spec,
        src_ip=address_of(first.port, spec.ip_version, lab.topology),
        dst_ip=address_of(first.peer, spec.ip_version, lab.topology),
        src_port=SOURCE_PORT,
        dst_port=ECHO_PORT,
    )


def address_of(port: Port, ip_version: int, topology: Topology) -> str:
    """A port's IP address. Raises ConfigInvalid where it has none of that version."""
    found = port.ipv6 if ip_version == 6 else port.ipv4
    if found is None:
        raise ConfigInvalid(f"{topology.source}: port {port.name} has no IPv{ip_version} address")
    return str(found.ip)


def frames_for(lab: Lab, spec: FrameSpec, *, own_mac: bool) -> dict[str, Any]:
    """Arguments of the probe's command `frames` for a lab that is up. Raises as `addressed`."""
    first, last = lab.tester_ports[0], lab.tester_ports[-1]
    return addressed(
        spec,
        first=first.port,
        peer=first.peer,
        last=last.port,
        own_mac=own_mac,
        traffic=lab.topology.traffic,
        source=str(lab.topology.source),
    )


def addressed(
    spec: FrameSpec, *, first: Port, peer: Port, last: Port, own_mac: bool, traffic: Traffic, source: str
) -> dict[str, Any]:
    """Arguments of the probe's command `frames`: to the DUT, or through it to the tester's last port.

    Raises ConfigInvalid where the ports have no addresses of that IP version; `source` is the lab's file.
    """
    target = peer if last == first else last
    ends = (first.ipv6, target.ipv6) if spec.ip_version == 6 else (first.ipv4, target.ipv4)
    if None in ends:
        raise ConfigInvalid(f"{source}: its ports have no IPv{spec.ip_version} addresses")
    src_ip, dst_ip = (str(end.ip) for end in ends if end is not None)
    return frames_command(
        spec,
        src_mac=first.mac if own_mac else FOREIGN_TESTER_MAC,
        dst_mac=peer.mac if own_mac else FOREIGN_DUT_MAC,
        src_ip=src_ip,
        dst_ip=dst_ip,
        src_port=SOURCE_PORT,
        dst_port=ECHO_PORT,
        traffic=traffic,
    )
