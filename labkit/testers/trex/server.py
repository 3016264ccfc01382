"""A TRex server on the tester's ports: its configuration, its process, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from labkit.errors import ConfigInvalid, EnvironmentBroken, ToolFailed
from labkit.lab.live import LivePort
from labkit.lab.topology import LinkKind
from labkit.machine import fix
from labkit.machine.hosts import NamespaceHost
from labkit.machine.namespaces import RUNTIME_DIRECTORY, inside
from labkit.machine.netlink import rtnetlink

RPC_PORT, PUBLISHER_PORT = 4501, 4500
EXECUTABLE = "_t-rex-64"
CONFIGURATION = f"{RUNTIME_DIRECTORY}/trex_cfg.yaml"
NO_PORT = "dummy"
"""TRex's word for a port that is not there: it wants an even number of them."""
SMALL_RING = {"framesz": 2048, "framecnt": 8192}
LARGE_RING = {"framesz": 16384, "framecnt": 1024}
SMALL_RING_MTU_BYTES = 1900
BLOCK_BYTES = 4 << 20
RING_REFUSED = "call to mmap failed on AF_PACKET socket"
"""Words of DPDK's driver. Seen with v3.08, as a user without root: the rings are locked memory."""
LOG_LINES = 40
END_TIMEOUT_S = 6.0
"""A server ends some 2 s after SIGINT."""


def directory(given: str | None, *, option: str = "--labkit-trex-dir") -> Path:
    """The directory of the server: the option's value, else LABKIT_TREX_DIR. Raises ConfigInvalid without one."""
    named = given if given is not None else os.environ.get("LABKIT_TREX_DIR")
    hint = (
        f"name the directory that t-rex-64 is in: {option} DIRECTORY, or LABKIT_TREX_DIR in the environment"
    )
    if not named:
        raise ConfigInvalid("the tester trex needs a TRex server, and none was given", hint=hint)
    what = f"{option if given is not None else 'LABKIT_TREX_DIR'} {named}"
    found = Path(named)
    if not found.is_dir():
        raise ConfigInvalid(f"{what}: there is no such directory", hint=hint)
    for name in (EXECUTABLE, "so"):
        if not (found / name).exists():
            raise ConfigInvalid(
                f"{what}: {name} is not in it, so that it holds no TRex server, or half of one",
                hint=f"unpack the whole archive; {hint}",
            )
    if not os.access(found / EXECUTABLE, os.X_OK):
        raise ConfigInvalid(
            f"{what}: {EXECUTABLE} may not be executed", hint=f"chmod +x {found / EXECUTABLE}"
        )
    return found.resolve()


def _interface(port: LivePort, number: int) -> str:
    """A port in the configuration's list `interfaces`."""
    if port.link.kind is LinkKind.MEMIF:
        return f"--vdev={port.vdev}"
    if port.interface is None:
        raise ConfigInvalid(f"TRex has no port for {port.link.name}, which is {port.link.kind}")
    # The ring that TRex takes by default loses frames from 50 kpps on, and they would look like the DUT's loss.
    ring = SMALL_RING if port.link.mtu_bytes <= SMALL_RING_MTU_BYTES else LARGE_RING
    options = {"iface": port.interface, **ring, "blocksz": BLOCK_BYTES}
    return f"--vdev=net_af_packet{number}," + ",".join(f"{key}={value}" for key, value in options.items())


def configuration(ports: Sequence[LivePort], *, core: int) -> str:
    """The text of a trex_cfg.yaml for software ports: low-end mode, which has all its threads on one core."""
    names = [_interface(port, number) for number, port in enumerate(ports)]
    macs = [{"src_mac": port.port.mac, "dest_mac": port.peer.mac} for port in ports]
    if len(names) % 2:
        names.append(NO_PORT)
        macs.append(macs[-1])
    return yaml.safe_dump(
        [
            {
                "version": 2,
                "interfaces": names,
                "port_limit": len(names),
                "low_end": True,
                "low_end_core": core,
                "prefix": "labkit",
                "port_info": macs,
            }
        ],
        sort_keys=False,
    )


@dataclass(frozen=True, slots=True)
class _Started:
    process: subprocess.Popen[bytes]
    reader: threading.Thread


class TrexServer:
    """It runs for the time of the context, in the ports' namespace; it dies with this process."""

    def __init__(self, directory: Path, host: NamespaceHost, ports: Sequence[LivePort], *, core: int) -> None:
        self._directory = directory
        self._host = host
        self._text = configuration(ports, core=core)
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._started: _Started | None = None

    def __enter__(self) -> Self:
        # The client comes by the loopback interface, which nobody else can reach: the server asks for no password.
        with inside(self._host.pid), rtnetlink() as netlink:
            netlink.link("set", index=1, state="up")
        self._host.path(CONFIGURATION).write_text(self._text)  # gone with the namespace
        # `env -C`: it finds its libraries from where it is started.
        command = [
            *("env", "-C", str(self._directory), f"./{EXECUTABLE}", "-i", "--cfg", CONFIGURATION),
            *("--no-key", "--no-termio", "--iom", "0", "--hdrh", "--no-scapy-server"),
        ]
        try:
            process = subprocess.Popen(
                self._host.argv(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentBroken(f"the TRex server cannot be started: {error}") from error
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._started = _Started(process, reader)
        reader.start()
        try:
            self._await_ports(process)
        except BaseException:
            self.close()
            raise
        return self

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None:
            for line in process.stdout:
                self._log.append(line.decode(errors="replace").rstrip())

    def _await_ports(self, process: subprocess.Popen[bytes]) -> None:
        """It has read its configuration when it publishes; the client waits for the rest."""
        deadline = time.monotonic() + 60
        while not any("zmq publisher at" in line for line in self._log):
            self.check_alive()
            if time.monotonic() > deadline:
                raise ToolFailed(f"the TRex server did not come up in 60 s: {self.output}")
            time.sleep(0.02)

    rpc_port, publisher_port = RPC_PORT, PUBLISHER_PORT
    mode = "low-end mode"

    @property
    def worker_tid(self) -> int:
        """Its process id: all its threads are on the tester's core. 0: it does not run."""
        return self._started.process.pid if self._started else 0

    @property
    def output(self) -> str:
        """The last lines that it printed."""
        return "\n".join(line for line in self._log if line.strip()) or "no output"

    def check_alive(self) -> None:
        """Raise ToolFailed, with its last output, if it has died."""
        if self._started is None:
            return
        code = self._started.process.poll()
        if code is not None:
            self._started.reader.join(timeout=1)
            if RING_REFUSED in self.output:
                ring_bytes = SMALL_RING["framesz"] * SMALL_RING["framecnt"]
                raise EnvironmentBroken(
                    "the TRex server may not lock the memory of its ports' rings, one to send and one to receive: "
                    f"it takes {2 * ring_bytes >> 20} MiB a port, or root",
                    hint=fix.lockable_memory(),
                )
            raise ToolFailed(f"the TRex server {self._host.ended(code)}: {self.output}")

    def close(self) -> None:
        """End it. Does nothing the second time."""
        started, self._started = self._started, None
        if started is None:
            return
        for end in (signal.SIGINT, signal.SIGKILL):
            started.process.send_signal(end)
            try:
                started.process.wait(timeout=END_TIMEOUT_S)
                break
            except subprocess.TimeoutExpired:
                continue
        started.reader.join(timeout=1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
