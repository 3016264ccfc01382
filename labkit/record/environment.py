"""Reads what the machine is: the environment record of a result.

Everything is read, nothing is set and nothing is guessed: what can't be read is null, and `unreadable` holds the
system's own error. Left out on purpose: environment variables, the host's name (cut from the kernel command line too),
user names and the paths that hold them.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import labkit
from labkit.record import hardware, software, system
from labkit.record.provenance import Environment, TopologyRef
from labkit.record.reader import FactReader

if TYPE_CHECKING:
    from labkit.lab.topology import Topology


def collect(
    *,
    topologies: Iterable[Topology] = (),
    links: Mapping[str, object] | None = None,
    tools: Mapping[str, Path] | None = None,
    seed: int | None = None,
    parameters: Mapping[str, object] | None = None,
    hosts: Mapping[str, object] | None = None,
    root: Path = Path("/"),
) -> Environment:
    """Read the machine.

    `links` are the facts that a Lab read back of its links, `tools` the executables that take part (name to file:
    the probe's), `parameters` all that steers the search, `hosts` what other machines collected of themselves; links,
    parameters and hosts are JSON values. `root` is another file system to read (tests). Takes some 10 ms; the files'
    hashes are kept for the life of the process.
    """
    reader = FactReader(root)
    info = hardware.cpuinfo(reader)
    flags = hardware.flags(info)
    return Environment(
        collected=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=hardware.cpu(reader, info, flags),
        kernel=system.kernel(reader),
        clock=hardware.clock(reader, flags),
        power=hardware.power(reader),
        memory=hardware.memory(reader),
        virtualisation=system.virtualisation(reader, flags),
        load=system.load(reader),
        network=system.network(reader, dict(links or {})),
        privileged=os.geteuid() == 0 and system.in_initial_user_namespace(reader),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        labkit=labkit.__version__,
        tools=(
            *software.executables(tools or {}, reader.unreadable),
            *software.libraries(),
            *software.packages(),
        ),
        source=software.source(reader.unreadable),
        topologies=tuple(TopologyRef(name=t.name, tier=t.tier.value, sha256=t.sha256) for t in topologies),
        seed=seed,
        parameters=dict(parameters or {}),
        host=system.host_hash(reader),
        unreadable=reader.unreadable,
        hosts=dict(hosts or {}),
    )


def is_guest() -> bool | None:
    """Whether this is a virtual machine; None where that is not known."""
    reader = FactReader(Path("/"))
    return system.virtualisation(reader, hardware.flags(hardware.cpuinfo(reader))).guest
