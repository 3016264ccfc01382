"""What a lab of veth pairs needs for frames that are made in the kernel (BPF_F_TEST_XDP_LIVE_FRAMES).

Such frames are handed to the peer's driver as they are, without a socket buffer. A veth takes them only where it has a
NAPI: with a native XDP program, or with GRO on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from labkit.lab.links.veth import GRO, set_features
from labkit.machine.hosts import NamespaceHost
from labkit.machine.interface import features_of
from labkit.machine.namespaces import inside
from labkit.machine.netlink import rtnetlink

SPARE, SPARE_PEER = "spare0", "spare1"


@contextmanager
def spare(host: NamespaceHost) -> Iterator[str]:
    """A veth that carries nothing, for the time of the context; its name.

    A program that is attached nowhere is taken into the kernel's XDP dispatcher and out again at each run, and each of
    these waits for all readers of the old one (seen on Linux 6.18: 24 to 32 ms a run; 16 us where it is attached).
    """
    with inside(host.pid), rtnetlink() as netlink:
        if not netlink.link_lookup(ifname=SPARE):  # a killed process may have left it
            netlink.link(
                "add", ifname=SPARE, kind="veth", num_tx_queues=1, num_rx_queues=1,
                peer={"ifname": SPARE_PEER, "num_tx_queues": 1, "num_rx_queues": 1},
            )  # fmt: skip
    try:
        yield SPARE
    finally:
        with inside(host.pid), rtnetlink() as netlink:
            for index in netlink.link_lookup(ifname=SPARE):
                netlink.link("del", index=index)


@contextmanager
def receiving(host: NamespaceHost, interfaces: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """These interfaces take such frames, for the time of the context: GRO is on where nothing else gives them a NAPI.

    Yields where it was switched on. That changes the DUT: its kernel then merges what belongs together, and receives by
    NAPI.
    """
    with inside(host.pid):
        lacking = tuple(name for name in interfaces if not _has_napi(name))
        for name in lacking:
            set_features(name, {GRO: True})
    try:
        yield lacking
    finally:
        with inside(host.pid):
            for name in lacking:
                set_features(name, {GRO: False})


def gro(host: NamespaceHost, interfaces: Sequence[str]) -> dict[str, bool]:
    """Whether GRO is on, by interface."""
    with inside(host.pid):
        return {name: features_of(name)[GRO][0] for name in interfaces}


def _has_napi(interface: str) -> bool:
    """Whether the interface has GRO, or a native XDP program."""
    if features_of(interface)[GRO][0]:
        return True
    with rtnetlink() as netlink:
        index = netlink.link_lookup(ifname=interface)[0]
        xdp = next(iter(netlink.get_links(index))).get_attr("IFLA_XDP")
    return xdp is not None and xdp.get_attr("IFLA_XDP_DRV_PROG_ID") is not None
