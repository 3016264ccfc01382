"""AF_PACKET: frames from and to the driver through mapped rings, bypassing the protocol stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from labkit.backends import gro
from labkit.backends.base import Dut, Mode
from labkit.backends.probe_dut import interfaces, port_proofs, reflecting
from labkit.lab.live import Lab
from labkit.lab.topology import Topology


class AfPacket:
    """TPACKET rings on the DUT's interfaces."""

    name = "af_packet"
    description = "AF_PACKET sockets with mapped rings and qdisc bypass"
    own_mac = False

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """Network interfaces only."""
        if not topology.links[0].kind.has_interfaces:
            return ()
        requires = ("namespaces", "af_packet", "probe_af_packet")
        rings = Mode(name="", description="TPACKET rings, qdisc bypass", requires=requires)
        return (rings, *gro.modes(rings, topology))

    @contextmanager
    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        """Reflect or forward, with one packet socket per interface."""

        def judge(read_back: Mapping[str, object], counters: Mapping[str, float]) -> tuple[bool, str]:
            ports = port_proofs(read_back)
            versions = sorted({str(port.get("tpacket_version")) for port in ports})
            rings = bool(ports) and all(
                port.get("tpacket_version") and port.get("ring_frames") for port in ports
            )
            bypass = "on" if ports and all(port.get("qdisc_bypass") for port in ports) else "off"
            return rings, f"packet socket, TPACKET version {'/'.join(versions)}, qdisc bypass {bypass}"

        with (
            gro.switched(lab, mode),
            reflecting(
                lab,
                engine="af_packet",
                ports=interfaces(lab),
                judge=judge,
                evidence=lambda: gro.read_back(lab, mode),
            ) as dut,
        ):
            yield dut


BACKEND = AfPacket()
