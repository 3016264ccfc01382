"""The kernel's own TCP as the DUT: a probe that sends messages back, or takes them in, over connections.

What is proven of its sockets is a function: another path may take the same program's sockets over (a library).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from labkit.backends.base import Mode
from labkit.backends.probe_dut import Evidence, OnProbe
from labkit.errors import ConfigInvalid
from labkit.lab.live import Lab, LivePort
from labkit.lab.topology import LinkKind
from labkit.lab.traffic import TCP_ECHO, TCP_STREAM
from labkit.machine import reading
from labkit.measure.proof import Proof
from labkit.measure.tcp import TcpFigures
from labkit.probe.client import Probe

ECHO_PORT = 7  # RFC 862
BUSY_POLL_US = 50
"""As Documentation/admin-guide/sysctl/net.rst recommends for busy_read."""
MODES = (
    Mode(
        name=TCP_ECHO,
        description="TCP echo: messages over connections, each sent back (ping-pong)",
        requires=("namespaces", "kernel", "probe_socket"),
        tcp="echo",
    ),
    Mode(
        name=TCP_STREAM,
        description="TCP streaming: messages over connections, taken in and counted",
        requires=("namespaces", "kernel", "probe_socket"),
        tcp="sink",
    ),
)
_BUSY_POLL = Mode(
    name="tcp_busy_poll",
    description=f"TCP echo, the DUT's sockets with busy polling of {BUSY_POLL_US} us (SO_BUSY_POLL)",
    requires=("namespaces", "kernel", "probe_socket"),
    tcp="echo",
)


def modes(link: LinkKind) -> tuple[Mode, ...]:
    """Those over a kind of link: busy polling polls the queues of a NIC, and a veth end of the DUT's has none."""
    return (*MODES, _BUSY_POLL) if link is LinkKind.NIC else MODES


ASK_AGAIN_S = 0.0005
_ESTABLISHED = "01"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTables:
    """What the kernel of a namespace says of TCP: its sockets, and its count of segments."""

    segments_in: int
    segments_out: int
    retransmitted: int
    established: frozenset[int]
    """Inodes of the sockets with a connection."""

    @classmethod
    def parse(cls, snmp: str, *tables: str) -> KernelTables:
        """The texts of /proc/net/snmp, and of tcp and tcp6 beside it."""
        names, values = (line.split() for line in snmp.splitlines() if line.startswith("Tcp:"))
        counted = dict(zip(names[1:], values[1:], strict=True))
        rows = [line.split() for table in tables for line in table.splitlines()[1:]]
        return cls(
            segments_in=int(counted["InSegs"]),
            segments_out=int(counted["OutSegs"]),
            retransmitted=int(counted["RetransSegs"]),
            established=frozenset(int(row[9]) for row in rows if row[3] == _ESTABLISHED),
        )

    @classmethod
    def read(cls, port: LivePort) -> KernelTables:
        """Those of a port's namespace: /proc/net is the reader's."""
        paths = ("/proc/net/snmp", "/proc/net/tcp", "/proc/net/tcp6")
        return cls.parse(*reading.files(port.host, *paths, what="the kernel's sockets"))


Judge = Callable[[Mapping[str, Any], KernelTables, KernelTables], tuple[bool, str]]
"""From what the probe reads of its sockets, and the kernel's tables before and after, to (proven, claim)."""


def by_the_kernel(sockets: Mapping[str, Any], before: KernelTables, after: KernelTables) -> tuple[bool, str]:
    """Its connections are sockets of this kernel, in the kernel's own table, and the kernel counted segments."""
    count, kinds = int(sockets["connections"]), dict(sockets["descriptors"])
    inodes = set(sockets["inodes"])
    known = len(inodes & after.established)
    moved = min(after.segments_in - before.segments_in, after.segments_out - before.segments_out)
    busy_us = int(sockets["socket"]["busy_poll_us"])
    proven = (
        count > 0
        and kinds == {"socket": count}
        and int(sockets["established"]) == count
        and known == len(inodes) > 0
        and moved > 0
    )
    where = f"{known} of {len(inodes)} looked up are in the kernel's table"
    polls = f", busy polling {busy_us} us" if busy_us else ""
    named = f"{count} TCP connection{'' if count == 1 else 's'}"
    return proven, f"{named}{polls}, {where}; it counted at least {moved} segments each way"


class TcpDut(OnProbe):
    """A probe at the DUT's address, which reflects, or sinks from trial to trial."""

    def __init__(self, probe: Probe, port: LivePort, judge: Judge, evidence: Evidence | None = None) -> None:
        super().__init__(probe)
        self._evidence = evidence or dict
        self._port = port
        self._judge = judge
        self._before = KernelTables.read(port)
        self._received = 0

    def begin(self, tag: int) -> None:
        """As a sink: count the messages of this trial."""
        self._probe.command("sink", tag=tag)

    def end(self, sent: int, *, within_s: float) -> int:
        """How many it has taken in, when it has all or the time is over: what its kernel holds back then is late."""
        until = time.monotonic() + within_s
        while int(self._probe.command("counters")["received"]) < sent and time.monotonic() < until:
            time.sleep(ASK_AGAIN_S)
        counted = self._probe.command("stop")
        self._received += int(counted["rx_frames"])
        return int(counted["received"])

    def proof(self) -> Proof:
        """What probe and kernel say of its connections now, after traffic."""
        read_back = self._probe.command("proof")
        after = KernelTables.read(self._port)
        proven, claim = self._judge(read_back, self._before, after)
        received = self._received or int(self.counters().get("rx_frames", 0))
        if not received:
            proven, claim = False, f"{claim}; but no message was received"
        retransmitted = after.retransmitted - self._before.retransmitted
        return Proof(
            proven=proven,
            claim=claim,
            evidence={
                **read_back,
                "received_messages": received,
                "namespace_retransmitted_segments": retransmitted,
                **self._evidence(),
            },
        )

    def tcp(self) -> TcpFigures:
        """What its kernel says of the connections, since it started."""
        return TcpFigures(**self._probe.command("proof")["transport"])


@contextmanager
def serving(
    lab: Lab,
    mode: Mode,
    *,
    ip_version: int,
    judge: Judge = by_the_kernel,
    wrapper: Sequence[str] = (),
    evidence: Evidence | None = None,
) -> Iterator[TcpDut]:
    """Start it on the DUT's core: it listens at the DUT's address. Raises ConfigInvalid: there is none.

    `wrapper`: see Probe. `evidence`: what else was read when it was judged.
    """
    live = lab.dut_ports[0]
    address = live.port.ipv6 if ip_version == 6 else live.port.ipv4
    if address is None:
        raise ConfigInvalid(f"{lab.topology.source}: port {live.port.name} has no IPv{ip_version} address")
    ports = [{"bind": str(address.ip), "port": ECHO_PORT}]
    options: dict[str, object] = {"transport": "tcp"}
    if mode == _BUSY_POLL:
        options["busy_poll_us"] = BUSY_POLL_US
    with Probe(
        "socket",
        live.host,
        core=lab.cores.dut,
        ports=ports,
        options=options,
        name="dut",
        wrapper=wrapper,
    ) as probe:
        if mode.tcp == "echo":
            probe.command("reflect")
        yield TcpDut(probe, live, judge, evidence)
