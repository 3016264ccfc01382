"""What an interface is used for that is lost with it, and that no revert brings back. Pure, as protected is."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from .protected import Network


def uses(network: Network, name: str) -> list[str]:
    """Its bond or bridge, what is stacked on it, its addresses and routes; nothing that the kernel gives by itself."""
    own = [link for link in network.links if link["ifname"] == name]
    return [
        *(f"it is a member of {link['master']}" for link in own if link.get("master")),
        *(
            f"{link['ifname']} is stacked on it"
            for link in network.links
            if link.get("link") == name != link["ifname"] and "link_netnsid" not in link
        ),
        *(
            f"it has the address {one['local']}"
            for link in network.addresses
            if link["ifname"] == name
            for one in link.get("addr_info", ())
            if "local" in one and not _every_link_has(one["local"])
        ),
        *(
            f"the route to {route['dst']} goes over it"
            for route in network.routes
            # Routes of the kernel come with the addresses.
            if name in _devices(route)
            and route.get("protocol") != "kernel"
            and not _every_link_has(route["dst"])
        ),
    ]


def _devices(route: Mapping[str, Any]) -> list[str]:
    return [one["dev"] for one in (route, *route.get("nexthops", ())) if "dev" in one]


def _every_link_has(text: str) -> bool:
    """Whether it is link-local or multicast, an address or a destination."""
    try:
        net = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return net.is_link_local or net.is_multicast
