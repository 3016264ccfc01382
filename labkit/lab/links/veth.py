"""A veth pair between two held namespaces: created, addressed, free of traffic of its own, and read back."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from labkit.errors import EnvironmentBroken
from labkit.lab.topology import Link, Napi, Port, Role
from labkit.lab.traffic import UDP, Traffic
from labkit.machine import fix
from labkit.machine.hosts import NamespaceHost
from labkit.machine.interface import PERMANENT, features_of
from labkit.machine.namespaces import inside
from labkit.machine.netlink import Netlink, NetlinkError, ethtool, rtnetlink

OFFLOADS = re.compile(r"tx-.*(checksum|segmentation|gso|vlan).*|rx-vlan-.*-hw-parse|rx-vlan-hw-parse")
"""All off: checksums are written in full and frames are what was sent, so that AF_XDP and DPDK peers see them
unchanged."""
GRO = "rx-gro"
LOCAL_TABLE = 255
"""The routing table of a host's own addresses."""

IPV6_DISABLED = "ipv6/conf/{}/disable_ipv6"
"""Where it is 1, an IPv6 address is refused with EACCES."""
INTERFACE_SYSCTLS: Mapping[str, str] = {
    # No duplicate-address detection, router solicitations or link-local addresses: no traffic but the test's.
    "ipv6/conf/{}/accept_dad": "0",
    "ipv6/conf/{}/accept_ra": "0",
    "ipv6/conf/{}/autoconf": "0",
    "ipv6/conf/{}/router_solicitations": "0",
    "ipv6/conf/{}/addr_gen_mode": "1",
    # Multicast listeners report at once, not seconds later into a trial (20 ms: whole ticks at any HZ).
    "ipv6/conf/{}/mldv1_unsolicited_report_interval": "20",
    "ipv6/conf/{}/mldv2_unsolicited_report_interval": "20",
    # The way back may differ from the way in, and both ends' addresses are local where two ports share a namespace.
    "ipv4/conf/{}/rp_filter": "0",
    "ipv4/conf/{}/accept_local": "1",
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv4/conf/{}/arp_announce": "2",
}
NAMESPACE_SYSCTLS: Mapping[str, str] = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    # AF_PACKET programs take copies; the kernel finds no socket for the original and would answer "port unreachable".
    # One a day for each peer, saved up for at most a minute: none. (Echo replies are not limited.)
    "ipv4/icmp_ratelimit": "86400000",
    "ipv6/icmp/ratelimit": "86400000",
}
FORWARDING_SYSCTLS: Mapping[str, str] = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv4/conf/all/send_redirects": "0",
}


def wire(links: Iterable[Link], tester: NamespaceHost, dut: NamespaceHost, *, traffic: Traffic = UDP) -> None:
    """Make the pairs, with addresses, static neighbours and offloads; two links: the DUT forwards."""
    links = tuple(links)
    try:
        with inside(tester.pid), rtnetlink() as netlink:
            for link in links:
                _create(netlink, link, dut.pid)
        hosts: Mapping[Role, NamespaceHost] = {"tester": tester, "dut": dut}
        for role, host in hosts.items():
            with inside(host.pid), rtnetlink() as netlink:
                netlink.link("set", index=1, state="up")
                _sysctls(NAMESPACE_SYSCTLS)
                if role == "dut" and len(links) == 2:
                    _sysctls(FORWARDING_SYSCTLS)
                for link in links:
                    port, peer = link.ends(role)
                    gro = role == "tester" or link.napi is not Napi.SOFTIRQ
                    _configure(netlink, port, peer, gro=gro)
                if role == "tester" and traffic.protocol != "udp":
                    _be_silent(netlink)
    except NetlinkError as error:
        raise EnvironmentBroken(
            f"the kernel refused to wire {', '.join(link.name for link in links)}: {error}",
            hint=f"{fix.labkit('doctor')} says whether this kernel has veth and IPv6",
        ) from error


def _create(netlink: Netlink, link: Link, dut_pid: int) -> None:
    netlink.link(
        "add", ifname=link.tester.name, kind="veth", address=link.tester.mac, mtu=link.mtu_bytes,
        num_tx_queues=1, num_rx_queues=1,
        peer={
            "ifname": link.dut.name, "address": link.dut.mac, "mtu": link.mtu_bytes, "net_ns_pid": dut_pid,
            "num_tx_queues": 1, "num_rx_queues": 1,
        },
    )  # fmt: skip


