"""Which combinations of topology, backend and mode there are to measure."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from labkit.backends import registry
from labkit.backends.base import Backend, Mode
from labkit.errors import ConfigInvalid
from labkit.lab import topology_file
from labkit.lab.topology import LinkKind, Tier, Topology, split_name
from labkit.lab.traffic import PORTS, UDP, Traffic
from labkit.lowlatency import hostlatency
from labkit.record.model import HOST, MESSAGES, DatapathKey
from labkit.testers import messages
from labkit.testers.frames import FRAME_OVER_MTU_BYTES, FrameSpec, most_tags, words_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Datapath:
    """One backend in one mode on one topology."""

    topology: Topology
    backend: Backend
    mode: Mode

    def key(self, *, frame: str, ip_version: int = 4, flows: int = 1) -> DatapathKey:
        """The row of the results for frames of a size."""
        return DatapathKey(
            backend=self.backend.name,
            mode=self.mode.name,
            topology=self.topology.name,
            link=str(self.topology.links[0].kind),
            frame=frame,
            ip_version=ip_version,
            flows=flows,
            traffic=MESSAGES if self.mode.tcp else words_of(self.topology.traffic, frame, ip_version),
        )

    def check_frames(self, frames: FrameSpec) -> None:
        """Raise ConfigInvalid for frames that its links do not carry: too large for the MTU, or without addresses.

        And for those that the lab's traffic has not.
        """
        traffic = self.topology.traffic
        if not self.mode.tcp:
            frames.check(traffic)
        for link in self.topology.links:
            largest = link.mtu_bytes + FRAME_OVER_MTU_BYTES
            size = 0 if self.mode.tcp else max(frames.sizes(traffic), default=0)
            if size > largest:
                raise ConfigInvalid(
                    f"frame size {size}: expected at most {largest} bytes with FCS on link {link.name} of topology "
                    f"{self.topology.name} (MTU {link.mtu_bytes} B, Ethernet header and FCS)",
                    hint=f"smaller frames, or a topology of your own with mtu: {size - FRAME_OVER_MTU_BYTES} B",
                )
            family = f"ipv{frames.ip_version}"
            ends = (getattr(link.tester, family), getattr(link.dut, family))
            if self.topology.tier is not Tier.SIMULATED and None in ends:
                raise ConfigInvalid(
                    f"{self.topology.source}: link {link.name} has no IPv{frames.ip_version} addresses",
                    hint=f"give its tester and its dut an {family} address, or measure IPv{10 - frames.ip_version}",
                )

    def unfit(self, frames: FrameSpec) -> str | None:
        """Why its backend does not forward such frames, with the fix. None: it does."""
        traffic = self.topology.traffic
        if self.topology.tier is Tier.SIMULATED:
            return None
        called = f"{self.backend.name} {self.mode.name}".rstrip()
        if self.mode.tcp:
            return _no_messages(called, traffic, frames)
        if self.own_mac and (reason := _past_the_stack(traffic, self.topology)):
            return f"{called}: {reason} (fix: another backend, or a lab without that key in traffic:)"
        if self.mode.no_qinq and most_tags(traffic) == 2:
            return f"{called} {self.mode.no_qinq} (fix: another backend, or frames with one VLAN tag)"
        limit, size = self.mode.largest_frame_bytes, max(frames.sizes(traffic))
        if limit is None or size <= limit:
            return None
        return (
            f"frame size {size}: {called} forwards frames of up to {limit} bytes with FCS: "
            f"{self.mode.largest_frame_why} (fix: frames of at most {limit} bytes, or another backend)"
        )

    @property
    def is_default_mode(self) -> bool:
        """Whether it is measured where only default modes are."""
        return not self.mode.name or self.mode.always

    @property
    def own_mac(self) -> bool:
        """Whether its frames carry the DUT port's own MAC address: see Backend."""
        return self.backend.own_mac if self.mode.own_mac is None else self.mode.own_mac


def _no_messages(called: str, traffic: Traffic, frames: FrameSpec) -> str | None:
    """Why such messages can't be sent over TCP connections on a lab, with the fix. None: they can."""
    if replace(traffic, mix=(), mix_name="") != UDP:
        return (
            f"{called}: its TCP connections are of the lab's own addresses, and the key traffic of the lab says what "
            "frames are (fix: a lab without that key)"
        )
    try:
        messages.check(frames)
    except ConfigInvalid as error:
        return f"{called}: {error.message} (fix: {error.hint})"
    return None


