"""Settings of a network interface that outlive labkit: MTU, state, addresses, neighbours and offloads.

They are those of the network namespace that the calling thread is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_interface
from socket import AF_INET6
from typing import Any, ClassVar

from labkit.errors import EnvironmentBroken, LabkitBug
from labkit.machine.netlink import EthtoolError, Netlink, NetlinkError, ethtool, rtnetlink

ABSENT, PRESENT, NONE = "absent", "present", "none"
PERMANENT = 0x80  # NUDPERMANENT
_IFF_UP, _IFF_PROMISC = 0x1, 0x100


@dataclass(frozen=True, slots=True)
class InterfaceTunable:
    """One setting of one interface."""

    kind: ClassVar[str] = "interface"
    interface: str
    what: str
    """mtu, mac, state, promiscuous, address, neighbour or feature."""
    subject: str = ""
    """The address with its prefix length, the neighbour's address, or the offload's name; empty for the others."""

    def describe(self) -> dict[str, Any]:
        """See Tunable."""
        return {
            "kind": self.kind,
            "interface": self.interface,
            "what": self.what,
            "subject": self.subject,
        }

    def read(self) -> str:
        """MTU [bytes]; MAC address; up or down; on or off; present or absent; a neighbour's MAC address or absent."""
        with _reported(str(self)):
            if self.what == "feature":
                with ethtool(self.interface) as tool:
                    return "on" if tool.get_features().is_active(self.subject) else "off"
            with _netlink(self.interface) as (netlink, index):
                return self._read(netlink, index)

    def _read(self, netlink: Netlink, index: int) -> str:
        match self.what:
            case "mtu":
                return str(next(iter(netlink.get_links(index))).get_attr("IFLA_MTU"))
            case "mac":
                return str(next(iter(netlink.get_links(index))).get_attr("IFLA_ADDRESS"))
            case "state":
                return "up" if next(iter(netlink.get_links(index)))["flags"] & _IFF_UP else "down"
            case "promiscuous":
                return "on" if next(iter(netlink.get_links(index)))["flags"] & _IFF_PROMISC else "off"
            case "address":
                wanted = ip_interface(self.subject)
                found = {
                    ip_interface(f"{a.get_attr('IFA_LOCAL') or a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}")
                    for a in netlink.get_addr(index=index)
                }
                return PRESENT if wanted in found else ABSENT
            case "neighbour":
                for one in netlink.get_neighbours(ifindex=index):
                    if one.get_attr("NDA_DST") == self.subject and one["state"] & PERMANENT:
                        return str(one.get_attr("NDA_LLADDR"))
                return ABSENT
        raise LabkitBug(f"an interface has no setting {self.what!r}")

    def write(self, value: str) -> None:
        """Set it, to a value as `read` returns it."""
        with _reported(str(self)):
            if self.what == "feature":
                with ethtool(self.interface) as tool:
                    known = tool.get_features()
                    known.set_value(self.subject, value == "on")
                    tool.set_features(known)
                return
            with _netlink(self.interface) as (netlink, index):
                self._write(netlink, index, value)

    def _write(self, netlink: Netlink, index: int, value: str) -> None:
        match self.what:
            case "mtu":
                netlink.link("set", index=index, mtu=int(value))
            case "mac":
                netlink.link("set", index=index, address=value)
            case "state":
                netlink.link("set", index=index, state=value)
            case "promiscuous":
                flags = _IFF_PROMISC if value == "on" else 0
                netlink.link("set", index=index, flags=flags, change=_IFF_PROMISC)
            case "address":
                at = ip_interface(self.subject)
                verb = "add" if value == PRESENT else "del"
                netlink.addr(verb, index=index, address=str(at.ip), prefixlen=at.network.prefixlen)
            case "neighbour":
                if value == ABSENT:
                    netlink.neigh("del", ifindex=index, dst=self.subject)
                else:
                    netlink.neigh("replace", ifindex=index, dst=self.subject, lladdr=value, state="permanent")
            case _:
                raise LabkitBug(f"an interface has no setting {self.what!r}")

    def restore(self, old: str, new: str) -> str | None:
        """See Tunable. With the interface its settings are gone."""
        if not _exists(self.interface):
            return None
        now = self.read()
        if now == old:
            return None
        if now != new:
            return (
                f"{self} was set to {new} by labkit and is {now} now: changed by another program, "
                f"not reverted to {old}"
            )
        self.write(old)
        got = self.read()
        return None if got == old else f"{self}: wrote {old}, reads {got}"

    def __str__(self) -> str:
        return " ".join(filter(None, (self.interface, self.what, self.subject)))


@dataclass(frozen=True, slots=True)
class LinkLocalTunable:
    """The IPv6 addresses that the kernel itself gives to an interface.

    It makes one when addr_gen_mode is set back, even of an interface that is down. Nothing is written here: what was
    not there before is removed again.
    """

    kind: ClassVar[str] = "link-local"
    interface: str

    def describe(self) -> dict[str, Any]:
        """See Tunable."""
        return {"kind": self.kind, "interface": self.interface, "what": "link-local", "subject": "addresses"}

    def read(self) -> str:
        """The addresses, with a blank between them, or none."""
        with _reported(self.interface), _netlink(self.interface) as (netlink, index):
            return " ".join(sorted(_link_local(netlink, index))) or NONE

    def write(self, value: str) -> None:
        """See Tunable. The kernel makes them."""
        raise LabkitBug(f"the addresses of {self.interface} cannot be made to be {value!r}")

    def restore(self, old: str, new: str) -> str | None:
        """See Tunable. With the interface its addresses are gone."""
        if not _exists(self.interface):
            return None
        with _reported(self.interface), _netlink(self.interface) as (netlink, index):
            for address, length in _link_local(netlink, index).items():
                if address not in old.split():
                    netlink.addr("del", index=index, address=address, prefixlen=length)
        got = self.read()
        left = set(got.split()) - set(old.split()) - {NONE}
        return f"{self.interface} has {got}, it had {old}" if left else None


def _link_local(netlink: Netlink, index: int) -> dict[str, int]:
    """Address to prefix length."""
    found = {
        a.get_attr("IFA_ADDRESS"): a["prefixlen"] for a in netlink.get_addr(index=index, family=AF_INET6)
    }
    return {address: length for address, length in found.items() if IPv6Address(address).is_link_local}


def _exists(interface: str) -> bool:
    with rtnetlink() as netlink:
        return bool(netlink.link_lookup(ifname=interface))


@contextmanager
def _netlink(interface: str) -> Iterator[tuple[Netlink, int]]:
    with rtnetlink() as netlink:
        found = netlink.link_lookup(ifname=interface)
        if not found:
            raise EnvironmentBroken(f"there is no interface {interface} here any more")
        yield netlink, found[0]


@contextmanager
def _reported(what: str) -> Iterator[None]:
    """Raise EnvironmentBroken for what pyroute2 raises, which is no OSError."""
    try:
        yield
    except (NetlinkError, EthtoolError) as error:
        raise EnvironmentBroken(f"{what}: {error or type(error).__name__}") from error


def features_of(interface: str) -> dict[str, tuple[bool, bool]]:
    """Offloads by the kernel's names: whether each is on, and whether it can be changed."""
    with ethtool(interface) as tool:
        known = tool.get_features()
        return {
            str(name): (bool(known.is_active(name)), bool(known.is_available(name)))
            for name in known.keys()  # noqa: SIM118 (iterates rows)
        }
