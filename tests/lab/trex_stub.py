#!/usr/bin/python3
"""Stands for TRex's server in an archive: reads a configuration, listens where TRex does, and says its version.

It needs the standard library alone, for it runs as a unit that sees neither /home nor /tmp. What it can't do (ports,
traffic) is tried with a real one: tests marked `trex`. `archive(...)` packs it as TRex's archive is packed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import struct
import sys
import tarfile
import threading
from pathlib import Path

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\0\0\0\x03REP"


def read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            raise ConnectionError
        found += piece
    return found


def frame(connection: socket.socket) -> tuple[int, bytes]:
    flags = read(connection, 1)[0]
    size = struct.unpack(">Q", read(connection, 8))[0] if flags & 2 else read(connection, 1)[0]
    return flags, read(connection, size)


def answer(connection: socket.socket, version: str) -> None:
    try:
        connection.sendall(GREETING)
        read(connection, 64)
        connection.sendall(bytes([4, len(READY)]) + READY)
        frame(connection)
        while True:
            while frame(connection)[0] & 1:
                pass
            body = json.dumps(
                {"jsonrpc": "2.0", "id": 1, "result": {"version": version, "mode": "STL"}}
            ).encode()
            connection.sendall(b"\x01\0" + bytes([0, len(body)]) + body)
    except OSError:
        connection.close()


def main() -> int:
    here = Path(__file__).parent
    version = (here / "VERSION").read_text().strip()
    configuration = Path(sys.argv[sys.argv.index("--cfg") + 1])
    names = re.search(r'"interfaces": (\[.*\])', configuration.read_text()).group(1)
    print(f"Starting  TRex {version}, interfaces {names}", flush=True)
    for name in re.findall(r"iface=([^,\"]+)", names):
        if name not in {there for _, there in socket.if_nameindex()}:
            print("ioctl failed (SIOCGIFINDEX):No such device\nEAL: Bus (vdev) probe failed.", flush=True)
            return 255
    if (here / "fails").exists():
        print((here / "fails").read_text(), flush=True)
        return 255
    listening = []
    for port in (4500, 4501):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("0.0.0.0", port))
        one.listen()
        listening.append(one)
    while True:
        connection, _ = listening[1].accept()
        threading.Thread(target=answer, args=(connection, version), daemon=True).start()


def archive(place: Path, *, version: str, says: str | None = None, more: dict[str, str] | None = None) -> str:
    """Write an archive with it to `place`, whose checksum is returned."""
    files = {
        "_t-rex-64": Path(__file__).read_text(),
        "VERSION": says or version,
        "so/x86_64/libnothing.so": "",
        **(more or {}),
    }
    with tarfile.open(place, "w:gz") as packed:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{version}/{name}")
            member.size, member.mode = len(text.encode()), 0o755
            packed.addfile(member, io.BytesIO(text.encode()))
    return hashlib.sha256(place.read_bytes()).hexdigest()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        os._exit(255)
