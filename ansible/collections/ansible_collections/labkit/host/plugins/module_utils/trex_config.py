"""The configuration of a TRex server: its ports, its cores, and what is wrong with them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import cpus, pci

NO_PORT = "dummy"
"""TRex's word for a port that is not there: it wants an even number of them."""
FEWEST_CORES = 3
"""A thread for all else, one that receives, and one that sends. With fewer cores all share one (low-end mode)."""
RING = {"framesz": 2048, "framecnt": 8192}
"""The ring that TRex takes for an interface by default loses frames from 50 kpps on; this one lost none."""
LARGE_RING = {"framesz": 16384, "framecnt": 1024}
RING_MTU_BYTES = 1900
"""Of an interface whose frames fit into RING."""
BLOCK_BYTES = 4 << 20
PREFIX, LAB_PREFIX = "trex", "labkit-trex"
"""Before the names of its files in hugetlbfs: those of another DPDK program have its own."""
LAB_RPC_PORT, LAB_PUBLISHER_PORT = 4511, 4510
"""Where a lab's server listens: one that the role has run may be there, too."""
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", re.IGNORECASE)


@dataclass(frozen=True)
class Port:
    """A port, as the host has it."""

    name: str
    """Name of the interface, or PCI address as the kernel spells it."""
    is_pci: bool
    numa_node: int | None = None
    mtu_bytes: int = 1500
    dest_mac: str = ""
    """Where its frames go unless a stream says otherwise; empty: each stream does."""
    bifurcated: bool = False
    """The kernel keeps the NIC: DPDK works beside its driver, and needs the interface in its own namespace."""


@dataclass(frozen=True)
class Cores:
    """Which cores the threads have."""

    low_end: int | None = None
    """The one core of all; None: each has its own."""
    main: int = 0
    receiver: int = 0
    pairs: tuple[tuple[int, ...], ...] = ()
    """Cores that send, of each pair of ports."""


class CoresMissing(ValueError):
    """There are too few for what was asked for."""


def cores_around(
    ports: Sequence[Port],
    *,
    core: int,
    taken: Collection[int],
    isolated: str,
    online: Collection[int],
    nodes: Mapping[int, Collection[int]],
) -> Cores:
    """Those of a server of one pair of ports, or one port, that sends on `core`.

    Its other threads have cores of the ports' NUMA nodes that are not `taken`, isolated ones first. Without enough of
    them all threads share `core` (low-end mode).
    """
    alone = cpus.parse(isolated)
    others = sorted(
        _on_nodes(ports, online, nodes) - {core} - frozenset(taken),
        key=lambda one: (one not in alone, one == 0, one),
    )
    if len(others) < FEWEST_CORES - 1:
        return Cores(low_end=core)
    return Cores(receiver=others[0], main=others[1], pairs=((core,),))


