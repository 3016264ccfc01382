"""A server that speaks TRex's protocol (JSON-RPC over ZMQ), and lets it go wrong on request.

`install(folder, ...)` makes a directory that labkit takes for TRex's: its `_t-rex-64` is this file. What TRex would
count is calculated from the streams and the clock; with `sends` the frames really go out and are counted when they
come back. Stands where a real TRex can't be downloaded; the tests marked `trex` run against one.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import sys
import time
import zlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

MAGIC = 0xABE85CEA
MARK = b"labkit's"
"""Before the time in a frame."""
NEWEST_API = (5, 1)
DEFAULT_PROFILE = "_"
STARTED, STOPPED, JOB_DONE, ACQUIRED, RELEASED = 0, 1, 4, 5, 6
PROFILE_STARTED, PROFILE_STOPPED, PROFILE_FINISHED = 10, 11, 14


@dataclass(frozen=True)
class Behaviour:
    """What the server and the DUT behind it do. All counts are exact."""

    sends: bool = False
    """Frames really leave by packet sockets, a few thousand a second; else all is calculated."""
    limit_pps: float = 1e6
    """The server sends no faster: what is asked for beyond is sent later, as TRex does."""
    drop_one_in: int = 0
    """The DUT loses every n-th frame."""
    duplicates: int = 0
    reordered: int = 0
    ring_drops: int = 0
    """Frames lost in the ring of the receiving port, in every trial."""
    queue_full: int = 0
    short_by: int = 0
    """The server says that it is done, but has sent so many frames less."""
    others_sent: int = 0
    """Frames that another user sends through the port, in every trial."""
    round_trip_us: int = 500
    no_latency: bool = False
    """Some NICs: no time is recorded."""
    dies_after_s: float | None = None
    """In a trial: the process is gone."""
    hangs_after_s: float | None = None
    """In a trial: nothing is answered any more."""
    stolen_after_s: float | None = None
    """In a trial: another user forces the port."""
    listens: str = "127.0.0.1"
    """TRex itself listens at all addresses."""
    version: str = "v3.08"
    api: tuple[int, int] = NEWEST_API
    refuses_streams: str = ""
    """What it answers to new streams."""
    skips_an_event: bool = False
    """In a trial: the client takes that for a fault of its own, and ends its process."""
    fails_to_start: str = ""
    """What it prints before it ends with 1."""


@dataclass
class Run:
    """Streams that are being sent, or were."""

    streams: list[dict[str, Any]]
    began: float
    duration_s: float
    """Negative: until it is stopped."""
    ended: float | None = None
    wire: Wire | None = None
    """What really sends it."""

    def rate_pps(self, limit_pps: float) -> float:
        """Of all streams together."""
        return min(sum(float(one["mode"]["rate"]["value"]) for one in self.streams), limit_pps)

    def total(self) -> int | None:
        """Frames that will have been sent at the end; None: there is no end."""
        if all(one["mode"]["type"] == "single_burst" for one in self.streams):
            return sum(int(one["mode"]["total_pkts"]) for one in self.streams)
        if self.duration_s < 0:
            return None
        return round(sum(float(one["mode"]["rate"]["value"]) for one in self.streams) * self.duration_s)

    def sent(self, now: float, limit_pps: float) -> int:
        """Frames sent until then."""
        if self.wire is not None:
            return self.wire.sent
        until = min(now, self.ended) if self.ended is not None else now
        sent = int((until - self.began) * self.rate_pps(limit_pps))
        total = self.total()
        return sent if total is None else min(sent, total)


class Wire:
    """A run's frames on packet sockets: sent in their turn, found again by the time in their last bytes."""

    def __init__(self, streams: list[dict[str, Any]], out: str, back: str) -> None:
        self.frames = [base64.b64decode(one["packet"]["binary"]) for one in streams]
        self.sent = self.received = 0
        self.times_us: dict[int, int] = {}
        self._out, self._back = (self._open(name) for name in (out, back))

    @staticmethod
    def _open(name: str) -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        opened.bind((name, 0))
        opened.setblocking(False)
        return opened

    def send(self, due: int) -> None:
        """Send those that are due, a batch of them at most."""
        for _ in range(min(due - self.sent, 32)):
            frame = self.frames[self.sent % len(self.frames)]
            try:
                self._out.send(frame[: -len(MARK) - 8] + MARK + struct.pack("!Q", time.monotonic_ns()))
            except BlockingIOError:
                return
            self.sent += 1

    def receive(self) -> None:
        """Count what came back, not what left."""
        for _ in range(256):
            try:
                frame, address = self._back.recvfrom(65535)
            except BlockingIOError:
                return
            if address[2] == socket.PACKET_OUTGOING or frame[-len(MARK) - 8 : -8] != MARK:
                continue
            passed_us = (time.monotonic_ns() - struct.unpack("!Q", frame[-8:])[0]) // 1000
            self.times_us[passed_us] = self.times_us.get(passed_us, 0) + 1
            self.received += 1

    def close(self) -> None:
        for one in (self._out, self._back):
            one.close()


