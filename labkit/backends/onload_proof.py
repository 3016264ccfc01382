"""What is read of a program's sockets under Onload, and whether it shows that Onload carried the traffic.

Neither an exit code nor the library in the program's memory says that: a socket can be handed over to the kernel, at
once or later, and the program goes on. So the link of each of its sockets, the counters of its stack and those of the
kernel are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from labkit.machine import reading
from labkit.machine.hosts import Host

STACKS = "/proc/driver/onload/stacks"
OWN_TRAFFIC = 0.01
"""Share of the datagrams that the kernel of the DUT's host may count for others: it has a network of its own."""
NEARLY_ALL = 0.99
"""Of what the program received, its stack must have counted so many packets."""
_LINK = re.compile(r"onload:\[(\w+):(\d+):\d+\]")
_HANDED_OVER = re.compile(r"^\s*((?:tcp|udp)_handover_\w+)\s*:\s*(\d+)", re.MULTILINE)
_LINKS = """for pid in {pids}; do
    for link in /proc/$pid/fd/*; do readlink "$link"; done
done 2>/dev/null"""
# The dump has a line for each counter, also where that is 0.
_DUMP = "PATH=$PATH:/usr/sbin:/sbin onload_stackdump lots 2>/dev/null"
_TCP = "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null"
_ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack of Onload's on a host."""

    number: int
    pid: int
    rx_events: int
    """Packets that it received."""
    tx_events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnloadReading:
    """A moment."""

    kinds: Mapping[str, int]
    """The program's sockets by what they are to Onload (udp, tcp, ...); under "kernel" those of the kernel."""
    own_stacks: frozenset[int]
    """Stacks that these are in."""
    stacks: tuple[Stack, ...]
    """All of the host."""
    handed_over: Mapping[str, int] | None
    """What Onload counted of sockets that it gave to the kernel, without those that are 0. None: it was not read."""
    kernel_datagrams: int
    """UDP datagrams that the kernel took in and sent, over IPv4."""
    kernel_connections: frozenset[int]
    """Local ports of connections of the kernel's own TCP."""

    @classmethod
    def parse(cls, *, links: str, stacks: str, dump: str, snmp: str, tcp: str) -> OnloadReading:
        """Of texts.

        `links`: what the program's descriptors are, a line each; `stacks`: the file STACKS; `dump`: the output of
        `onload_stackdump lots`; `snmp` and `tcp`: those of /proc/net, the latter with tcp6.
        """
        kinds: dict[str, int] = {}
        own: set[int] = set()
        for line in links.splitlines():
            found = _LINK.fullmatch(line.strip())
            if found:
                own.add(int(found[2]))
            if found or line.startswith("socket:["):
                kind = found[1] if found else "kernel"
                kinds[kind] = kinds.get(kind, 0) + 1
        names, values = (line.split() for line in snmp.splitlines() if line.startswith("Udp:"))
        udp = dict(zip(names[1:], map(int, values[1:]), strict=True))
        counted = _HANDED_OVER.findall(dump)
        rows = [row for line in tcp.splitlines() if (row := line.split()) and row[0] != "sl"]
        return cls(
            kinds=kinds,
            own_stacks=frozenset(own),
            stacks=tuple(stack(line) for line in stacks.splitlines() if line.strip()),
            handed_over={name: int(count) for name, count in counted if int(count)} if counted else None,
            kernel_datagrams=udp["InDatagrams"] + udp["OutDatagrams"],
            kernel_connections=frozenset(
                int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _ESTABLISHED
            ),
        )

    @property
    def facts(self) -> dict[str, object]:
        """For the record."""
        return {
            "sockets": dict(self.kinds),
            "stacks": [asdict(one) for one in self.stacks],
            "handed_over": None if self.handed_over is None else dict(self.handed_over),
        }

    @property
    def events(self) -> tuple[int, int]:
        """Packets that the program's stacks received and sent."""
        own = [one for one in self.stacks if one.number in self.own_stacks]
        return sum(one.rx_events for one in own), sum(one.tx_events for one in own)


def stack(line: str) -> Stack:
    """A line of /proc/driver/onload/stacks: number, process, user, counters, of which the last two are these."""
    number, *fields = line.split()
    return Stack(int(number.rstrip(":")), int(fields[0]), int(fields[-2]), int(fields[-1]))


def read(host: Host, pids: str, *arguments: str) -> OnloadReading:
    """Read on a host. `pids`: words of shell that say of which processes or threads; `arguments`: "$1", ... in them."""
    commands = (
        _LINKS.replace("{pids}", pids),
        reading.file(STACKS),
        _DUMP,
        reading.file("/proc/net/snmp"),
        _TCP,
    )
    links, stacks, dump, snmp, tcp = reading.outputs(
        host, commands, *arguments, what="the sockets under Onload"
    )
    return OnloadReading.parse(links=links, stacks=stacks, dump=dump, snmp=snmp, tcp=tcp)


def judge(
    before: OnloadReading, after: OnloadReading, *, kinds: Collection[str], received: int, port: int
) -> tuple[bool, str]:
    """(proven, claim): `kinds` are those that the program must have (udp; tcp), `received` what it answered or took in.

    `port`: its local port, at which the kernel must have no connection.
    """
    wrong = []
    if count := after.kinds.get("kernel", 0):
        wrong.append(f"{count} of its sockets are the kernel's")
    if not any(after.kinds.get(kind) for kind in kinds):
        wrong.append(f"it has no {' or '.join(kinds)} socket of Onload's")
    if len(after.own_stacks) > 1:
        wrong.append(f"its sockets are in {len(after.own_stacks)} stacks")
    if others := [one for one in after.stacks if one.number not in after.own_stacks]:
        pids = ", ".join(str(one.pid) for one in others)
        wrong.append(f"there are {len(others)} other stacks of Onload's on the host (pid {pids})")
    if after.handed_over is None:
        wrong.append("onload_stackdump does not say how many sockets Onload handed over to the kernel")
    elif after.handed_over:
        named = ", ".join(f"{name} {count}" for name, count in after.handed_over.items())
        wrong.append(f"Onload handed sockets over to the kernel: {named}")
    if port in after.kernel_connections:
        wrong.append(f"the kernel itself has a connection at port {port}")
    datagrams = after.kernel_datagrams - before.kernel_datagrams
    if "udp" in kinds and datagrams > OWN_TRAFFIC * received + 10:
        wrong.append(f"the kernel's UDP counted {datagrams} datagrams meanwhile")
    in_events, out_events = after.events
    # Datagrams are a packet each; TCP puts several messages into one.
    fewest = NEARLY_ALL * received if "udp" in kinds else 1
    if in_events < max(fewest, 1) or not out_events:
        wrong.append(f"its stack received {in_events} packets and sent {out_events}")
    claim = (
        f"{sum(count for kind, count in after.kinds.items() if kind != 'kernel')} sockets under Onload, in stack "
        f"{', '.join(map(str, sorted(after.own_stacks))) or 'none'}: {in_events} packets received, {out_events} sent; "
        f"the kernel's UDP counted {datagrams} datagrams"
    )
    return (False, f"{'; '.join(wrong)} ({claim})") if wrong else (True, claim)