def _configure(netlink: Netlink, port: Port, peer: Port, *, gro: bool) -> None:
    """Set up one end.

    It has a NAPI only with GRO on, or with an XDP program. What a DUT's XDP program sends (XDP_TX, XDP_REDIRECT) is
    dropped by a peer without one, so the tester's ends have it; the DUT's are as the kernel makes them.
    """
    index = netlink.link_lookup(ifname=port.name)[0]
    _sysctls({key.format(port.name): value for key, value in INTERFACE_SYSCTLS.items()})
    if port.ipv6 is not None:  # new namespaces may have it from this one (net.core.devconf_inherit_init_net)
        _sysctls({IPV6_DISABLED.format(port.name): "0"})
    offloads = {name: False for name in features_of(port.name) if OFFLOADS.fullmatch(name)}
    set_features(port.name, {**offloads, GRO: gro})
    for address in (port.ipv4, port.ipv6):
        if address is not None:
            netlink.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
    netlink.link("set", index=index, state="up")
    for address in (peer.ipv4, peer.ipv6):
        if address is not None:
            netlink.neigh("replace", ifindex=index, dst=str(address.ip), lladdr=peer.mac, state="permanent")


def _be_silent(netlink: Netlink) -> None:
    """Have the kernel take nothing for its own that comes in by a link: it would answer TCP and echo requests.

    AF_PACKET programs get their copies before that; what it drops then costs less than an answer.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        netlink.rule("add", family=family, table=LOCAL_TABLE, priority=0, iifname="lo")
        netlink.rule("del", family=family, table=LOCAL_TABLE, priority=0)


def set_features(interface: str, features: Mapping[str, bool]) -> None:
    """Switch offloads of an interface of the current namespace, those that it has, and read back."""
    with ethtool(interface) as tool:
        known = tool.get_features()
        wanted = {name: on for name, on in features.items() if name in known and known.is_available(name)}
        for name, on in wanted.items():
            known.set_value(name, on)
        tool.set_features(known)
    got = {name: on for name, (on, _) in features_of(interface).items()}
    wrong = {name: got[name] for name, on in wanted.items() if got[name] != on}
    if wrong:
        raise EnvironmentBroken(
            f"{interface}: offloads differ from what was set: {wrong}", hint=f"ethtool -k {interface}"
        )


def read_back(host: NamespaceHost, port: Port) -> dict[str, object]:
    """Read one end back from the kernel: see `link_facts`."""
    with inside(host.pid):
        return link_facts(port.name)


def link_facts(interface: str) -> dict[str, object]:
    """An interface of the current namespace, as the kernel has it.

    MTU, MAC, state, qdisc, queues, addresses, permanent neighbours, offloads and forwarding.
    """
    with rtnetlink() as netlink:
        index = netlink.link_lookup(ifname=interface)[0]
        link = next(iter(netlink.get_links(index)))
        addresses = [f"{a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}" for a in netlink.get_addr(index=index)]
        neighbours = {
            str(n.get_attr("NDA_DST")): str(n.get_attr("NDA_LLADDR"))
            for n in netlink.get_neighbours(ifindex=index)
            if n["state"] & PERMANENT
        }
    forwarding = {
        version: Path(f"/proc/sys/net/{version}/conf/{interface}/forwarding").read_text().strip() == "1"
        for version in ("ipv4", "ipv6")
        if Path(f"/proc/sys/net/{version}/conf/{interface}").exists()
    }
    return {
        "mtu_bytes": link.get_attr("IFLA_MTU"),
        "mac": link.get_attr("IFLA_ADDRESS"),
        "state": link.get_attr("IFLA_OPERSTATE"),
        "qdisc": link.get_attr("IFLA_QDISC"),
        "tx_queues": link.get_attr("IFLA_NUM_TX_QUEUES"),
        "rx_queues": link.get_attr("IFLA_NUM_RX_QUEUES"),
        "addresses": addresses,
        "neighbours": neighbours,
        "offloads": {
            name: on
            for name, (on, _) in features_of(interface).items()
            if OFFLOADS.fullmatch(name) or name == GRO
        },
        "forwarding": forwarding,
    }


def _sysctls(values: Mapping[str, str]) -> None:
    """Write settings of the current namespace and read each back."""
    for key, value in values.items():
        path = Path("/proc/sys/net") / key
        try:
            path.write_text(value)
            got = path.read_text().strip()
        except FileNotFoundError:
            continue  # a kernel without IPv6, or without this setting: nothing to switch off
        if got != value:
            raise EnvironmentBroken(
                f"{path}: wrote {value}, read back {got}", hint=f"sysctl {key.replace('/', '.')}"
            )
