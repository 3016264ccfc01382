"""The only module that uses pyroute2, whose classes make their methods at run time and have no types.

Sockets opened here speak to the network namespace that the calling thread is in (`machine.namespaces.inside`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from pyroute2.ethtool import ioctl
from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

__all__ = ["EthtoolError", "Netlink", "NetlinkError", "ethtool", "rtnetlink"]

EthtoolError = ioctl.EthtoolError
Netlink: TypeAlias = Any
"""A pyroute2.IPRoute."""


@contextmanager
def rtnetlink() -> Iterator[Netlink]:
    """A pyroute2.IPRoute."""
    open_route: Any = IPRoute
    with open_route() as route:
        yield route


@contextmanager
def ethtool(interface: str) -> Iterator[Any]:
    """A pyroute2 IoctlEthtool of one interface."""
    open_tool: Any = ioctl.IoctlEthtool
    tool = open_tool(interface)
    try:
        yield tool
    finally:
        tool.close()
