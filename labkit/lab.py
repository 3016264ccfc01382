"""A live lab: brings a Topology up and down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from labkit.hosts import Host
from labkit.topology import Link, Port, Topology

Role = Literal["tester", "dut"]


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
class Cores:
    """Where the three parts run. With two cores the controller shares one: `shared` says which."""

    tester: int
    dut: int
    controller: tuple[int, ...]
    shared: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What is up: all that backends and testers need to know."""

    topology: Topology
    cores: Cores
    tester_ports: tuple[LivePort, ...]
    dut_ports: tuple[LivePort, ...]
    facts: Mapping[str, object]
    """Read back from the live links: offloads, NAPI mode, qdisc, MTU, hugepages."""
