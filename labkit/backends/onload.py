"""Sockets under Onload: the probe's UDP and TCP, as for the kernel, with Onload's library in the way of its calls."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from labkit.backends import kernel_tcp, onload_proof
from labkit.backends.base import Dut, Mode
from labkit.backends.kernel_tcp import ECHO_PORT, KernelTables
from labkit.backends.onload_proof import OnloadReading
from labkit.backends.onload_stacks import REQUIRES, alone_under_onload
from labkit.backends.probe_dut import reflecting
from labkit.errors import ConfigInvalid
from labkit.lab.live import Lab
from labkit.lab.onload import OnloadSettings
from labkit.lab.topology import LinkKind, Topology
from labkit.machine.hosts import Host


@dataclass(slots=True)
class _Watched:
    """What the proof needs of the program once it runs."""

    host: Host
    kinds: Collection[str]
    settings: OnloadSettings
    tid: int = 0
    before: OnloadReading | None = None
    after: OnloadReading | None = None

    def begin(self, tid: int) -> None:
        self.tid = tid
        self.before = self._read()

    def _read(self) -> OnloadReading:
        return onload_proof.read(self.host, '"$1"', str(self.tid))

    def judge(self, received: int) -> tuple[bool, str]:
        """Read it back now."""
        if self.before is None:
            return False, "nothing was read before there was traffic"
        self.after = self._read()
        return onload_proof.judge(
            self.before, self.after, kinds=self.kinds, received=received, port=ECHO_PORT
        )

    def evidence(self) -> Mapping[str, object]:
        """The settings, and what was read."""
        found: dict[str, object] = {
            "profile": self.settings.profile,
            "environment": dict(self.settings.environment),
        }
        if self.after is not None:
            found["onload"] = self.after.facts
        return found


class OnloadBackend:
    """The modes of the kernel's sockets, under Onload."""

    name = "onload"
    description = "UDP and TCP sockets under Onload (OpenOnload), on an interface that is registered with it"
    own_mac = True

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """NICs of two machines: Onload never lets go of an interface, so it can have none that goes with its lab."""
        link = topology.links[0]
        if link.kind is not LinkKind.NIC or topology.forwards or not topology.spans_hosts:
            return ()
        return (
            Mode(name="", description="UDP echo under Onload, spinning", requires=REQUIRES),
            *(
                Mode(
                    name=mode.name,
                    description=f"{mode.description}, under Onload",
                    requires=REQUIRES,
                    tcp=mode.tcp,
                )
                for mode in kernel_tcp.MODES
            ),
        )

    @contextmanager
    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        """Start the probe under Onload, alone on its host; at the end wait until no stack is left.

        Raises EnvironmentBroken where others use Onload there, ToolFailed where it can't accelerate.
        """
        host, settings = lab.dut_ports[0].host, lab.topology.onload
        if ip_version == 6:
            raise ConfigInvalid(
                "onload: labkit measures it over IPv4 alone: what IPv6 does there was never seen"
            )
        watched = _Watched(host, ("tcp",) if mode.tcp else ("udp",), settings)
        with alone_under_onload(host), self._probe(lab, mode, ip_version, watched) as dut:
            watched.begin(dut.worker_tid)
            yield dut

    @contextmanager
    def _probe(self, lab: Lab, mode: Mode, ip_version: int, watched: _Watched) -> Iterator[Any]:
        wrapper = watched.settings.wrapper
        if mode.tcp:

            def tcp(
                sockets: Mapping[str, Any], _before: KernelTables, _after: KernelTables
            ) -> tuple[bool, str]:
                proven, claim = watched.judge(0)
                count = int(sockets["established"])
                return proven and count > 0, f"{count} TCP connections; {claim}"

            with kernel_tcp.serving(
                lab, mode, ip_version=ip_version, judge=tcp, wrapper=wrapper, evidence=watched.evidence
            ) as served:
                yield served
            return
        live = lab.dut_ports[0]
        address = live.port.ipv4
        if address is None:
            raise ConfigInvalid(f"{lab.topology.source}: port {live.port.name} has no IPv4 address")

        def udp(_read_back: Mapping[str, object], counters: Mapping[str, float]) -> tuple[bool, str]:
            return watched.judge(int(counters.get("rx_frames", 0)))

        ports = [{"bind": str(address.ip), "port": ECHO_PORT}]
        with reflecting(
            lab, engine="socket", ports=ports, judge=udp, wrapper=wrapper, evidence=watched.evidence
        ) as dut:
            yield dut


BACKEND = OnloadBackend()
