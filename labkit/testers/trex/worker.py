"""TRex's own client, behind JSON lines on standard input and output (the form of `machine.program`).

Runs with the Python of an environment that has lbr-trex-client and nothing of labkit: that package takes over the
modules scapy, yaml and zmq of its process, and ends the process when one of its threads fails.
"""
# ruff: noqa: ANN401 (what the client takes and returns has no types)

from __future__ import annotations

import html
import importlib.abc
import importlib.util
import json
import os
import sys
import time
import traceback
import types
from typing import TYPE_CHECKING, Any

POLL_S = 0.001
"""Between two samples of a counter: a query takes 0.3 ms and is answered by the server's control thread."""
SLACK_S = 0.005
"""A sample of the counters comes up to POLL_S too late, and takes time itself."""

if TYPE_CHECKING:  # Python 3.8 can't evaluate it
    Answer = dict[str, Any]


class Refused(Exception):
    """What the server or the client does not do; `code` is of the probe's protocol."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code, self.hint = code, hint


class TrexConnection:
    """One connection to a server."""

    def __init__(self) -> None:
        self.client: Any = None
        self.ports: list[int] = []
        self.api: Any = None

    # Commands: each takes the fields of its line and returns the answer's `result`.

    def open(self, rpc_port: int, publisher_port: int, ports: list[int], wait_s: float) -> Answer:
        """Connect, and take these ports (numbers). Waits for a server that is still starting."""
        import trex.stl.api as api  # type: ignore[import-not-found]

        self.api = api
        deadline = time.monotonic() + wait_s
        while True:
            self.client = api.STLClient(
                server="127.0.0.1", sync_port=rpc_port, async_port=publisher_port, verbose_level="none"
            )
            try:
                self.client.connect()
                break
            except api.TRexError as error:
                if time.monotonic() > deadline or "version" in str(error).lower():
                    raise
                time.sleep(0.1)
        self.ports = ports
        self.client.acquire(ports, force=False)
        self.client.reset(ports)
        return self.facts()

    def facts(self) -> Answer:
        """Version, driver, cores and mode of the server, and who has its ports."""
        version = self.client.get_server_version()
        system = self.client.get_server_system_info()
        return {
            "version": version.get("version"),
            "mode": version.get("mode"),
            "dp_cores": system.get("dp_core_count"),
            "ports": [
                {
                    "driver": one.get("driver"),
                    "mac": one.get("hw_mac"),
                    "virtual": bool(one.get("is_virtual")),
                    "numa_node": one.get("numa"),
                    "pci": one.get("pci_addr"),
                }
                for one in system["ports"]
            ],
            "owners": [self._status(port).get("owner") for port in self.ports],
            "counters": [self._port_stats(port) for port in range(len(system["ports"]))],
        }

    def trial(
        self,
        streams: list[dict[str, Any]],
        duration_s: float | None,
        burst_limit_s: float,
        expected: int | None,
        drain_quiet_s: float,
        drain_max_s: float,
    ) -> Answer:
        """Send the streams on the first port for a while, or a burst of them (duration_s None); the counters after it.

        A burst that takes longer than `burst_limit_s` is stopped.
        `expected`: frames that the load asks for in that time; None: as many as go. Sending ends when they are sent,
        or when the time is over.
        """
        port, pg_ids = self.ports[0], [stream["pg_id"] for stream in streams]
        self.client.remove_all_streams([port])
        self.client.add_streams([self._stream(one) for one in streams], [port])
        before = [self._port_stats(number) for number in self.ports]
        queue_full = self._queue_full()
        # Seen with v3.08: past its limit the server sends later what was asked for, and counts no loss: it is stopped.
        burst = duration_s is None
        began = time.monotonic()
        self.client.start([port], duration=-1 if burst or expected is None else duration_s, force=True)
        limit_s = burst_limit_s if duration_s is None else duration_s
        deadline = time.monotonic() + limit_s + SLACK_S  # it began before that was answered
        ended, (at, received) = self._until_sent(pg_ids, began, duration_s, deadline, expected)
        stopped = False
        if ended is None:
            self._send_stop(port)
            ended, stopped = time.monotonic(), True
        if not stopped and duration_s is not None:  # the last frame may be under way at the last sample
            time.sleep(max(began + duration_s - time.monotonic(), 0))
        over = max(ended, began + (duration_s or 0.0))
        samples = [(at - over, received), *self._drain(pg_ids, over, drain_quiet_s, drain_max_s)]
        counted = self._counters(pg_ids)
        after = [self._port_stats(number) for number in self.ports]
        self._finish(port)
        return {
            "tx_duration_s": ended - began,
            "stopped": stopped,
            "samples": samples,
            "streams": counted,
            "ports": [
                {name: late.get(name, 0) - before[index].get(name, 0) for name in late}
                for index, late in enumerate(after)
            ],
            "queue_full": self._queue_full() - queue_full,
        }

    # What they are made of.

    def _transmit(self, method: str, **params: Any) -> Any:
        answer = self.client.conn.rpc.transmit(method, params=params)
        if not answer:
            raise Refused("failed", f"{method}: {answer.err()}")
        return answer.data()

    def _status(self, port: int) -> Any:
        return self._transmit("get_port_status", port_id=port)

    def _port_stats(self, port: int) -> dict[str, int]:
        found = self._transmit("get_port_stats", port_id=port)
        return {name: found[name] for name in ("opackets", "ipackets", "oerrors", "ierrors") if name in found}

    def _queue_full(self) -> int:
        return int(self._transmit("get_global_stats").get("m_total_queue_full", 0))

    def _stream(self, one: dict[str, Any]) -> Any:
        api = self.api
        vm = []
        for number, field in enumerate(one["fields"]):
            name, size = f"field{number}", field["bytes"]
            if "values" in field:
                vm.append(api.STLVmFlowVar(name, size=size, op="inc", value_list=field["values"]))
            else:
                last = field["first"] + field["count"] - 1
                vm.append(
                    api.STLVmFlowVar(name, size=size, op="inc", min_value=field["first"], max_value=last)
                )
            vm.append(api.STLVmWrFlowVar(name, pkt_offset=field["offset"]))
        if one["l4_offset"]:
            vm.append(
                api.STLVmFixChecksumHw(
                    l3_offset=one["ip_offset"],
                    l4_offset=one["l4_offset"],
                    l4_type=api.CTRexVmInsFixHwCs.L4_TYPE_TCP
                    if one["tcp"]
                    else api.CTRexVmInsFixHwCs.L4_TYPE_UDP,
                )
            )
        elif one["ip_offset"]:
            vm.append(api.STLVmFixIpv4(offset=one["ip_offset"]))
        packet = api.STLPktBuilder(
            pkt_buffer=bytes.fromhex(one["frame"]), vm=api.STLScVmRaw(vm) if vm else None
        )
        if one["count"] is not None:
            mode = api.STLTXSingleBurst(total_pkts=one["count"], pps=one["rate_pps"])
        else:
            mode = api.STLTXCont(pps=one["rate_pps"])
        return api.STLStream(packet=packet, mode=mode, flow_stats=api.STLFlowLatencyStats(pg_id=one["pg_id"]))

    def _pgid_stats(self, pg_ids: list[int]) -> Any:
        return self._transmit("get_pgid_stats", pgids=pg_ids)

    @staticmethod
    def _sum(found: dict[str, Any], pg_ids: list[int], field: str) -> int:
        flows = found.get("flow_stats") or {}
        return sum(sum((flows.get(str(one)) or {}).get(field, {}).values()) for one in pg_ids)

    def _until_sent(
        self,
        pg_ids: list[int],
        began: float,
        duration_s: float | None,
        deadline: float,
        expected: int | None,
    ) -> tuple[float | None, tuple[float, int]]:
        """The time at which the last frame was sent (None: they were not all sent in time), and the last sample.

        A sample is what had come back by when.
        """
        # Sampled from three quarters of the time on: a sample takes the server's time.
        if duration_s is not None:
            share = 0.75 if expected is not None else 1.0
            time.sleep(max(began + share * duration_s - time.monotonic(), 0))
        while True:
            found = self._pgid_stats(pg_ids)
            now, sample = time.monotonic(), self._sum(found, pg_ids, "rp")
            if expected is None:
                return None, (now, sample)
            if self._sum(found, pg_ids, "tp") >= expected:
                return now, (now, sample)
            if now > deadline:
                return None, (now, sample)
            time.sleep(POLL_S)

    def _send_stop(self, port: int) -> None:
        """Stop sending. The client's own call waits for late frames in steps of 10 ms, and removes the filters."""
        answer = self.client.ports[port].stop()
        if not answer:
            raise Refused("failed", f"stop: {answer.err()}")

    def _drain(self, pg_ids: list[int], over: float, quiet_s: float, max_s: float) -> list[tuple[float, int]]:
        """Wait until nothing has come back for a while: what had come back by when [s after sending]."""
        samples: list[tuple[float, int]] = []
        changed = time.monotonic()
        while True:
            received = self._sum(self._pgid_stats(pg_ids), pg_ids, "rp")
            now = time.monotonic()
            if not samples or received != samples[-1][1]:
                changed = now
            samples.append((now - over, received))
            if now - changed >= quiet_s or now - over >= max_s:
                return samples
            time.sleep(POLL_S)

    def _counters(self, pg_ids: list[int]) -> Answer:
        found = self._pgid_stats(pg_ids)
        latency = found.get("latency") or {}
        return {
            str(one): {
                "sent": self._sum(found, [one], "tp"),
                "received": self._sum(found, [one], "rp"),
                "errors": (latency.get(str(one)) or {}).get("er") or {},
                "hdrh": ((latency.get(str(one)) or {}).get("lat") or {}).get("hdrh"),
            }
            for one in pg_ids
        }

    def _finish(self, port: int) -> None:
        """The server's filters are removed, so that its next trial begins as this one did."""
        self.client.wait_on_traffic([port], timeout=5, rx_delay_ms=0)

    def quit(self) -> Answer:
        """Let go of the ports."""
        if self.client is not None and self.client.is_connected():
            self.client.disconnect()
        return {}


