"""What the engines' tests share: veth pairs in two namespaces of their own, and probes at their ends."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from labkit.machine.hosts import LocalHost
from labkit.probe.client import Probe
from labkit.testers.frames import FrameSpec, frames_command

TAG = 7
CORES = sorted(os.sched_getaffinity(0))
ENDS = {
    4: {"src_ip": "198.18.0.1", "dst_ip": "198.18.0.2"},
    6: {"src_ip": "2001:2::1", "dst_ip": "2001:2::2"},
}
# Patient, for a machine that is shared.
DRAIN = {"drain_quiet_ms": 300, "drain_max_ms": 600}
COUNT = 4000


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Place(LocalHost):
    """Where a probe starts: behind a command such as `ip netns exec NAME`."""

    prefix: tuple[str, ...] = ()

    def argv(self, command: Sequence[str], *, cleans_up: bool = False) -> list[str]:
        return [*self.prefix, *command]


HERE = Place("here")


class VethLab:
    """Links `t0`..`tN` in the tester's namespace to `d0`..`dN` in the DUT's. Nothing but test traffic on them."""

    def __init__(self, links: int = 1) -> None:
        token = secrets.token_hex(3)
        self.names = (f"lkeng-t-{token}", f"lkeng-d-{token}")
        self.tester, self.dut = (Place(name, prefix=("ip", "netns", "exec", name)) for name in self.names)
        self.links = links

    def __enter__(self) -> VethLab:
        try:
            for name in self.names:
                run("ip", "netns", "add", name)
                for scope in ("all", "default"):
                    quiet = f"net.ipv6.conf.{scope}.disable_ipv6=1"
                    run("ip", "netns", "exec", name, "sysctl", "-qw", quiet)
            for i in range(self.links):
                near = (f"t{i}", "netns", self.names[0], "type", "veth")
                run("ip", "link", "add", *near, "peer", "name", f"d{i}", "netns", self.names[1])
                for name, end in zip(self.names, (f"t{i}", f"d{i}"), strict=True):
                    # GRO gives a veth end NAPI, without which native XDP at the other end cannot send to it.
                    run("ip", "netns", "exec", name, "ethtool", "-K", end, "gro", "on", "tx", "off")
                    run("ip", "-n", name, "link", "set", end, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def interfaces(side: str, links: int = 1) -> list[dict[str, object]]:
    return [{"interface": f"{side}{i}"} for i in range(links)]


def load_frames(tester: Probe, *, version: int = 4, size: int | None = None) -> None:
    spec = FrameSpec(size=size or (64 if version == 4 else 84), ip_version=version, flows=16)
    macs = {"src_mac": "02:00:00:00:00:01", "dst_mac": "02:00:00:00:00:02"}
    tester.command("frames", **frames_command(spec, **macs, src_port=20000, dst_port=7, **ENDS[version]))


def generate(tester: Probe, **arguments: object) -> dict[str, object]:
    """A trial of COUNT frames at 20 kpps where nothing else is said."""
    wanted = {"load_pps": 20000, "tag": TAG, **DRAIN, **arguments}
    if "duration_s" not in wanted:
        wanted.setdefault("count", COUNT)
    return tester.command("generate", timeout_s=20, **wanted)


def assert_all_came_back(trial: dict[str, object], count: int = COUNT) -> None:
    assert (trial["intended"], trial["sent"], trial["received"]) == (count, count, count), trial
    assert all(trial[name] == 0 for name in ("duplicates", "reordered", "stale", "foreign", "corrupt")), trial


def drained(sink: Probe, count: int, within_s: float = 2.0) -> dict[str, object]:
    """The sink's counters once it has seen `count` frames, or as they are when the time is up; it is stopped."""
    deadline = time.monotonic() + within_s
    while sink.command("counters")["rx_frames"] < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return sink.command("stop")