def _past_the_stack(traffic: Traffic, topology: Topology) -> str:
    """Why the kernel's own IP stack does not move such frames; empty: it does."""
    if traffic.pcap is not None:
        return "the kernel's IP stack moves frames of the lab's own addresses, not those of a capture"
    if traffic.vlans:
        return "the DUT's ports have no VLANs"
    forwards, nics = topology.forwards, topology.links[0].kind is LinkKind.NIC
    if not forwards and traffic.protocol != "udp":
        return (
            f"its sockets answer UDP, not {traffic.protocol.upper()}; with two links the kernel forwards it"
        )
    if nics and traffic.protocol != "udp":
        return f"on NICs the tester's own kernel would answer {traffic.protocol.upper()} beside the tester"
    moved = PORTS if forwards else ("source_port",)
    if others := [one.name for one in traffic.fields if one.name not in moved]:
        return (
            f"the kernel's IP stack answers the lab's own addresses and ports alone, and {others[0]} differs"
        )
    return ""


REFERENCE = "kernel"
"""The backend that the others are compared with."""
_SIMULATED = Mode(name="", description="simulated: no packet is sent", requires=())


def modes(backend: Backend, topology: Topology) -> tuple[Mode, ...]:
    """The backend's modes there; on a simulated topology every backend has one."""
    return (_SIMULATED,) if topology.tier is Tier.SIMULATED else backend.modes(topology)


def known_modes(topology: Topology) -> dict[str, frozenset[str]]:
    """By backend, the names of its modes on this topology and on those that labkit ships: targets files are shared.

    A backend that cannot be imported is left out: it fails where it is measured itself.
    """
    topologies = [topology, *map(topology_file.load, topology_file.names())]
    found = {HOST: frozenset(hostlatency.KINDS)}
    for name in registry.names():
        with suppress(ImportError):
            backend = registry.load(name)
            found[name] = frozenset(mode.name for one in topologies for mode in modes(backend, one))
    return found


def find_mode(backend: Backend, topology: Topology, name: str) -> Mode:
    """A mode by name; the empty name is the first. Raises ConfigInvalid, naming those there are."""
    found = modes(backend, topology)
    if not found:
        raise ConfigInvalid(f"backend {backend.name} cannot run on topology {topology.name}")
    for candidate in found:
        if name in ("", candidate.name):
            return candidate
    known = ", ".join(m.name for m in found if m.name)
    raise ConfigInvalid(
        f"backend {backend.name} has no mode {name!r} on {topology.name}: expected "
        + (f"one of {known}, or none for the default" if known else "none: it has only the default")
    )


def enumerate_datapaths(topologies: Iterable[Topology]) -> tuple[Datapath, ...]:
    """All datapaths of these topologies, in the order in which they are measured: by topology, kernel first."""
    found: list[Datapath] = []
    for topology in topologies:
        for name in registry.names():
            if name in topology.backends:
                backend = registry.load(name)
                found += [
                    Datapath(topology=topology, backend=backend, mode=mode)
                    for mode in modes(backend, topology)
                ]
    return tuple(found)


# The topologies that the suite measures by default, in this order: the kernel's figures come first.
DEFAULT_TOPOLOGIES = ("veth", "veth-forward", "vhost", "memif")

# Where a backend is measured by default: for DPDK shared memory first, which suits it best.
_PREFERRED = {"dpdk": ("vhost", "memif", "veth")}


def default_datapath(
    backend_name: str, topologies: Iterable[Topology], *, topology: str | None = None, mode: str = ""
) -> Datapath:
    """The datapath that "a test of this backend" means. Raises ConfigInvalid where there is none."""
    backend = registry.load(backend_name)
    topologies = tuple(topologies)
    candidates = [
        t
        for t in topologies
        if (topology is None or t.name == topology) and backend_name in t.backends and modes(backend, t)
    ]
    if not candidates:
        where = f"topology {topology!r}" if topology else "any of the chosen topologies"
        there = dict.fromkeys(
            name
            for t in topologies
            if topology in (None, t.name)
            for name in t.backends
            if name in registry.names() and modes(registry.load(name), t)
        )
        raise ConfigInvalid(
            f"backend {backend_name} is not measured on {where}",
            hint=f"backends that are measured there: {', '.join(there)}" if there else None,
        )
    order = _PREFERRED.get(backend_name, ())
    rank = {name: i for i, name in enumerate(order)}
    if mode:
        candidates = [t for t in candidates if any(m.name == mode for m in modes(backend, t))] or candidates
    best = min(candidates, key=lambda t: rank.get(split_name(t.name)[0], len(order)))
    return Datapath(topology=best, backend=backend, mode=find_mode(backend, best, mode))
