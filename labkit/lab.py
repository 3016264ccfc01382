"""A live lab: brings a Topology up and down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from labkit.cores import Cores, choose, pinned_here
from labkit.hosts import Host, NamespaceHost
from labkit.links import shared_memory, veth
from labkit.machine.namespaces import held_namespace
from labkit.topology import Link, LinkKind, Port, Role, Topology

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePort:
    """One end of a link that is up."""

    role: Role
    port: Port
    peer: Port
    link: Link
    host: Host
    interface: str | None
    """The network interface (veth), in the host's namespace."""
    vdev: str | None
    """The EAL --vdev value of this end (shared-memory links)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What is up: all that backends and testers need to know."""

    topology: Topology
    cores: Cores
    tester_ports: tuple[LivePort, ...]
    dut_ports: tuple[LivePort, ...]
    facts: Mapping[str, object]
    """Read back from the live lab: "ports" (by name: offloads, NAPI, qdisc, MTU, ...), "hugepages" (granted or not)."""


@contextmanager
def lab_up(topology: Topology, *, progress: Progress | None = None) -> Iterator[Lab]:
    """Bring a lab up for the time of the context. It dies with this process, whatever ends it.

    The controller (this process) is kept off the DUT's core meanwhile.
    """
    say = progress or (lambda _: None)
    cores = choose(topology)
    with ExitStack() as stack:
        stack.enter_context(pinned_here(cores.controller))
        if topology.links[0].kind is LinkKind.VETH:
            say("namespaces")
            tester = stack.enter_context(held_namespace("tester"))
            dut = stack.enter_context(held_namespace("dut"))
            say("links")
            veth.wire(topology.links, tester, dut)
        else:
            say("namespace")
            tester = dut = stack.enter_context(held_namespace("lab"))
        yield _live(topology, cores, tester, dut, hugepages=False)


def _live(
    topology: Topology, cores: Cores, tester: NamespaceHost, dut: NamespaceHost, *, hugepages: bool
) -> Lab:
    """The lab as it is found in these namespaces."""

    def ends(role: Role, host: NamespaceHost) -> tuple[LivePort, ...]:
        return tuple(_port(role, host, link, number) for number, link in enumerate(topology.links))

    tester_ports, dut_ports = ends("tester", tester), ends("dut", dut)
    both = [(tester, port) for port in tester_ports] + [(dut, port) for port in dut_ports]
    ports = {live.port.name: veth.read_back(host, live.port) for host, live in both if live.interface}
    return Lab(
        topology=topology,
        cores=cores,
        tester_ports=tester_ports,
        dut_ports=dut_ports,
        facts={"ports": ports, "hugepages": hugepages},
    )


def _port(role: Role, host: NamespaceHost, link: Link, number: int) -> LivePort:
    port, peer = (link.tester, link.dut) if role == "tester" else (link.dut, link.tester)
    is_veth = link.kind is LinkKind.VETH
    return LivePort(
        role=role,
        port=port,
        peer=peer,
        link=link,
        host=host,
        interface=port.name if is_veth else None,
        vdev=None if is_veth else shared_memory.vdev(link, role, number),
    )
