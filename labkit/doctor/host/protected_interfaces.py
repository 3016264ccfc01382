"""Whether an interface of this machine may be changed, or is needed to reach it: by the code that the roles use."""

from __future__ import annotations

from labkit.errors import EnvironmentBroken
from labkit.machine.roles import host_module


def check_unprotected(interface: str) -> None:
    """Raise EnvironmentBroken for an interface that SSH comes in by, or may: in doubt it is left alone."""
    links, protected = host_module("links"), host_module("protected")
    try:
        links.touchable(interface, over_ssh=any(links.ssh_connections()), management=[])
    except (links.Untouchable, protected.WayUnknown) as error:
        raise EnvironmentBroken(str(error), hint="choose another interface") from error
