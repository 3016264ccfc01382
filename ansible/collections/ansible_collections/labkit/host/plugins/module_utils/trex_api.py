"""Asks a TRex server: `trex_api.py wait | version | reach [--configuration FILE] [--timeout SECONDS]`.

Installed on hosts as it is, for the unit of TRex servers and for host checks: it needs the standard library alone.
TRex speaks JSON-RPC over ZeroMQ. One request takes so little of ZeroMQ's protocol (ZMTP 3.0 without security: a
greeting of 64 bytes, a READY command, one frame) that no package has to be installed for it: Debian's Python has no
zmq, EL has none in its own repositories.

wait: until it answers, or the process MAINPID of the environment is gone. version: what get_version answers, as JSON.
reach: whether others than this host's loopback reach it; prints the addresses that it was reached at.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RPC_PORT, PUBLISHER_PORT = 4501, 4500
_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""Signature, version 3.0, mechanism, and that we are no server."""
_MORE, _LONG, _COMMAND = 1, 2, 4
_MOST_BYTES = 1 << 20
_REACH_S = 1.0
"""Time for a connection to the host itself; a filter makes it wait for ever."""


class NoAnswer(Exception):
    """The server did not answer, or not as TRex does; says what came."""


def ask(method: str, *, port: int = RPC_PORT, timeout_s: float = 5.0) -> Any:  # noqa: ANN401 (any JSON)
    """The result of one method without parameters. Raises NoAnswer."""
    deadline = time.monotonic() + timeout_s
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            stream = _Stream(connection, deadline)
            stream.greet()
            stream.send(0, b"", more=True)  # a REQ socket begins with an empty frame
            stream.send(0, json.dumps(request).encode())
            answer = json.loads(stream.message())
    except (OSError, ValueError) as error:
        raise NoAnswer(f"127.0.0.1:{port}: {error}") from error
    if not isinstance(answer, dict) or "result" not in answer:
        raise NoAnswer(f"127.0.0.1:{port}: {method} was answered by {str(answer)[:300]}")
    return answer["result"]


class _Stream:
    """One connection that speaks ZMTP. Raises OSError and ValueError."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def greet(self) -> None:
        self._connection.sendall(_GREETING)
        greeting = self._read(64)
        if greeting[0] != 0xFF or greeting[9] != 0x7F or greeting[10] < 3:
            raise ValueError(f"expected the greeting of ZMTP 3, found {greeting[:12]!r}")
        if not greeting[12:32].startswith(b"NULL\0"):
            raise ValueError(f"expected the mechanism NULL, found {greeting[12:32]!r}")
        kind = b"REQ"
        ready = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
        self.send(_COMMAND, ready)
        flags, body = self._frame()
        if not flags & _COMMAND or not body.startswith(b"\x05READY"):
            raise ValueError(f"expected READY, found {body[:80]!r}")

    def send(self, flags: int, body: bytes, *, more: bool = False) -> None:
        flags |= _MORE if more else 0
        size = struct.pack(">B", len(body)) if len(body) < 256 else struct.pack(">Q", len(body))
        flags |= _LONG if len(size) > 1 else 0
        self._connection.sendall(struct.pack(">B", flags) + size + body)

    def message(self) -> bytes:
        """The last frame of the next message: before it is the empty one."""
        while True:
            flags, body = self._frame()
            if not flags & (_COMMAND | _MORE):
                return body

    def _frame(self) -> tuple[int, bytes]:
        flags = self._read(1)[0]
        (size,) = struct.unpack(">Q", self._read(8)) if flags & _LONG else self._read(1)
        if size > _MOST_BYTES:
            raise ValueError(f"expected an answer of at most {_MOST_BYTES} bytes, found {size}")
        return flags, self._read(size)

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise socket.timeout("no answer in time")  # noqa: UP041 (Python 3.9 has two of that name)
            self._connection.settimeout(left_s)
            piece = self._connection.recv(size - len(found))
            if not piece:
                raise ValueError("the server closed the connection")
            found += piece
        return found


def wait(*, port: int, timeout_s: float, pid: int = 0) -> Any:  # noqa: ANN401 (any JSON)
    """The answer to get_version, as soon as there is one. Raises NoAnswer when the process is gone."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask("get_version", port=port, timeout_s=max(min(5.0, deadline - time.monotonic()), 0.1))
        except NoAnswer as error:
            if pid and not Path(f"/proc/{pid}").exists():
                raise NoAnswer("the server has ended") from error
            if time.monotonic() > deadline:
                raise NoAnswer(f"no answer in {timeout_s:g} s: {error}") from error
        time.sleep(0.1)


def own_addresses() -> list[str]:
    """IPv4 addresses of this network namespace that others can reach: TRex listens at IPv4 alone."""
    done = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, check=True, timeout=30)
    links = json.loads(done.stdout or "[]")
    found = [one.get("local", "") for link in links for one in link.get("addr_info", ())]
    return sorted({address for address in found if address and not address.startswith("127.")})


def reached(ports: tuple[int, ...], timeout_s: float = _REACH_S) -> list[str]:
    """Where it accepts a connection from an address that is none of loopback, as one from elsewhere would be.

    The host's own addresses are tried from the same addresses: a filter judges the source, as it does of others.
    """
    trying = {}
    for address in own_addresses():
        for port in ports:
            attempt = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            attempt.setblocking(False)
            attempt.bind((address, 0))
            attempt.connect_ex((address, port))
            trying[attempt] = f"{address}:{port}"
    found = []
    deadline = time.monotonic() + timeout_s
    pending = list(trying)
    while pending and (left_s := deadline - time.monotonic()) > 0:
        _, ready, _ = select.select([], pending, [], left_s)
        for attempt in ready:
            pending.remove(attempt)
            if attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(trying[attempt])
    for attempt in trying:
        attempt.close()
    return sorted(found)


def ports_of(configuration: str) -> tuple[int, int]:
    """Its ports for requests and for events, as its configuration has them."""
    text = Path(configuration).read_text(encoding="utf-8") if configuration else ""

    def number(key: str, default: int) -> int:
        found = re.search(rf'^\s*-?\s*"?{key}"?\s*:\s*(\d+)', text, re.MULTILINE)
        return int(found.group(1)) if found else default

    return number("zmq_rpc_port", RPC_PORT), number("zmq_pub_port", PUBLISHER_PORT)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Asks a TRex server.")
    parser.add_argument("what", choices=["wait", "version", "reach"])
    parser.add_argument("--configuration", default="", help="its configuration, which may name other ports")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    given = parser.parse_args()
    try:
        ports = ports_of(given.configuration)
        if given.what == "wait":
            wait(port=ports[0], timeout_s=given.timeout, pid=int(os.environ.get("MAINPID") or 0))
        elif given.what == "version":
            print(json.dumps(ask("get_version", port=ports[0], timeout_s=given.timeout)))
        else:
            print("\n".join(reached(ports)))
    except (NoAnswer, OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"TRex: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
