"""The mode `gro`: GRO is on at the DUT's veth ports while the datapath runs.

A veth end takes frames that are made in the kernel only where it has a NAPI, which GRO gives it. The tester that makes
such frames is the fastest there is on veth, so a path is measured in both ways, and each row says which it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from labkit.backends.base import Mode
from labkit.lab.live import Lab
from labkit.lab.topology import LinkKind, Topology
from labkit.lab.traffic import GRO
from labkit.machine.hosts import NamespaceHost

REQUIRES = ("bpf", "xdp_native", "probe_xdp", "live_frames")
"""Ids of the doctor's checks: what the tester needs that it is there for."""


def modes(default: Mode, topology: Topology, *, always: bool = False) -> tuple[Mode, ...]:
    """That mode of a backend besides its default one, on veth. `always`: see Mode."""
    if topology.links[0].kind is not LinkKind.VETH:
        return ()
    return (
        replace(
            default,
            name=GRO,
            description=f"{default.description}; GRO on at the DUT's ports",
            requires=(*default.requires, *REQUIRES),
            tester="xdp",
            always=always,
        ),
    )


@contextmanager
def switched(lab: Lab, mode: Mode) -> Iterator[None]:
    """GRO is on at the DUT's ports for the time of the context, in that mode."""
    if mode.name != GRO:
        yield
        return
    from labkit.lab.links import live_frames  # pyroute2 takes long to import

    host = lab.dut_ports[0].host
    assert isinstance(host, NamespaceHost), "veth ends are in namespaces"
    with live_frames.receiving(host, _interfaces(lab)):
        yield


def read_back(lab: Lab, mode: Mode) -> Mapping[str, object]:
    """Whether GRO is on now, by interface, for the proof; nothing in other modes."""
    if mode.name != GRO:
        return {}
    from labkit.lab.links import live_frames

    host = lab.dut_ports[0].host
    assert isinstance(host, NamespaceHost), "veth ends are in namespaces"
    return {"gro": live_frames.gro(host, _interfaces(lab))}


def _interfaces(lab: Lab) -> list[str]:
    return [str(port.interface) for port in lab.dut_ports]
