"""AF_XDP: frames handed from the driver to user space through shared rings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from labkit.backends.base import Dut, Mode
from labkit.backends.probe_dut import interfaces, port_proofs, reflecting
from labkit.lab.live import Lab
from labkit.lab.topology import Topology

_REQUIRES = ("namespaces", "bpf", "xdp_native", "af_xdp", "memlock", "probe_af_xdp")


class AfXdp:
    """AF_XDP sockets, in copy or zero-copy mode as the driver allows; which one it was is in the proof."""

    name = "af_xdp"
    description = "AF_XDP sockets on a native XDP program"
    own_mac = False

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """With and without busy polling."""
        if not topology.links[0].kind.has_interfaces:
            return ()
        return (
            Mode(name="", description="AF_XDP, polling the rings", requires=_REQUIRES, tester="xdp"),
            Mode(
                name="busy_poll",
                description="AF_XDP with preferred busy polling of the NAPI context",
                requires=(*_REQUIRES, "busy_poll"),
                tester="xdp",
            ),
        )

    @contextmanager
    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        """Reflect or forward within the UMEM."""
        busy_poll = mode.name == "busy_poll"

        def judge(read_back: Mapping[str, object], counters: Mapping[str, float]) -> tuple[bool, str]:
            ports = port_proofs(read_back)
            binds = {"zero-copy" if p.get("zerocopy") else "copy" for p in ports}
            native = bool(ports) and all(p.get("attach") == "native" for p in ports)
            polls = bool(ports) and all(bool(p.get("busy_poll")) == busy_poll for p in ports)
            attach = "native" if native else "no native"
            claim = f"AF_XDP bound in {'/'.join(sorted(binds))} mode on {attach} XDP, busy poll "
            return native and polls, claim + ("on" if busy_poll else "off")

        options: dict[str, object] = {"bind": "auto", "attach": "native", "busy_poll": busy_poll}
        ports = [{**port, "queue": 0} for port in interfaces(lab)]
        with reflecting(lab, engine="af_xdp", ports=ports, judge=judge, options=options) as dut:
            yield dut


BACKEND = AfXdp()
