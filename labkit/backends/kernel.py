"""The kernel's own path: UDP echo through sockets on one port, IP forwarding between two."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from labkit.backends.base import Dut, Mode
from labkit.backends.probe_dut import reflecting
from labkit.errors import ConfigInvalid
from labkit.lab.live import Lab, LivePort
from labkit.lab.topology import LinkKind, Topology
from labkit.measure.proof import Proof

ECHO_PORT = 7  # RFC 862


class ForwardingDut:
    """The kernel as a router: no program of labkit runs, so the proof is in the kernel's own counters."""

    def __init__(self, port: LivePort, ip_version: int) -> None:
        self._host = port.host
        self._ip_version = ip_version
        self._start = self._forwarded()

    def _read(self, path: str) -> str:
        """Read it in the namespace: /proc/net and /proc/sys/net show the network namespace of the reader."""
        return subprocess.run(
            self._host.argv(["cat", path]), check=True, capture_output=True, text=True
        ).stdout

    def _forwarded(self) -> int:
        if self._ip_version == 6:
            for line in self._read("/proc/net/snmp6").splitlines():
                name, value = line.split()
                if name == "Ip6OutForwDatagrams":
                    return int(value)
        else:
            names, values = (
                line.split() for line in self._read("/proc/net/snmp").splitlines() if line.startswith("Ip:")
            )
            return int(values[names.index("ForwDatagrams")])
        raise ConfigInvalid("the kernel has no IPv6 statistics: /proc/net/snmp6 lacks Ip6OutForwDatagrams")

    def proof(self) -> Proof:
        """Forwarding is on, and the kernel's forwarded-datagram counter moved."""
        sysctl = "ipv6/conf/all/forwarding" if self._ip_version == 6 else "ipv4/ip_forward"
        enabled = self._read(f"/proc/sys/net/{sysctl}").strip()
        moved = self._forwarded() - self._start
        return Proof(
            proven=enabled == "1" and moved > 0,
            claim=f"IPv{self._ip_version} forwarding by the kernel",
            evidence={f"net/{sysctl}": enabled, "forwarded_datagrams": moved},
        )

    def counters(self) -> Mapping[str, float]:
        """Datagrams forwarded since the start."""
        return {"forwarded_datagrams": float(self._forwarded() - self._start)}

    def check_alive(self) -> None:
        """The kernel is always there."""


class KernelStack:
    """UDP through the socket layer, or IP forwarding."""

    name = "kernel"
    description = "the kernel's own path: UDP echo through sockets, IP forwarding between two ports"
    own_mac = True

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """Interfaces only: shared-memory links do not reach the kernel."""
        if not topology.links[0].kind.has_interfaces:
            return ()
        if topology.links[0].kind is LinkKind.NIC and (topology.forwards or not topology.spans_hosts):
            # Forwarding: its counter, the proof, is of the whole host, which others may use as a router. On one host:
            # the kernel takes frames from an address of its own for forged, and answers over loopback.
            return ()
        if topology.forwards:
            return (
                Mode(name="", description="IP forwarding by the kernel", requires=("namespaces", "kernel")),
            )
        return (
            Mode(
                name="",
                description="UDP echo by recvmmsg/sendmmsg, busy-waiting on the socket",
                requires=("namespaces", "kernel", "probe_socket"),
            ),
        )

    @contextmanager
    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        """Start the echo (one port), or only read the kernel's counters while it forwards (two)."""
        if lab.topology.forwards:
            yield ForwardingDut(lab.dut_ports[0], ip_version)
            return
        port = lab.dut_ports[0].port
        address = port.ipv6 if ip_version == 6 else port.ipv4
        if address is None:
            raise ConfigInvalid(f"{lab.topology.source}: port {port.name} has no IPv{ip_version} address")

        def judge(read_back: Mapping[str, object], counters: Mapping[str, float]) -> tuple[bool, str]:
            path = read_back.get("datapath")
            return path == "kernel UDP", f"UDP echo by the {path} path"

        with reflecting(
            lab, engine="socket", ports=[{"bind": str(address.ip), "port": ECHO_PORT}], judge=judge
        ) as dut:
            yield dut


BACKEND = KernelStack()
