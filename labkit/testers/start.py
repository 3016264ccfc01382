"""Starts the tester of a lab by its engine's name."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from labkit.lab.live import Lab
from labkit.probe.client import Probe
from labkit.testers import probe
from labkit.testers.base import SOFTWARE_DRAIN, DrainTime, Tester
from labkit.testers.trex import tester as trex


def generating(
    lab: Lab,
    engine: str,
    *,
    drain: DrainTime = SOFTWARE_DRAIN,
    trex_dir: str | None = None,
    ip_version: int = 4,
) -> AbstractContextManager[Tester]:
    """The tester on the lab's tester ports and core, for the time of the context.

    Raises ConfigInvalid (an engine that can't, no TRex there), EnvironmentBroken or ToolFailed.
    """
    if engine == trex.ENGINE:
        return trex.generating(lab, trex_dir, drain=drain)
    return probe.generating(lab, engine, drain=drain, ip_version=ip_version)


PASSING_NOTE = (
    "an XDP program that passes every frame is on the tester's ports, for frames sent by XDP_TX to arrive"
)


def needs_passing(lab: Lab, engine: str) -> bool:
    """Whether this tester needs an XDP program on its ports (`passing`) where the DUT sends by XDP_TX."""
    ports: Any = lab.facts.get("ports", {})
    on_veth = not lab.machines or any(port["driver"] == "veth" for port in ports.values())
    return on_veth and lab.tester_ports[0].interface is not None and engine in ("af_packet", trex.ENGINE)


def passing(lab: Lab) -> Probe:
    """An XDP program on the tester's ports that passes every frame to the kernel, for the time of the context.

    Observed on veth: frames that a DUT sends by XDP_TX get stuck in the ring of a port without one.
    """
    ports, options = probe.port_arguments(lab, lab.tester_ports, "xdp")
    host = lab.tester_ports[0].host
    return Probe("xdp", host, core=None, ports=ports, options=options, name="passing program")
