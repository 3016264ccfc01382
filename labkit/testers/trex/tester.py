"""TRex as a tester: a server on the tester's ports, its client in a worker, and trials that are checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from labkit.errors import LabkitBug
from labkit.lab.live import Lab
from labkit.machine.hosts import Host, NamespaceHost
from labkit.machine.program import Program
from labkit.measure.trial import TrialResult
from labkit.testers.base import SOFTWARE_DRAIN, DrainTime, frames_for
from labkit.testers.frames import FrameSpec, most_tags
from labkit.testers.trex import environment
from labkit.testers.trex.answer import trial_from_counters
from labkit.testers.trex.hosted import HostedServer, on_its_machine
from labkit.testers.trex.server import TrexServer, directory
from labkit.testers.trex.streams import as_json, streams

ENGINE = "trex"
OPEN_TIMEOUT_S = 30.0
SHORTEST_TRIAL_S = 0.5
"""The client sees the end of a trial some 5 ms too late, which is 1 % of this."""
LATE_AT_LEAST_MS = 2.0
"""The receiver sleeps between its turns in low-end mode."""
BURST_LIMIT_S = 60.0
TRIED = ("v3.08",)
"""Versions of the server that labkit was run with."""
NOTE = (
    "TRex's round trips begin when it sent a frame, not when that was due, are rounded up to whole microseconds, and "
    "have its own receiver's sleep in them; it does not report when it stood still, and calls a late duplicate out of "
    f"order, so such frames don't count as received; its trials take {SHORTEST_TRIAL_S:g} s at least"
)


class TrexTester:
    """A server with its client, which stay up between trials."""

    def __init__(
        self, server: TrexServer | HostedServer, client: Program, lab: Lab, drain: DrainTime
    ) -> None:
        self.engine = ENGINE
        self.has_floor = True
        self.shortest_trial_s = SHORTEST_TRIAL_S
        self._server = server
        self._client = client
        self._lab = lab
        self._drain = drain
        self._command: Mapping[str, object] = {}
        self._others: Callable[[], None] = lambda: None
        client.watch = self._check
        self._opened = client.command(
            "open",
            timeout_s=OPEN_TIMEOUT_S + 5,
            rpc_port=server.rpc_port,
            publisher_port=server.publisher_port,
            ports=list(range(len(lab.tester_ports))),
            wait_s=OPEN_TIMEOUT_S,
        )

    def _check(self) -> None:
        self._server.check_alive()
        self._others()

    def set_frames(self, spec: FrameSpec, *, own_mac: bool) -> None:
        """See Tester."""
        self._command = frames_for(self._lab, spec, own_mac=own_mac)

    def watch(self, others: Callable[[], None]) -> None:
        """See Tester."""
        self._others = others

    def _trial(
        self,
        *,
        load_pps: float | None,
        duration_s: float | None,
        count: int | None = None,
        late_ms: float | None = None,
        returns: bool = True,
    ) -> TrialResult:
        expected = count
        if duration_s is not None and load_pps is not None:
            expected = round(load_pps * duration_s)
        began = time.monotonic()
        answer = self._client.command(
            "trial",
            timeout_s=(duration_s if duration_s is not None else BURST_LIMIT_S)
            + self._drain.max_ms / 1e3
            + 15,
            streams=as_json(streams(self._command, load_pps=load_pps, count=count)),
            duration_s=duration_s,
            burst_limit_s=BURST_LIMIT_S,
            expected=expected,
            drain_quiet_s=self._drain.quiet_ms / 1e3,
            drain_max_s=self._drain.max_ms / 1e3,
        )
        return trial_from_counters(
            answer,
            load_pps=load_pps,
            duration_s=duration_s or 0.0,
            intended=expected,
            late_s=None if late_ms is None else late_ms / 1e3,
            overhead_s=time.monotonic() - began - (duration_s or 0.0),
            returns=returns,
        )

    def measure(self, *, load_pps: float | None, duration_s: float, verify: bool = False) -> TrialResult:
        """One trial, open loop, of SHORTEST_TRIAL_S at least."""
        duration_s = max(duration_s, SHORTEST_TRIAL_S)
        late_ms = self._drain.late_ms(duration_s, at_least_ms=LATE_AT_LEAST_MS)
        return self._trial(load_pps=load_pps, duration_s=duration_s, late_ms=late_ms)

    def count_above(self, limit_us: float | None) -> None:
        """TRex does not say in which order its frames came back."""

    def measure_burst(self, count: int) -> TrialResult:
        """See Tester."""
        return self._trial(load_pps=None, duration_s=None, count=count)

    def measure_one_way(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """See Tester."""
        return self._trial(load_pps=load_pps, duration_s=max(duration_s, SHORTEST_TRIAL_S), returns=False)

    def counted(self, sink: Mapping[str, Any]) -> int:
        """All frames that came: TRex's have no tag of labkit's."""
        return int(sink["rx_frames"])

    @property
    def next_tag(self) -> int:
        """TRex's frames have none; a sink wants one."""
        return 1

    @property
    def worker_tid(self) -> int:
        """The server's thread that sends."""
        return self._server.worker_tid

    def proof(self) -> Mapping[str, object]:
        """Version, drivers, mode, owners and counters, as the server answers now."""
        return self._client.command("facts")

    def describe(self) -> Mapping[str, object]:
        """See Tester."""
        return {
            "engine": self.engine,
            "version": self._opened["version"],
            "core": self._lab.cores.tester,
            "configured": self._server.mode,
            "rtt_from": "when TRex sent the frame",
            "reports_stalls": False,
            "engine_note": "; ".join(self._notes),
            "proof": self.proof(),
        }

    @property
    def _notes(self) -> list[str]:
        """What a reader must know of its figures."""
        version, tags = self._opened["version"], most_tags(self._lab.topology.traffic)
        return [
            NOTE,
            *(["it does not look whether a frame came back with its VLAN tags"] if tags else []),
            *(
                []
                if version in TRIED
                else [f"TRex {version} was not tried with labkit, {', '.join(TRIED)} was"]
            ),
        ]

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """The rings of its ports: what is lost in them is TRex's own loss, not the DUT's."""
        facts = self._client.command("facts")
        return {
            f"trex port {number}": {
                "rx_packets": int(counted["ipackets"]),
                "tx_packets": int(counted["opackets"]),
                "rx_missed_errors": int(counted["ierrors"]),
            }
            for number, counted in enumerate(facts["counters"])
        }


@contextmanager
def generating(lab: Lab, trex_dir: str | None, *, drain: DrainTime = SOFTWARE_DRAIN) -> Iterator[TrexTester]:
    """Start server and client on the lab's tester ports. Raises ConfigInvalid, EnvironmentBroken or ToolFailed.

    In a lab on NICs the server is the one that the role trex has installed on the tester's machine; else it is
    `trex_dir`'s.
    """
    host = lab.tester_ports[0].host
    with ExitStack() as stack:
        if lab.machines:
            hosted = stack.enter_context(on_its_machine(lab))
            client = stack.enter_context(_client(host, hosted.client))
            yield TrexTester(hosted, client, lab, drain)
            return
        if not isinstance(host, NamespaceHost):
            raise LabkitBug(f"TRex runs in a namespace of a lab, not on {host.name}")
        found, python = directory(trex_dir), environment.client_python()
        server = stack.enter_context(TrexServer(found, host, lab.tester_ports, core=lab.cores.tester))
        client = stack.enter_context(_client(host, [python, "-I", str(environment.WORKER)]))
        yield TrexTester(server, client, lab, drain)


def _client(host: Host, command: Sequence[str]) -> Program:
    return Program(host, command, called="the TRex client", cleans_up=False)