@dataclass
class Port:
    """One port of the server."""

    owner: str = ""
    handler: str = ""
    session: int = 0
    streams: dict[int, dict[str, Any]] = field(default_factory=dict)
    run: Run | None = None
    sent_before: int = 0
    """In runs that are over."""


class Refusal(Exception):
    """Answered as an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Server:
    """The state, and a method for each of the protocol's."""

    def __init__(self, behaviour: Behaviour, names: list[str]) -> None:
        self.behaviour = behaviour
        self.names = names
        self.ports = [Port() for _ in names]
        self.events: list[dict[str, Any]] = []
        self.sequence = 0
        self.doorbell = False
        self.trials = 0

    def event(self, kind: int, **data: object) -> None:
        self.events.append({"name": "trex-event", "type": kind, "data": data, "seq": self.sequence})
        self.sequence += 1
        self.doorbell = True

    # Time passes.

    def tick(self, now: float) -> None:
        behaviour = self.behaviour
        for number, port in enumerate(self.ports):
            run = port.run
            if run is not None and run.wire is not None:
                run.wire.receive()
            if run is None or run.ended is not None:
                continue
            if run.wire is not None:
                due = int((now - run.began) * run.rate_pps(behaviour.limit_pps))
                total = run.total()
                run.wire.send(due if total is None else min(due, total))
            passed = now - run.began
            if behaviour.dies_after_s is not None and passed > behaviour.dies_after_s:
                os._exit(3)
            if behaviour.hangs_after_s is not None and passed > behaviour.hangs_after_s:
                time.sleep(3600)
            if (
                behaviour.stolen_after_s is not None
                and passed > behaviour.stolen_after_s
                and port.handler != "?"
            ):
                port.owner, port.handler = "somebody", "?"
                self.event(ACQUIRED, port_id=number, who="somebody", session_id=1, force=True)
            total = run.total()
            if total is not None and run.sent(now, behaviour.limit_pps) >= total - behaviour.short_by:
                run.ended = now
                self.event(PROFILE_FINISHED, port_id=number, profile_id=DEFAULT_PROFILE)
                self.event(JOB_DONE, port_id=number)

    def counted(self, port: Port) -> tuple[int, int]:
        """Sent and received in its last run."""
        run, behaviour = port.run, self.behaviour
        if run is None:
            return 0, 0
        if run.wire is not None:
            return run.wire.sent, run.wire.received
        sent = run.sent(time.monotonic(), behaviour.limit_pps)
        total = run.total()
        if total is not None:
            sent = min(sent, total - behaviour.short_by)
        received = sent - (sent // behaviour.drop_one_in if behaviour.drop_one_in else 0)
        received = max(received - behaviour.ring_drops, 0)
        return sent, received + behaviour.duplicates

    def _owned(self, params: dict[str, Any]) -> Port:
        port = self.ports[params["port_id"]]
        if params.get("handler") != port.handler or not port.handler:
            raise Refusal(
                -32000, "port is already taken by 'somebody'" if port.owner else "please acquire the port"
            )
        return port

    # The protocol.

    def api_sync_v2(self, params: dict[str, Any]) -> object:
        if params["name"] != "STL":
            raise Refusal(-32000, "RPC configuration mismatch - server RPC configuration: 'STL'")
        if params["major"] != self.behaviour.api[0] or params["minor"] > self.behaviour.api[1]:
            raise Refusal(-32000, "RPC version mismatch: a newer client version is required")
        return {"api_h": "labkit"}

    def publish_now(self, _: dict[str, Any]) -> object:
        self.doorbell = True
        return {}

    def get_async_events(self, _: dict[str, Any]) -> object:
        found, self.events = self.events, []
        return {"data": found}

    def get_version(self, _: dict[str, Any]) -> object:
        return {
            "version": self.behaviour.version,
            "mode": "STL",
            "build_date": "",
            "build_time": "",
            "built_by": "",
        }

    def get_system_info(self, _: dict[str, Any]) -> object:
        ports = [
            {
                "index": number,
                "driver": "net_af_packet",
                "description": "labkit's own server",
                "hw_mac": f"02:00:00:00:00:{number:02x}",
                "is_virtual": True,
                "numa": -1,
                "pci_addr": "N/A",
                "rx": {"caps": ["flow_stats", "latency", "rx_bytes"], "counters": 1023},
                "stack": "legacy",
                "supp_speeds": [],
                "cores": [0],
                "is_prom_supported": True,
                **dict.fromkeys(
                    (
                        "is_fc_supported",
                        "is_ieee1588_supported",
                        "is_led_supported",
                        "is_link_supported",
                        "is_vxlan_supported",
                    ),
                    False,
                ),
            }
            for number in range(len(self.names))
        ]
        return {
            "port_count": len(ports),
            "ports": ports,
            "dp_core_count": 1,
            "dp_core_count_per_port": 1,
            "core_type": "none",
            "hostname": "labkit",
            "uptime": "",
            "is_multiqueue_mode": False,
            "advanced_per_stream_stats": True,
        }

    def get_supported_cmds(self, _: dict[str, Any]) -> object:
        return ["get_profile_list", *sorted(name for name in dir(self) if not name.startswith("_"))]

    def get_port_xstats_names(self, _: dict[str, Any]) -> object:
        return {"xstats_names": ["rx_missed_errors"]}

    def get_port_xstats_values(self, _: dict[str, Any]) -> object:
        return {"xstats_values": [0]}

    def get_port_status(self, params: dict[str, Any]) -> object:
        port = self.ports[params["port_id"]]
        busy = port.run is not None and port.run.ended is None
        state = "TX" if busy else "STREAMS" if port.streams else "IDLE"
        return {
            "attr": {
                "fc": {"mode": -1},
                "layer_cfg": {
                    "ether": {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01", "state": "configured"},
                    "ipv4": {"state": "none"},
                    "ipv6": {"enabled": False},
                },
                "link": {"up": True},
                "multicast": {"enabled": False},
                "promiscuous": {"enabled": False},
                "rx_filter_mode": "hw",
                "speed": 10.0,
                "vlan": {"tags": []},
                "vxlan_fs": [],
            },
            "max_stream_id": 0,
            "owner": port.owner,
            "profile_count": 1,
            "rx_info": {
                name: {"is_active": False}
                for name in ("capture_port", "capwap_proxy", "grat_arp", "latency", "queue", "stack")
            },
            "service": False,
            "service_filtered": False,
            "state": state,
            "state_profile": {DEFAULT_PROFILE: state},
        }

    def get_global_stats(self, _: dict[str, Any]) -> object:
        return {
            "m_total_queue_full": self.behaviour.queue_full * self.trials,
            **dict.fromkeys(
                ("m_cpu_util", "m_tx_pps", "m_rx_pps", "m_tx_bps", "m_rx_bps", "m_rx_drop_bps"), 0.0
            ),
        }

    def get_port_stats(self, params: dict[str, Any]) -> object:
        number = params["port_id"]
        own, other = self.ports[number], self.ports[number ^ 1]
        sent, _ = self.counted(own)
        received = self.counted(other)[1]
        alone = self.names[number ^ 1] == "dummy"  # one port: it sends and receives
        received = self.counted(own)[1] if alone else received
        extra = self.behaviour.others_sent * self.trials if own.handler else 0
        drops = self.behaviour.ring_drops * self.trials
        return {
            "opackets": own.sent_before + sent + extra,
            "ipackets": received,
            "oerrors": 0,
            "ierrors": drops if alone or number else 0,
            **dict.fromkeys(("obytes", "ibytes", "m_cpu_util", "m_total_tx_bps", "m_total_rx_bps"), 0),
            **dict.fromkeys(("m_total_tx_pps", "m_total_rx_pps"), 0),
        }

    def get_active_pgids(self, _: dict[str, Any]) -> object:
        found = [one["flow_stats"]["stream_id"] for port in self.ports for one in port.streams.values()]
        return {"ids": {"flow_stats": [], "latency": found}}

    def get_pgid_stats(self, params: dict[str, Any]) -> object:
        flows: dict[str, Any] = {}
        latency: dict[str, Any] = {"g": None}
        for number, port in enumerate(self.ports):
            ids = [int(one["flow_stats"]["stream_id"]) for one in port.streams.values()]
            if port.run is None or not set(ids) & set(params["pgids"]):
                continue
            sent, received = self.counted(port)
            rates = [float(one["mode"]["rate"]["value"]) for one in port.streams.values()]
            given = [0, 0]
            for index, one in enumerate(ids):
                parts = [
                    whole - given[at] if index == len(ids) - 1 else round(whole * rates[index] / sum(rates))
                    for at, whole in enumerate((sent, received))
                ]
                given = [before + part for before, part in zip(given, parts, strict=True)]
                back = number if self.names[number ^ 1] == "dummy" else number ^ 1
                flows[str(one)] = {
                    "tp": {str(number): parts[0], str(number ^ 1): 0},
                    "rp": {str(back): parts[1], str(back ^ 1): 0},
                    **{name: {"0": 0, "1": 0} for name in ("tb", "rb", "tps", "rps", "tbs", "rbs")},
                }
                latency[str(one)] = self._latency(parts[1], first=index == 0)
                if port.run.wire is not None and index == 0:
                    latency[str(one)]["lat"]["hdrh"] = histogram(port.run.wire.times_us)
        if not flows:
            return {"flow_stats": None, "latency": {"g": None}, "ver_id": None}
        return {"flow_stats": flows, "latency": latency, "ver_id": dict.fromkeys(flows, self.trials)}

    def _latency(self, count: int, *, first: bool) -> dict[str, Any]:
        behaviour = self.behaviour
        times = {"average": 0.0, "jit": 0, "last_max": 0, "total_max": 0, "total_min": 0, "histogram": {}}
        if not behaviour.no_latency:
            times["hdrh"] = histogram({behaviour.round_trip_us: count})
        errors = {"dup": behaviour.duplicates, "ooo": behaviour.reordered, "drp": 0, "sth": 0, "stl": 0}
        return {"lat": times, **({"er": errors} if first and any(errors.values()) else {})}

    def get_tpg_status(self, _: dict[str, Any]) -> object:
        return {
            "data": {"acquired_ports": [], "num_tags": 0, "num_tpgids": 0, "rx_ports": [], "username": "-"},
            "enabled": False,
        }

    def acquire(self, params: dict[str, Any]) -> object:
        port = self.ports[params["port_id"]]
        if port.owner and not params["force"] and port.session != params["session_id"]:
            raise Refusal(-32000, f"port is already taken by '{port.owner}'")
        port.owner, port.session = params["user"], params["session_id"]
        port.handler = f"handler-{params['port_id']}"
        self.event(
            ACQUIRED,
            port_id=params["port_id"],
            who=params["user"],
            session_id=params["session_id"],
            force=params["force"],
        )
        return port.handler

    def release(self, params: dict[str, Any]) -> object:
        port = self._owned(params)
        self.event(RELEASED, port_id=params["port_id"], who=port.owner, session_id=port.session)
        port.owner = port.handler = ""
        return {}

    def get_all_streams(self, _: dict[str, Any]) -> object:
        return {"profiles": {}}

    def _nothing(self, _: dict[str, Any]) -> object:
        return {}

    set_port_attr = set_rx_feature = service = remove_rx_filters = _nothing

    def capture(self, _: dict[str, Any]) -> object:
        return []

    def ping(self, _: dict[str, Any]) -> object:
        return {"ts": time.monotonic()}

    def remove_all_streams(self, params: dict[str, Any]) -> object:
        port = self._owned(params)
        if port.run is not None:
            port.sent_before += self.counted(port)[0]
            if port.run.wire is not None:
                port.run.wire.close()
        port.run = None
        port.streams.clear()
        return {}

    def add_stream(self, params: dict[str, Any]) -> object:
        port = self._owned(params)
        if self.behaviour.refuses_streams:
            raise Refusal(-32000, self.behaviour.refuses_streams)
        port.streams[params["stream_id"]] = params["stream"]
        return {}

    def start_traffic(self, params: dict[str, Any]) -> object:
        port = self._owned(params)
        number, streams = params["port_id"], list(port.streams.values())
        port.run = Run(streams, time.monotonic(), float(params["duration"]))
        if self.behaviour.sends:
            back = number if self.names[number ^ 1] == "dummy" else number ^ 1
            port.run.wire = Wire(streams, interface(self.names[number]), interface(self.names[back]))
        self.trials += 1
        self.event(PROFILE_STARTED, port_id=params["port_id"], profile_id=DEFAULT_PROFILE)
        self.event(STARTED, port_id=params["port_id"])
        self.sequence += self.behaviour.skips_an_event
        return {"multiplier": 1.0, "ts": time.monotonic()}

    def stop_traffic(self, params: dict[str, Any]) -> object:
        port = self._owned(params)
        if port.run is not None and port.run.ended is None:
            port.run.ended = time.monotonic()
            self.event(PROFILE_STOPPED, port_id=params["port_id"], profile_id=DEFAULT_PROFILE)
            self.event(STOPPED, port_id=params["port_id"])
        return {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request's answer."""
        head = {"jsonrpc": "2.0", "id": request.get("id")}
        method = getattr(self, str(request["method"]), None)
        if method is None or str(request["method"]).startswith("_"):
            return {**head, "error": {"code": -32601, "message": "Method not found"}}
        try:
            return {**head, "result": method(request.get("params") or {})}
        except Refusal as error:
            return {**head, "error": {"code": error.code, "message": "failed", "specific_err": str(error)}}


def interface(name: str) -> str:
    """The interface of a port, by its entry in the configuration."""
    return name.partition("iface=")[2].partition(",")[0]


def histogram(counts_us: dict[int, int]) -> str:
    """TRex's: microseconds, 1 to 10 000 000, 3 digits, base64 of the compressed HdrHistogram V2 encoding."""
    from hdrh.histogram import HdrHistogram

    made = HdrHistogram(1, 10_000_000, 3)
    for value_us, count in counts_us.items():
        if count:
            made.record_value(min(value_us, 10_000_000), count)
    encoded: bytes = made.encode()
    return encoded.decode()


def exchange(server: Server, raw: bytes) -> bytes:
    """A message's answer, in its own form: compressed or plain, one request or several."""
    packed = len(raw) >= 8 and struct.unpack(">I", raw[:4])[0] == MAGIC
    text = zlib.decompress(raw[8:]) if packed else raw
    try:
        request = json.loads(text)
    except ValueError:
        answer: Any = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Bad JSON Format"}}
    else:
        answer = (
            [server.answer(one) for one in request] if isinstance(request, list) else server.answer(request)
        )
        if isinstance(answer, list) and len(answer) == 1:
            answer = answer[0]  # as TRex does
    body = json.dumps(answer).encode()
    return struct.pack(">II", MAGIC, len(body)) + zlib.compress(body) if packed else body


def serve(arguments: list[str]) -> int:
    """What `_t-rex-64 -i --cfg FILE ...` does."""
    import yaml
    import zmq

    known = {one.name for one in fields(Behaviour)}
    given = json.loads(Path("behaviour.json").read_text())
    behaviour = Behaviour(
        **{name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if name in known}
    )
    if behaviour.fails_to_start:
        print(behaviour.fails_to_start, flush=True)
        return 1
    [settings] = yaml.safe_load(Path(arguments[arguments.index("--cfg") + 1]).read_text())
    names = settings["interfaces"]
    if len(names) % 2:
        print(f"Number of ports in config file is {len(names)}. It should be even.", flush=True)
        return 1
    server = Server(behaviour, names)
    with zmq.Context() as context, context.socket(zmq.REP) as rpc, context.socket(zmq.PUB) as publisher:
        rpc.bind(f"tcp://{behaviour.listens}:{settings.get('zmq_rpc_port', 4501)}")
        publisher.bind(f"tcp://{behaviour.listens}:{settings.get('zmq_pub_port', 4500)}")
        print(f"Starting  TRex {behaviour.version} please wait  ... \nzmq publisher at: tcp://*", flush=True)
        rang = 0.0
        while True:
            busy = any(port.run is not None and port.run.wire is not None for port in server.ports)
            if rpc.poll(0 if busy else 2):
                raw = rpc.recv()
                server.tick(time.monotonic())
                rpc.send(exchange(server, raw))
            now = time.monotonic()
            server.tick(now)
            if server.doorbell or now - rang > 0.5:
                publisher.send(b"{}")
                server.doorbell, rang = False, now


def install(folder: Path, behaviour: Behaviour = Behaviour()) -> Path:
    """Make it a directory that labkit takes for TRex's; change what it does by calling this again."""
    (folder / "so").mkdir(parents=True, exist_ok=True)
    (folder / "behaviour.json").write_text(json.dumps(asdict(behaviour)))
    root = Path(__file__).parents[1]
    program = folder / "_t-rex-64"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        "from tests.trex_server import serve\nsys.exit(serve(sys.argv))\n"
    )
    program.chmod(0o755)
    return folder
