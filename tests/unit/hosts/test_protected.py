"""The way to a host is never taken away, whatever the inventory says and however it is wired."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils.protected import (
    Connection,
    Network,
    WayUnknown,
    protected,
)

SSH = "192.0.2.10"
PEER = "203.0.113.9"


def link(index, name, **more):
    return {"ifindex": index, "ifname": name, **more}


def address(name, *locals_):
    return {"ifname": name, "addr_info": [{"local": local} for local in locals_]}


def names(network, *, ssh=(), over_ssh=False, management=()):
    return sorted(protected_of(network, ssh=ssh, over_ssh=over_ssh, management=management))


def protected_of(network, *, ssh=(), over_ssh=False, management=(), peer=PEER):
    connections = [Connection(own=own, peer=peer) for own in ssh]
    return protected(network, ssh=connections, over_ssh=over_ssh, management=management)


TWO = [link(1, "lo"), link(2, "eth0"), link(3, "eth1")]


def test_interface_of_the_ssh_connection_is_protected_and_others_are_not():
    network = Network(TWO, [address("eth0", SSH), address("eth1", "198.18.0.1")], [])

    assert names(network, ssh=[SSH], over_ssh=True) == ["eth0"]


@pytest.mark.parametrize("spelling", ["::ffff:192.0.2.10", "192.0.2.10"])
def test_ipv4_that_sshd_took_on_an_ipv6_socket_is_found(spelling):
    assert names(Network(TWO, [address("eth0", SSH)], []), ssh=[spelling], over_ssh=True) == ["eth0"]


@pytest.mark.parametrize("spelling", ["fe80::1%eth1", "fe80:0::1"])
def test_ipv6_only_host_reached_over_its_link_local_address(spelling):
    assert names(Network(TWO, [address("eth1", "fe80::1")], []), ssh=[spelling], over_ssh=True) == ["eth1"]


def test_ssh_connection_that_is_on_no_interface_stops_everything():
    network = Network(TWO, [address("eth0", "203.0.113.1")], [{"dst": "default", "dev": "eth0"}])

    with pytest.raises(WayUnknown, match="labkit_host_management_interfaces"):
        protected_of(network, ssh=[SSH], over_ssh=True)
    with pytest.raises(WayUnknown):
        protected_of(network, over_ssh=True)


@pytest.mark.parametrize(
    "routes",
    [
        [{"dst": "default", "gateway": SSH, "dev": "eth1"}],
        [{"dst": "default", "dev": "eth1", "table": "7"}],
        [{"dst": "default", "gateway": "fe80::1", "dev": "eth1", "metric": 1024}],
        [{"dst": "0.0.0.0/0", "dev": "eth1"}],
        [{"dst": "::/0", "dev": "eth1"}],
        [{"dst": "0.0.0.0/1", "dev": "eth1"}, {"dst": "128.0.0.0/1", "dev": "eth1"}],
        [{"dst": "default", "nexthops": [{"gateway": SSH, "dev": "eth1"}]}],
        [{"dst": "default", "nhid": 5}],
        [{"dst": "default", "nhid": 9}],
    ],
    ids=["v4", "policy table", "v6", "0/0", "::/0", "halves", "multipath", "nexthop", "nexthop group"],
)
def test_interface_of_every_kind_of_default_route_is_protected(routes):
    nexthops = [{"id": 5, "dev": "eth1"}, {"id": 9, "group": [{"id": 5}]}]

    assert names(Network(TWO, [], routes, nexthops)) == ["eth1"]


def test_every_path_of_a_multipath_route_is_protected():
    routes = [{"dst": "default", "nexthops": [{"dev": "eth0"}, {"dev": "eth1"}]}]

    assert names(Network(TWO, [], routes)) == ["eth0", "eth1"]


def test_nexthop_groups_that_name_each_other_end():
    nexthops = [{"id": 1, "group": [{"id": 2}]}, {"id": 2, "group": [{"id": 1}], "dev": "eth0"}]

    assert names(Network(TWO, [], [{"dst": "default", "nhid": 1}], nexthops)) == ["eth0"]


@pytest.mark.parametrize(
    "destination", ["198.18.0.0/15", "2001:2::/48", "224.0.0.0/4", "10.0.0.0/8", "broken"]
)
def test_other_routes_protect_nothing(destination):
    assert names(Network(TWO, [], [{"dst": destination, "dev": "eth1"}])) == []


def test_members_of_the_bond_are_protected_and_so_are_vlans_on_it_and_the_bridge_over_them():
    links = [
        link(2, "eth0", master="bond0"),
        link(3, "eth1", master="bond0"),
        link(4, "bond0"),
        link(5, "bond0.7", link="bond0", master="br0"),
        link(6, "br0"),
        link(7, "tap0", master="br0"),
        link(8, "eth2"),
    ]

    network = Network(links, [address("br0", SSH)], [])

    assert names(network, ssh=[SSH], over_ssh=True) == ["bond0", "bond0.7", "br0", "eth0", "eth1", "tap0"]
    assert "eth0" in names(Network(links, [address("bond0.7", SSH)], []), ssh=[SSH], over_ssh=True)
    assert "bond0.7" in names(Network(links, [address("eth0", SSH)], []), ssh=[SSH], over_ssh=True)


def test_parent_of_a_stacked_interface_is_protected():
    links = [*TWO, link(4, "top", link="eth1", linkinfo={"info_kind": "macvlan"})]

    assert names(Network(links, [address("top", SSH)], []), ssh=[SSH], over_ssh=True) == ["eth1", "top"]


@pytest.mark.parametrize("kind", ["bridge", "bond", "dummy", "veth", "vrf"])
def test_interface_that_is_no_tunnel_needs_no_nic_that_it_does_not_name(kind):
    links = [*TWO, link(4, "top", linkinfo={"info_kind": kind})]
    network = Network(links, [address("top", SSH), address("eth1", "198.18.0.1")], [])

    assert names(network, ssh=[SSH], over_ssh=True) == ["top"]


def test_parent_that_is_named_by_its_index_is_found():
    links = [*TWO, link(4, "top", link_index=3)]

    assert names(Network(links, [], [{"dst": "default", "dev": "top"}])) == ["eth1", "top"]


def test_peer_in_another_namespace_is_not_mistaken_for_an_interface_here():
    links = [*TWO, link(4, "veth0", link_index=3, link_netnsid=0)]

    assert names(Network(links, [], [{"dst": "default", "dev": "veth0"}])) == ["veth0"]


def test_interface_that_carries_the_tunnel_is_protected():
    links = [*TWO, link(4, "vxlan0", linkinfo={"info_kind": "vxlan", "info_data": {"link": "eth1"}})]

    assert names(Network(links, [], [{"dst": "default", "dev": "vxlan0"}])) == ["eth1", "vxlan0"]


def test_second_port_on_the_same_pci_device_is_protected():
    pci = {"eth0": "0000:03:00.0", "eth1": "0000:03:00.0", "eth2": "0000:04:00.0"}
    network = Network([*TWO, link(4, "eth2")], [], [{"dst": "default", "dev": "eth0"}], pci=pci)

    assert names(network) == ["eth0", "eth1"]


def test_physical_function_under_the_way_in_is_protected_and_a_sibling_function_is_not():
    pci = {"pf0": "0000:03:00.0", "vf0": "0000:03:02.0", "vf1": "0000:03:02.1"}
    physical = {"vf0": "0000:03:00.0", "vf1": "0000:03:00.0"}
    links = [link(2, "pf0"), link(3, "vf0"), link(4, "vf1")]

    over_vf = Network(links, [], [{"dst": "default", "dev": "vf0"}], pci=pci, physical_function=physical)
    over_pf = Network(links, [], [{"dst": "default", "dev": "pf0"}], pci=pci, physical_function=physical)

    assert names(over_vf) == ["pf0", "vf0"]
    assert names(over_pf) == ["pf0"]


def test_reason_names_the_way_over_the_kin():
    links = [link(2, "eth0", master="bond0"), link(3, "bond0")]
    reasons = protected_of(Network(links, [address("bond0", SSH)], []), ssh=[SSH], over_ssh=True)

    assert reasons["eth0"] == [
        "it is a member of bond0, which is protected: it carries the SSH connection to 192.0.2.10"
    ]


@pytest.mark.parametrize("named", ["eth1", "enp3s0f1np1", "the uplink", "0000:3b:00.1", "3B:00.1", "3b:0.1"])
def test_interface_is_protected_by_whatever_name_the_inventory_gives_it(named):
    links = [link(2, "eth0"), link(3, "eth1", altnames=["enp3s0f1np1"], ifalias="the uplink")]
    network = Network(links, [], [], pci={"eth0": "0000:3b:00.0", "eth1": "0000:3b:00.1"})

    assert names(network, management=[named]) == ["eth1"]


@pytest.mark.parametrize("named", ["eth7", "0000:99:00.0", ""])
def test_management_interface_that_is_not_there_stops_everything(named):
    network = Network(TWO, [address("eth0", SSH)], [])

    with pytest.raises(WayUnknown, match=f"names {named}, and no interface here has that name"):
        protected_of(network, ssh=[SSH], over_ssh=True, management=[named])


@pytest.mark.parametrize("peer", [PEER, f"::ffff:{PEER}"])
@pytest.mark.parametrize(
    "route",
    [
        {"dst": "203.0.113.0/24", "dev": "eth1"},
        {"dst": PEER, "dev": "eth1"},
        {"dst": "203.0.113.0/24", "nexthops": [{"dev": "eth1"}]},
        {"dst": "203.0.113.0/24", "nhid": 4},
        {"dst": "203.0.113.0/24", "dev": "eth1", "table": "100"},
    ],
    ids=["network", "host", "multipath", "nexthop", "policy table"],
)
def test_interface_over_which_answers_leave_is_protected_though_the_address_is_on_another(route, peer):
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": "203.0.112.0/20", "dev": "eth2"}, route]
    network = Network([*TWO, link(4, "eth2")], [address("lo", SSH)], routes, [{"id": 4, "dev": "eth1"}])

    found = protected_of(network, ssh=[SSH], over_ssh=True, peer=peer)

    assert found["eth1"] == [f"answers to the SSH connection from {peer} may leave over it"]
    assert ("eth2" in found) == ("table" in route)


def test_answers_of_an_ipv6_only_host_leave_over_the_closest_route():
    routes = [{"dst": "2001:2:0:7::/64", "dev": "eth1"}, {"dst": "2001:2::/48", "dev": "eth2"}]
    network = Network([*TWO, link(4, "eth2")], [address("eth0", "2001:2::1")], routes)

    assert sorted(protected_of(network, ssh=["2001:2::1"], over_ssh=True, peer="2001:2:0:7::9")) == [
        "eth0",
        "eth1",
    ]


@pytest.mark.parametrize("kind", ["wireguard", "tun", "gre"])
def test_nic_that_may_carry_the_tunnel_to_the_host_is_protected(kind):
    links = [*TWO, link(4, "vpn0", linkinfo={"info_kind": kind})]
    addresses = [
        address("lo", "127.0.0.1", "::1"),
        address("eth0", "198.18.0.1"),
        address("eth1", "fe80::2"),
        address("vpn0", SSH),
    ]

    assert names(Network(links, addresses, []), ssh=[SSH], over_ssh=True) == ["eth0", "vpn0"]


@pytest.mark.parametrize("kind", ["ppp", "tun"])
def test_running_nics_below_ppp_and_a_switch_in_user_space_are_protected_though_without_address(kind):
    links = [
        link(2, "eth0", flags=["UP"]),
        link(3, "eth1", flags=[]),
        link(4, "way0", linkinfo={"info_kind": kind, "info_data": {"type": "tap"} if kind == "tun" else {}}),
    ]
    pci = {"eth0": "0000:03:00.0", "eth1": "0000:03:00.1"}
    network = Network(links, [address("way0", SSH)], [{"dst": "default", "dev": "way0"}], pci=pci)

    assert names(network, ssh=[SSH], over_ssh=True) == ["eth0", "way0"]


@pytest.mark.parametrize(
    "links",
    [
        [link(4, "vxlan0", master="br0", linkinfo={"info_kind": "vxlan"}), link(5, "br0")],
        [link(4, "gretap0", linkinfo={"info_kind": "gretap"}), link(5, "br0", link="gretap0")],
        [link(5, "br0", linkinfo={"info_kind": "a kind of tunnel to come"})],
    ],
    ids=["bridge over vxlan", "VLAN on gretap", "new kind"],
)
def test_nic_that_may_carry_a_tunnel_below_the_way_in_is_protected(links):
    network = Network([*TWO, *links], [address("eth1", "198.18.0.1"), address("br0", SSH)], [])

    assert "eth1" in names(network, ssh=[SSH], over_ssh=True)
    assert "eth0" not in names(network, ssh=[SSH], over_ssh=True)


def test_ports_of_the_hsr_ring_over_which_the_host_is_reached_are_protected():
    ring = {"info_kind": "hsr", "info_data": {"slave1": "eth0", "slave2": "eth1"}}
    network = Network([*TWO, link(4, "hsr0", linkinfo=ring)], [address("hsr0", SSH)], [])

    assert names(network, ssh=[SSH], over_ssh=True) == ["eth0", "eth1", "hsr0"]


@pytest.mark.parametrize("own", ["127.0.0.1", "::1"])
def test_ssh_over_loopback_is_the_end_of_a_tunnel_that_any_nic_may_carry(own):
    network = Network([*TWO, link(4, "eth2")], [address("lo", own), address("eth1", "198.18.0.1")], [])

    assert names(network, ssh=[own], over_ssh=True) == ["eth1"]
    with pytest.raises(WayUnknown):
        names(Network(TWO, [address("lo", own)], []), ssh=[own], over_ssh=True)


def test_answers_to_a_link_local_address_leave_over_the_interface_of_its_zone():
    routes = [{"dst": "fe80::/64", "dev": name} for name in ("eth0", "eth1")]
    network = Network(TWO, [address("eth0", "fe80::1"), address("eth1", "fe80::2")], routes)

    assert sorted(protected_of(network, ssh=["fe80::1%eth0"], over_ssh=True, peer="fe80::99%eth0")) == [
        "eth0"
    ]


def test_tap_of_a_guest_in_the_bridge_protects_no_more_than_the_bridge():
    links = [
        link(2, "eth0", master="br0"),
        link(3, "br0"),
        link(4, "tap0", master="br0", linkinfo={"info_kind": "tun"}),
        link(5, "eth1"),
    ]
    network = Network(links, [address("br0", SSH), address("eth1", "198.18.0.1")], [])

    assert names(network, ssh=[SSH], over_ssh=True) == ["br0", "eth0", "tap0"]


def test_members_of_the_vrf_over_which_the_host_is_reached_are_protected():
    links = [link(2, "eth0", master="mgmt"), link(3, "mgmt", linkinfo={"info_kind": "vrf"}), link(4, "eth1")]

    assert names(Network(links, [], [{"dst": "default", "dev": "mgmt"}])) == ["eth0", "mgmt"]


def test_ports_of_the_open_vswitch_over_which_the_host_is_reached_are_protected():
    ovs = {"linkinfo": {"info_kind": "openvswitch"}}
    links = [
        link(2, "eth0", master="ovs-system"),
        link(3, "ovs-system", **ovs),
        link(4, "br-ex", **ovs),
        link(5, "eth1"),
    ]

    assert names(Network(links, [address("br-ex", SSH)], []), ssh=[SSH], over_ssh=True) == [
        "br-ex",
        "eth0",
        "ovs-system",
    ]


def test_port_that_is_named_by_its_pci_address_protects_the_bond_over_it_and_the_vlan_on_that():
    links = [
        link(2, "eth0", master="bond0"),
        link(3, "bond0"),
        link(4, "bond0.7", link="bond0"),
        link(5, "eth1"),
    ]
    pci = {"eth0": "0000:03:00.0", "eth1": "0000:03:00.1"}
    over_vlan = Network(links, [address("bond0.7", SSH)], [], pci=pci)

    assert names(over_vlan, ssh=[SSH], over_ssh=True) == ["bond0", "bond0.7", "eth0"]
    assert names(Network(links, [], [], pci=pci), management=["3:0.0"]) == ["bond0", "bond0.7", "eth0"]


def test_interface_named_in_the_inventory_answers_for_a_way_that_is_not_seen():
    assert names(Network(TWO, [], []), over_ssh=True, management=["eth1"]) == ["eth1"]


def test_interfaces_named_in_the_inventory_are_protected():
    assert names(Network(TWO, [], []), management=["eth1"]) == ["eth1"]
