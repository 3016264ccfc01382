"""What an interface is used for is read from what `ip` says, but not what every interface has of itself."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils.protected import Network
from ansible_collections.labkit.host.plugins.module_utils.uses import uses


def network(*, link=None, links=(), addresses=(), routes=()):
    held = [{"local": address} for address in addresses]
    return Network(
        links=[{"ifname": "data0", **(link or {})}, {"ifname": "data1"}, *links],
        addresses=[
            {"ifname": "data0", "addr_info": held},
            {"ifname": "data1", "addr_info": [{"local": "198.18.9.1"}]},
        ],
        routes=[{"dst": "198.18.9.0/24", "dev": "data1", "protocol": "static"}, *routes],
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"link": {"master": "br0"}}, "it is a member of br0"),
        ({"links": [{"ifname": "vlan5", "link": "data0"}]}, "vlan5 is stacked on it"),
        ({"addresses": ["198.18.0.1"]}, "it has the address 198.18.0.1"),
        ({"addresses": ["fe80::1", "2001:2::1"]}, "it has the address 2001:2::1"),
        (
            {"routes": [{"dst": "198.18.5.0/24", "dev": "data0", "protocol": "static"}]},
            "the route to 198.18.5.0/24 goes over it",
        ),
        (
            {"routes": [{"dst": "2001:2::/64", "nexthops": [{"dev": "data1"}, {"dev": "data0"}]}]},
            "the route to 2001:2::/64 goes over it",
        ),
    ],
)
def test_what_would_be_lost_is_reported(given, expected):
    assert uses(network(**given), "data0") == [expected]


def test_interface_that_is_merely_up_is_free():
    routes = [
        {"dst": "fe80::/64", "dev": "data0", "protocol": "kernel"},
        {"type": "local", "dst": "fe80::1", "dev": "data0", "table": "local", "protocol": "kernel"},
        {"type": "multicast", "dst": "ff00::/8", "dev": "data0", "table": "local", "protocol": "kernel"},
        {"dst": "169.254.0.0/16", "dev": "data0", "protocol": "boot"},
    ]

    assert uses(network(addresses=["fe80::1", "169.254.3.4"], routes=routes), "data0") == []


def test_interface_whose_parent_is_in_another_namespace_is_stacked_on_none_here():
    links = [{"ifname": "macvlan0", "link": "data0", "link_netnsid": 0}]

    assert uses(network(links=links), "data0") == []
