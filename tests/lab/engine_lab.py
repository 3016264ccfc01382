"""What the engines' tests share: a veth pair in two namespaces of its own, and probes at its ends."""

from __future__ import annotations

import json
import os
import secrets
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TAG = 7
TESTER, DUT = "198.18.0.1", "198.18.0.2"
SIGNATURE_OFFSET = 42


class Refused(Exception):
    """The probe answered `ok: false`."""

    def __init__(self, error: dict[str, str]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code, self.message = error["code"], error["message"]


class Pipe:
    """A probe, spoken to as its protocol says; `call` raises Refused."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._id = 0

    def send(self, cmd: str, **arguments: object) -> int:
        self._id += 1
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": self._id, "cmd": cmd, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._id

    def answer(self, ident: int) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise AssertionError(f"the probe ended: {self.process.wait()}\n{self.process.stderr.read()[-3000:]}")
        reply: dict[str, Any] = json.loads(line)
        assert reply["id"] == ident, reply
        if not reply["ok"]:
            raise Refused(reply["error"])
        result: dict[str, Any] = reply["result"]
        return result

    def call(self, cmd: str, **arguments: object) -> dict[str, Any]:
        return self.answer(self.send(cmd, **arguments))

    def close(self) -> None:
        """Ask it to go and see that it went well; every pipe is closed."""
        try:
            self.process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise


@contextmanager
def pipe(argv: Sequence[str]) -> Iterator[Pipe]:
    opened = Pipe(argv)
    try:
        yield opened
    finally:
        opened.close()


def frame(*, udp_source: int = 4096, frame_size_bytes: int = 64) -> dict[str, object]:
    """A template: UDP over IPv4, no UDP checksum."""
    payload = frame_size_bytes - 4 - 42
    udp = struct.pack("!HHHH", udp_source, 7, 8 + payload, 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + payload, 0, 0, 64, 17, 0)
    addresses = bytes(map(int, TESTER.split("."))) + bytes(map(int, DUT.split(".")))
    total = sum(struct.unpack("!10H", head + addresses))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF)
    data = bytes.fromhex("020000000002020000000001") + b"\x08\x00" + head + addresses + udp + bytes(payload)
    return {"data": data.hex(), "signature_offset": 42, "udp_checksum_offset": -1, "ip_version": 4}


def load_frames(tester: Pipe, *, frame_size_bytes: int = 64) -> None:
    template = frame(frame_size_bytes=frame_size_bytes)
    tester.call("frames", templates=[template], order=[0], flows=16, flow_offset=34)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True)


class VethLab:
    """Links `t0`..`tN` in the tester's namespace to `d0`..`dN` in the DUT's. Nothing but test traffic on them."""

    def __init__(self, links: int) -> None:
        token = secrets.token_hex(3)
        self.tester, self.dut = f"lk-t-{token}", f"lk-d-{token}"
        self.links = links

    def __enter__(self) -> VethLab:
        try:
            for name in (self.tester, self.dut):
                _run("ip", "netns", "add", name)
                _run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
                _run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
            for i in range(self.links):
                ends = (f"t{i}", "netns", self.tester, "type", "veth", "peer", "name", f"d{i}", "netns", self.dut)
                _run("ip", "link", "add", *ends)
                for name, end in ((self.tester, f"t{i}"), (self.dut, f"d{i}")):
                    _run("ip", "-n", name, "link", "set", end, "up")
                    # GRO at a veth end gives it NAPI, which native XDP at the other end needs to send to it.
                    _run("ip", "netns", "exec", name, "ethtool", "-K", end, "gro", "on", "tx", "off")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for name in (self.tester, self.dut):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def probe(self, namespace: str, engine: str, prefix: Sequence[str] = ()) -> list[str]:
        return ["ip", "netns", "exec", namespace, *prefix, str(executable(engine))]


def executable(engine: str) -> Path:
    """Where the probe of an engine was built."""
    from labkit.probe import build

    return build.executable(engine)


def cores() -> tuple[int, int]:
    """One core for the tester and one for the DUT (the same when there is only one)."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]
