"""How the hosts of a topology are reached: by an Ansible inventory, or as ssh itself knows them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.lab.topology import HERE
from labkit.machine.ssh import Destination


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
    if desired.connection.get("ansible_connection") == "local":
        return None
    return of_variables(name, desired.connection, labkit=desired.text("labkit_host_command"))


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