def entries_wrong(ports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """All that is wrong with the list as it was written, without asking the host."""
    kinds = set()
    for at, entry in enumerate(ports):
        where = f"trex_ports[{at}]"
        given = [key for key in ("pci", "interface") if entry.get(key)]
        if len(given) != 1:
            yield f"{where}: expected pci or interface, found {' and '.join(given) or 'neither'}"
            continue
        kinds.add(given[0])
        if given[0] == "pci" and pci.address(str(entry["pci"])) is None:
            yield f"{where}.pci: {entry['pci']} is no PCI address: expected one such as 0000:03:00.0 (lspci -D)"
        mac = str(entry.get("dest_mac") or "")
        if mac and not _MAC.fullmatch(mac):
            yield f"{where}.dest_mac: {mac!r}: expected an address such as 02:00:00:00:00:01"
    if len(kinds) > 1:
        yield (
            "trex_ports has both pci and interface: TRex drives either NICs by DPDK or interfaces of the kernel. "
            "Take out one kind"
        )
    if len(ports) > 1 and len(ports) % 2:
        yield (
            f"trex_ports has {len(ports)} ports: TRex wants pairs, so expected an even number, or one port alone. "
            "Add one, or take one out"
        )


def choose_cores(
    ports: Sequence[Port],
    *,
    given: str,
    threads: int,
    isolated: str,
    online: Collection[int],
    nodes: Mapping[int, Collection[int]],
) -> Cores:
    """The cores of a server. Raises ValueError for a list of cores that is none, CoresMissing.

    `given`: the inventory's list; without it those of the ports' NUMA nodes (`nodes`), the isolated ones if there are
    any, and never core 0 unless it is the only one.
    """
    if threads < 1 or (threads > 1 and not all(port.is_pci for port in ports)):
        raise ValueError(
            f"trex_threads: found {threads}, expected 1 or more, and 1 for interfaces: TRex has one "
            "queue of each"
        )
    if given.strip():
        pool = cpus.parse(given)
        if missing := pool - frozenset(online):
            raise CoresMissing(
                f"trex_cores: {cpus.listed(missing)} of {given} is not online: this host has {cpus.listed(online)}"
            )
    else:
        pool = _near(ports, isolated=isolated, online=online, nodes=nodes)
    if len(pool) < FEWEST_CORES:
        return Cores(low_end=min(pool))
    pairs = (len(ports) + 1) // 2
    need = 2 + pairs * threads
    if len(pool) < need:
        raise CoresMissing(
            f"{'trex_cores' if given.strip() else 'the cores of the ports'}: found {cpus.listed(pool)}, expected "
            f"{need}: one for all else, one to receive, and trex_threads ({threads}) for each of {pairs} pairs of "
            "ports. Name more in trex_cores, or one alone, which all threads share then"
        )
    left = sorted(pool)
    sending = []
    for number in range(pairs):
        near = nodes.get(_node(ports[2 * number]), ())
        # From the end: interrupts and what nobody has placed are rather on the first cores.
        mine = sorted(left, key=lambda core: (core not in near, -core))[:threads]
        left = [core for core in left if core not in mine]
        sending.append(tuple(sorted(mine)))
    return Cores(main=left[0], receiver=left[1], pairs=tuple(sending))


def _near(
    ports: Sequence[Port], *, isolated: str, online: Collection[int], nodes: Mapping[int, Collection[int]]
) -> frozenset[int]:
    pool = _on_nodes(ports, online, nodes)
    alone = pool & cpus.parse(isolated)
    return alone or pool - {0} or pool


def _on_nodes(
    ports: Sequence[Port], online: Collection[int], nodes: Mapping[int, Collection[int]]
) -> frozenset[int]:
    """The cores of the ports' NUMA nodes; all where the kernel has none of them."""
    mine = frozenset(core for port in ports for core in nodes.get(_node(port), ())) & frozenset(online)
    return mine or frozenset(online)


def _node(port: Port) -> int:
    """Of a port that is on none, as a virtual one, the first."""
    return port.numa_node or 0


def text(ports: Sequence[Port], cores: Cores, *, threads: int, memory_mib: int, of_lab: bool = False) -> str:
    """The configuration file. It is YAML, of which JSON is a part: no package is needed to write it.

    `of_lab`: that of a lab's server, which has ports to listen at and files of its own.
    """
    names = [
        port.name if port.is_pci else device(port.name, port.mtu_bytes, number)
        for number, port in enumerate(ports)
    ]
    # Without an address of its own here a port has that of its NIC.
    macs = [{"dest_mac": port.dest_mac.lower()} if port.dest_mac else {} for port in ports]
    if len(names) % 2:
        names.append(NO_PORT)
        macs.append({})
    found: dict[str, Any] = {
        "version": 2,
        "interfaces": names,
        "port_limit": len(names),
        "prefix": LAB_PREFIX if of_lab else PREFIX,
    }
    if of_lab:
        found.update(zmq_rpc_port=LAB_RPC_PORT, zmq_pub_port=LAB_PUBLISHER_PORT)
    if any(macs):
        found["port_info"] = macs
    if cores.low_end is not None:
        found.update(low_end=True, low_end_core=cores.low_end)
    else:
        found["c"] = threads
        found["platform"] = {
            "master_thread_id": cores.main,
            "latency_thread_id": cores.receiver,
            "dual_if": [
                {"socket": _node(ports[2 * number]), "threads": list(pair)}
                for number, pair in enumerate(cores.pairs)
            ],
        }
        if any(port.is_pci for port in ports):
            found["limit_memory"] = str(memory_mib)
    lines = "".join(f"  {json.dumps(key)}: {json.dumps(value)}\n" for key, value in found.items())
    by = (
        "for a lab. Removed with it, and by: labkit down" if of_lab else "(role trex). Removed by its revert."
    )
    return f"# Written by labkit {by}\n-\n{lines}"


def device(interface: str, mtu_bytes: int, number: int) -> str:
    """An interface of the kernel in the configuration, as port `number` of DPDK's packet sockets."""
    ring = RING if mtu_bytes <= RING_MTU_BYTES else LARGE_RING
    options = {"iface": interface, **ring, "blocksz": BLOCK_BYTES}
    return f"--vdev=net_af_packet{number}," + ",".join(f"{key}={value}" for key, value in options.items())


def memory_needed_mib(ports: Sequence[Port], cores: Cores, memory_mib: int) -> int:
    """Hugepages that a server of NICs takes, on each NUMA node of its cores; one of interfaces takes none."""
    if not any(port.is_pci for port in ports):
        return 0
    # In low-end mode TRex's own set-up allocates so many pages of 2 MiB.
    return memory_mib if cores.low_end is None else 2 * (20 + 40 * (len(ports) + len(ports) % 2))


def own_network(ports: Sequence[Port]) -> bool:
    """Whether the server needs no interface of the kernel, and so has a network namespace of its own."""
    return all(port.is_pci and not port.bifurcated for port in ports)