class OldImporters(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules of importers in the form that Python 3.12 no longer knows: the client brings such a one (six)."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of a module that an importer with `find_module` alone has."""
        for one in sys.meta_path:
            old = getattr(one, "find_module", None)
            if old is not None and not hasattr(one, "find_spec") and old(name) is not None:
                return importlib.util.spec_from_loader(name, self, origin=type(one).__name__)
        return None

    def create_module(self, spec: Any) -> Any:
        """As that importer makes it."""
        [one] = [one for one in sys.meta_path if type(one).__name__ == spec.origin]
        return one.load_module(spec.name)  # type: ignore[attr-defined]

    def exec_module(self, module: Any) -> None:
        """It is made already."""


def stand_ins() -> None:
    """What the client imports and newer versions of Python no longer have: imp (3.12) and cgi (3.13)."""
    if sys.version_info < (3, 12):
        return
    sys.meta_path.append(OldImporters())
    old = {"imp": {"reload": importlib.reload}, "cgi": {"escape": html.escape}}
    for name, content in old.items():
        if importlib.util.find_spec(name) is None:
            module = types.ModuleType(name)
            module.__dict__.update(content)
            sys.modules[name] = module


def main() -> None:
    """Answer commands until the input ends."""
    import warnings

    warnings.simplefilter("ignore")
    stand_ins()
    # The client prints; what it prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        import lbr_trex_client  # type: ignore[import-not-found]
        import trex.stl.api
    except Exception as error:  # in a Python that is too new: whatever its old libraries meet there
        sys.exit(f"{type(error).__name__}: {error} (in {sys.prefix})")
    del lbr_trex_client, trex
    worker = TrexConnection()
    for line in sys.stdin:
        given = json.loads(line)
        name, number = given.pop("cmd"), given.pop("id")
        try:
            result = getattr(worker, name)(**given)
            answer = {"id": number, "ok": True, "result": result}
        except Refused as error:
            answer = _error(number, error.code, error, error.hint)
        except Exception as error:
            if type(error).__name__ not in (
                "TRexError",
                "TRexTimeoutError",
                "TRexArgumentError",
                "TRexTypeError",
            ):
                traceback.print_exc()
            answer = _error(number, "failed", error)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if name == "quit":
            break
    # Its threads would keep the process.
    os._exit(0)


def _error(number: int, code: str, error: Exception, hint: str | None = None) -> Answer:
    return {"id": number, "ok": False, "error": {"code": code, "message": str(error), "hint": hint}}


if __name__ == "__main__":
    main()
