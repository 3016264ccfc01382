"""XDP in the kernel: a small BPF program in the driver reflects (XDP_TX) or redirects (XDP_REDIRECT)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from labkit.backends.base import Dut, Mode
from labkit.backends.probe_dut import interfaces, port_proofs, reflecting
from labkit.lab.live import Lab
from labkit.lab.topology import LinkKind, Topology


class Xdp:
    """Native XDP. Generic (skb) XDP is never measured under this name."""

    name = "xdp"
    description = "a BPF program in the driver: XDP_TX on one port, XDP_REDIRECT between two"
    own_mac = False

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """Network interfaces only."""
        if not topology.links[0].kind.has_interfaces:
            return ()
        verb = "XDP_REDIRECT" if topology.forwards else "XDP_TX"
        requires: tuple[str, ...] = ("namespaces", "bpf", "xdp_native", "probe_xdp")
        if topology.links[0].kind is LinkKind.VETH:
            # The tester must use the engine af_xdp: a veth keeps what XDP_TX sends if its far end has no XDP program.
            requires = (*requires, "af_xdp", "probe_af_xdp")
        return (Mode(name="", description=f"native {verb}", requires=requires, tester="xdp"),)

    @contextmanager
    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        """Attach the program; it is detached when the probe ends."""

        def judge(read_back: Mapping[str, object], counters: Mapping[str, float]) -> tuple[bool, str]:
            attached = [str(port.get("attach")) for port in port_proofs(read_back)]
            native = bool(attached) and all(mode == "native" for mode in attached)
            return native, f"XDP program attached in {'/'.join(attached) or 'no'} mode"

        with reflecting(
            lab, engine="xdp", ports=interfaces(lab), judge=judge, options={"attach": "native"}
        ) as dut:
            yield dut


BACKEND = Xdp()
