"""The kernel's own path: UDP echo through sockets on one port, IP forwarding between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from labkit.backends import gro, kernel_tcp
from labkit.backends.base import Dut, Mode
from labkit.backends.kernel_tcp import ECHO_PORT as ECHO_PORT
from labkit.backends.probe_dut import Evidence, reflecting
from labkit.errors import ConfigInvalid, EnvironmentBroken, ToolFailed
from labkit.lab.live import Lab, LivePort
from labkit.lab.topology import LinkKind, Topology
from labkit.machine import reading
from labkit.measure.proof import Proof

OWN_TRAFFIC = 0.01
"""Share of the frames sent that the kernel may send on its own account, such as neighbour discovery."""


class ForwardingDut:
    """The kernel as a router: no program of labkit runs, so the proof is in the kernel's own counters."""

    def __init__(
        self, receives: LivePort, sends: LivePort, ip_version: int, *, evidence: Evidence = dict
    ) -> None:
        self._evidence = evidence
        self._host = receives.host
        self._ip_version = ip_version
        self._statistics = f"/proc/net/snmp{'6' if ip_version == 6 else ''}"
        self._sent = f"/sys/class/net/{sends.interface}/statistics/tx_packets"
        conf = f"/proc/sys/net/ipv{ip_version}/conf"
        self._switches = (
            (f"{conf}/all/forwarding", f"{conf}/{receives.interface}/force_forwarding")
            if ip_version == 6
            else (f"{conf}/{receives.interface}/forwarding",)
        )
        if "1" not in self._read(*self._switches):
            raise EnvironmentBroken(
                f"the kernel of {self._host.name} does not forward IPv{ip_version}: before Linux 6.17 it forwards IPv6 "
                "only between all interfaces of a host",
                hint=f"switch that on for the time, on {self._host.name}: sysctl -w net.ipv6.conf.all.forwarding=1",
            )
        self._start = self._counters()

    def _read(self, *paths: str) -> list[str]:
        """Read them in the namespace: /proc/net and /proc/sys/net show the network namespace of the reader."""
        return [text.strip() for text in reading.files(self._host, *paths, what="the kernel's counters")]

    def _counters(self) -> tuple[int, int]:
        """Datagrams that the kernel forwarded, on whichever interface, and frames that the sending port sent."""
        statistics, sent = self._read(self._statistics, self._sent)
        if not sent:
            raise ToolFailed(f"{self._host.name} has no {self._sent}: the interface is gone")
        return self._forwarded(statistics), int(sent)

    def _forwarded(self, statistics: str) -> int:
        if self._ip_version == 6:
            for line in statistics.splitlines():
                name, value = line.split()
                if name == "Ip6OutForwDatagrams":
                    return int(value)
        else:
            names, values = (line.split() for line in statistics.splitlines() if line.startswith("Ip:"))
            return int(values[names.index("ForwDatagrams")])
        raise ConfigInvalid("the kernel has no IPv6 statistics: /proc/net/snmp6 lacks Ip6OutForwDatagrams")

    def proof(self) -> Proof:
        """Forwarding is on, and the kernel counted what the port sent as forwarded: no other program sent it."""
        switches = dict(zip(self._switches, self._read(*self._switches), strict=True))
        forwarded, sent = (now - before for now, before in zip(self._counters(), self._start, strict=True))
        return Proof(
            proven="1" in switches.values() and 0 < sent <= forwarded * (1 + OWN_TRAFFIC),
            claim=f"IPv{self._ip_version} forwarding by the kernel",
            evidence={
                **{path.removeprefix("/proc/sys/"): value for path, value in switches.items()},
                "forwarded_datagrams": forwarded,
                "sent_frames": sent,
                **self._evidence(),
            },
        )

    def counters(self) -> Mapping[str, float]:
        """Datagrams forwarded since the start."""
        return {"forwarded_datagrams": float(self._counters()[0] - self._start[0])}

    def check_alive(self) -> None:
        """The kernel is always there."""


class KernelStack:
    """UDP or TCP through the socket layer, or IP forwarding."""

    name = "kernel"
    description = "the kernel's own path: UDP echo through sockets, IP forwarding between two ports"
    own_mac = True

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """Interfaces only: shared-memory links do not reach the kernel."""
        if not topology.links[0].kind.has_interfaces:
            return ()
        if topology.links[0].kind is LinkKind.NIC and not topology.spans_hosts:
            # The kernel takes frames from an address of its own for forged, and answers over loopback.
            return ()
        if topology.forwards:
            forwarding = Mode(
                name="", description="IP forwarding by the kernel", requires=("namespaces", "kernel")
            )
            return (forwarding, *gro.modes(forwarding, topology, always=True))
        echo = Mode(
            name="",
            description="UDP echo by recvmmsg/sendmmsg, busy-waiting on the socket",
            requires=("namespaces", "kernel", "probe_socket"),
        )
        # Paths that are measured by frames made in the kernel are compared with it.
        return (echo, *gro.modes(echo, topology, always=True), *kernel_tcp.modes(topology.links[0].kind))

    @contextmanager
    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        """Start the echo (one port), or only read the kernel's counters while it forwards (two)."""
        if mode.tcp:
            with kernel_tcp.serving(lab, mode, ip_version=ip_version) as served:
                yield served
            return
        with gro.switched(lab, mode), self._udp(lab, mode, ip_version=ip_version) as dut:
            yield dut

    @contextmanager
    def _udp(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        if lab.topology.forwards:
            yield ForwardingDut(
                lab.dut_ports[0], lab.dut_ports[1], ip_version, evidence=lambda: gro.read_back(lab, mode)
            )
            return
        port = lab.dut_ports[0].port
        address = port.ipv6 if ip_version == 6 else port.ipv4
        if address is None:
            raise ConfigInvalid(f"{lab.topology.source}: port {port.name} has no IPv{ip_version} address")

        def judge(read_back: Mapping[str, object], counters: Mapping[str, float]) -> tuple[bool, str]:
            path = read_back.get("datapath")
            return path == "kernel UDP", f"UDP echo by the {path} path"

        with reflecting(
            lab,
            engine="socket",
            ports=[{"bind": str(address.ip), "port": ECHO_PORT}],
            judge=judge,
            evidence=lambda: gro.read_back(lab, mode),
        ) as dut:
            yield dut


BACKEND = KernelStack()
