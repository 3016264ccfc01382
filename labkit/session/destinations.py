"""How the hosts of a topology are reached: by an Ansible inventory, or as ssh itself knows them."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.errors import ConfigInvalid
from labkit.lab.topology import HERE, Topology
from labkit.machine.ssh import Destination

_OVER_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "libssh")
"""Connections of Ansible's to machines that an SSH server answers on."""


def destination(name: str, inventories: Sequence[str]) -> Destination | None:
    """How a host is reached; None: it is this machine.

    Without an inventory the name is ssh's: an alias of its configuration, or [USER@]ADDRESS. Raises ConfigInvalid for a
    host that the inventories don't have.
    """
    if name == HERE:
        return None
    if not inventories:
        return Destination(name=name, address=name)
    from labkit.doctor.host.desired import of_inventory, work_out

    desired = work_out(of_inventory(name, *inventories))
    kind = str(desired.connection.get("ansible_connection") or "ssh")
    if kind.rpartition(".")[2] == "local":
        return None
    if kind.rpartition(".")[2] not in _OVER_SSH:
        raise ConfigInvalid(
            f"{' and '.join(inventories)}: host {name}: ansible_connection: expected ssh or local, got {kind}",
            hint="labkit reaches other hosts over SSH alone",
        )
    return of_variables(name, desired.connection, labkit=desired.text("labkit_host_command"))


def inventories_of(topology: Topology, chosen: Sequence[str]) -> tuple[str, ...]:
    """The inventories for the hosts of a topology: those that the user chose, else those that it names.

    None on a machine that is itself one of its hosts and does not have them. Raises ConfigInvalid where one is missing.
    """
    if chosen:
        return tuple(chosen)
    missing = [path for path in topology.inventories if not os.path.exists(path)]  # noqa: PTH110 (never raises)
    if not missing:
        return tuple(map(str, topology.inventories))
    if own_name() in topology.hosts.values():
        return ()
    made = "run: vagrant up (where its Vagrantfile is), or " if ".vagrant" in missing[0].parts else ""
    raise ConfigInvalid(
        f"{topology.source}:{topology.inventory_line}: inventory: no such file or folder: {missing[0]}",
        hint=f"{made}give another inventory: --inventory FILE",
    )


def is_here(name: str, topology: Topology, inventories: Sequence[str]) -> bool:
    """Whether a host is this machine by its name: in a topology that names inventories, where they are not."""
    return bool(topology.inventories) and not inventories and name == own_name()


def own_name() -> str:
    """The name of this machine, without its domain."""
    return platform.node().partition(".")[0]


def of_variables(name: str, variables: Mapping[str, Any], *, labkit: str) -> Destination:
    """The destination that Ansible's variables describe, as its ssh connection reads them."""
    options: list[str] = []
    if (port := variables.get("ansible_port")) is not None:
        options += ["-o", f"Port={port}"]
    if user := variables.get("ansible_user"):
        options += ["-o", f"User={user}"]
    key = variables.get("ansible_ssh_private_key_file") or variables.get("ansible_private_key_file")
    if key:
        options += ["-o", f"IdentityFile={key}"]
    if not variables.get("ansible_host_key_checking", True):
        options += ["-o", "StrictHostKeyChecking=no"]
    for more in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"):
        options += shlex.split(str(variables.get(more) or ""))
    return Destination(
        name=name,
        address=str(variables.get("ansible_host") or name),
        options=tuple(options),
        labkit=tuple(shlex.split(labkit)),
    )
