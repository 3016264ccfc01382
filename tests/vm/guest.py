"""One running guest: QEMU, and SSH into it. It dies with the process that started it and leaves no file.

What the guest writes is in a file without a name, so it outlives QEMU and not us. A guest that reboots gets a new
QEMU: one that goes on has translated code in all the memory that the next boot writes to, and an emulated reboot took
136 s instead of 47 s (QEMU 7.2, Ansible's reboot task). A guest whose emulator crashed
is switched on again, as a machine after a power cut: QEMU before 8.1.1 does crash, rarely, when an emulated guest
resets (a write to a memory region that another thread has just taken away:
gitlab.com/qemu-project/qemu/-/issues/1866).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from labkit.machine.hosts import DIE_WITH_PARENT
from tests.vm import accelerator, limits
from tests.vm.image import MANAGEMENT_MAC, Image

CRASHES = 3
"""After so many crashes of its emulator a guest is given up."""
BOOT_S = 420.0
"""Until SSH answers after a reboot. Limits in seconds are those of the reference machine (limits.py)."""


class GuestFailed(Exception):
    """The guest did not do what was asked; the message has its last words."""


@dataclass(frozen=True)
class Nic:
    """A data interface, at the end of a socket that the other guest holds as well."""

    model: str
    mac: str
    slot: int
    """Slot on the first PCI bus: its address in the guest is 0000:00:SLOT.0."""
    link: socket.socket

    @property
    def pci(self) -> str:
        """Address in the guest."""
        return f"0000:00:{self.slot:02x}.0"


@dataclass(frozen=True)
class Done:
    """A command that ended in the guest."""

    code: int
    out: str
    err: str


def link() -> tuple[socket.socket, socket.socket]:
    """A data link: its two ends. No port is opened, and no file made."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


class Guest:
    """A guest as a context manager: running inside, gone after."""

    def __init__(
        self,
        name: str,
        image: Image,
        *,
        nics: Sequence[Nic] = (),
        cpus: int = 2,
        memory_mib: int = 2048,
        iommu: bool = False,
        nodes: Sequence[str] = (),
        acpi: Path | None = None,
        keep: bool = False,
        log: Path | None = None,
    ) -> None:
        """With `keep` the image itself is written to, else what the guest writes is gone with it.

        `nodes` are the cores of each NUMA node, which share the memory evenly; `acpi` is a table for the guest's
        firmware to have besides its own.
        """
        self.name = name
        self.image = image
        self.nics = tuple(nics)
        self.port = 0
        self._log = log
        self._keep = keep
        self._arguments = ["-smp", str(cpus), "-m", str(memory_mib)]
        if iommu:
            self._arguments += ["-device", "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on"]
        for number, cores in enumerate(nodes):
            memory = f"memory-backend-ram,id=node{number},size={memory_mib // len(nodes)}M"
            self._arguments += ["-object", memory]
            self._arguments += ["-numa", f"node,nodeid={number},cpus={cores},memdev=node{number}"]
        if acpi is not None:
            self._arguments += ["-acpitable", f"file={acpi}"]
        self._iommu = iommu
        self._process: subprocess.Popen[bytes] | None = None
        self._control: _Control | None = None
        self._disk: int | None = None
        self._watch: threading.Thread | None = None
        self._changing = threading.Lock()
        self._ended = False
        self._failed: GuestFailed | None = None
        self.crashes = 0
        self.slower = 1.0
        """How many times longer than on the reference machine steps may take; known after the first boot."""
        self._began: float | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start QEMU. The guest boots; `wait` waits for it."""
        if not self._keep:
            self._disk = _overlay(self.image.disk)
        if self._log:
            self._log.write_bytes(b"")
        self._began = time.monotonic()
        started = threading.Event()
        # One thread starts QEMU and stays as long: what dies with its parent dies with the thread that started it.
        self._watch = threading.Thread(target=self._run, args=(started,), name=self.name, daemon=True)
        self._watch.start()
        try:
            started.wait()
        except BaseException:
            self.kill()
            raise
        if self._failed is not None:
            self.kill()
            raise self._failed

    def _run(self, started: threading.Event) -> None:
        """Have it running until it is over; a reboot and a crash of the emulator are not the end."""
        while True:
            with self._changing:
                if self._ended:
                    return
                try:
                    self._start()
                except Exception as error:  # whatever it is, it is reported where the guest was wanted
                    if self._process is not None:
                        self._process.kill()
                        self._process.wait()
                    self._failed = GuestFailed(
                        f"{self.name}: QEMU did not start: {error}: {self._last_words()}"
                    )
            started.set()
            if self._process is None or self._failed is not None:
                return
            code = self._process.wait()
            if code == -signal.SIGSEGV and self.crashes < CRASHES:
                self.crashes += 1
            elif code or self._control is None or self._control.why_ended() != "guest-reset":
                return

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        # Opened anew each time: QEMU's locks hang on what was opened, and stay as long as anyone has that.
        disk = [
            os.open(f"/proc/self/fd/{self._disk}", flags)
            for flags in (os.O_RDWR, os.O_RDONLY)
            if self._disk is not None
        ]
        passed = [theirs.fileno(), *disk, *(nic.link.fileno() for nic in self.nics)]
        command = [
            *DIE_WITH_PARENT,
            *("qemu-system-x86_64", "-name", f"labkit-{self.name}", "-nodefaults", "-display", "none"),
            "-no-reboot",
            *accelerator.arguments(self.image.kernel),
            *self._arguments,
            *self._disk_arguments(disk),
            *("-device", "virtio-blk-pci,drive=disk,addr=0x3"),
            # The same port again after a crash: it is in inventories.
            *("-netdev", f"user,id=management,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
            *("-device", f"virtio-net-pci,netdev=management,mac={MANAGEMENT_MAC},addr=0x2,romfile="),
            *("-chardev", f"socket,id=control,fd={theirs.fileno()}", "-mon", "chardev=control,mode=control"),
            *("-chardev", f"file,id=console,path={self._console_file()},append=on"),
            *("-serial", "chardev:console"),
            *("-device", "virtio-rng-pci,addr=0x4"),
            *self._nic_arguments(),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=passed,
            start_new_session=True,  # Ctrl-C is for the tests: they end the guest in their own order
        )
        theirs.close()
        for one in disk:
            os.close(one)
        if self._control is not None:
            self._control.close()
        self._control = _Control(ours)
        self.port = self._forwarded_port()

    def _disk_arguments(self, passed: Sequence[int]) -> list[str]:
        if not passed:
            return ["-drive", f"file={self.image.disk},if=none,id=disk,cache=unsafe"]
        return [
            *(word for one in passed for word in ("-add-fd", f"fd={one},set=1")),
            *("-drive", "file=/dev/fdset/1,format=qcow2,if=none,id=disk,cache=unsafe"),
        ]

    def _nic_arguments(self) -> list[str]:
        arguments = []
        for nic in self.nics:
            name = f"data{nic.slot}"
            behind = (
                ",iommu_platform=on,ats=on,disable-legacy=on" if self._iommu and "virtio" in nic.model else ""
            )
            arguments += ["-netdev", f"socket,id={name},fd={nic.link.fileno()}"]
            arguments += [
                "-device",
                f"{nic.model},netdev={name},mac={nic.mac},addr={nic.slot:#x},romfile={behind}",
            ]
        return arguments

    def _console_file(self) -> str:
        return str(self._log) if self._log else "/dev/null"

    def _forwarded_port(self) -> int:
        assert self._control is not None
        output = self._control.human("info usernet")
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", output)
        if not found:
            raise ValueError(f"no forwarded port in {output!r}")
        return int(found.group(1))

    def _last_words(self) -> str:
        words = ""
        if self._process and self._process.stderr and self._process.poll() is not None:
            words = self._process.stderr.read().decode(errors="replace")
        if self._log and self._log.exists():
            words += "\nconsole: " + "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
        return words.strip() or "no word from it"

    def console(self) -> str:
        """All that it has written to its serial console."""
        return self._log.read_text(errors="replace") if self._log and self._log.exists() else ""

    @property
    def ssh_options(self) -> list[str]:
        """Options of ssh that reach it and leave no trace."""
        return [
            *("-i", str(self.image.key), "-p", str(self.port), "-o", "StrictHostKeyChecking=no"),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"),
            *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=20", "-o", "BatchMode=yes"),
            *("-o", "IdentitiesOnly=yes"),
        ]

    def argv(self, command: str) -> list[str]:
        """What runs a shell command there as root."""
        return [
            *DIE_WITH_PARENT,
            *("ssh", *self.ssh_options, "lab@127.0.0.1", f"sudo sh -c {shlex.quote(command)}"),
        ]

    def run(self, command: str, *, stdin: str = "", timeout_s: float = 300, check: bool = True) -> Done:
        """Run a shell command there as root. Raises GuestFailed."""
        argv = self.argv(command)
        limit_s = timeout_s * self.slower
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise GuestFailed(f"{self.name}: no end after {limit_s:.0f} s: {command}") from error
        if check and done.returncode:
            raise GuestFailed(
                f"{self.name}: {command!r} ended with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return Done(done.returncode, done.stdout, done.stderr)

    def put(self, content: bytes, command: str) -> None:
        """Hand bytes to a shell command there. Raises GuestFailed."""
        done = subprocess.run(
            self.argv(command), input=content, capture_output=True, timeout=300 * self.slower, check=False
        )
        if done.returncode:
            raise GuestFailed(f"{self.name}: {command!r}: {done.stderr.decode(errors='replace')}")

    def get(self, command: str) -> bytes:
        """The bytes that a shell command there prints. Raises GuestFailed."""
        done = subprocess.run(
            self.argv(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300 * self.slower,
            check=False,
        )
        if done.returncode:
            raise GuestFailed(f"{self.name}: {command!r}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def wait(self, *, other_than: str = "", timeout_s: float = BOOT_S) -> str:
        """Wait until SSH answers in a boot other than that of the boot id. Returns the boot id. Raises GuestFailed.

        The first boot tells how slow this machine is.
        """
        limit_s = limits.FIRST_BOOT_S if self._began is not None else timeout_s * self.slower
        deadline = time.monotonic() + limit_s
        last = ""
        while time.monotonic() < deadline:
            if self._watch is None or not self._watch.is_alive():
                raise GuestFailed(f"{self.name}: QEMU ended: {self._last_words()}")
            try:
                done = self.run("cat /proc/sys/kernel/random/boot_id", timeout_s=30, check=False)
            except GuestFailed as error:
                last = str(error)
                continue
            if done.code == 0 and done.out.strip() != other_than:
                if self._began is not None:
                    self.slower = limits.slowness(time.monotonic() - self._began)
                    self._began = None
                return done.out.strip()
            last = done.err.strip()
            time.sleep(1)
        raise GuestFailed(f"{self.name}: not there after {limit_s:.0f} s ({last}): {self._last_words()}")

    def power_off(self, *, timeout_s: float = 120) -> None:
        """Shut it down in order. Raises GuestFailed."""
        assert self._process is not None
        self.run("systemctl poweroff", check=False)
        limit_s = timeout_s * self.slower
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            raise GuestFailed(f"{self.name}: still running {limit_s:.0f} s after poweroff") from error

    def plug(self, slot: int, *, cable: bool) -> None:
        """Plug the cable of a data interface in, or pull it out."""
        assert self._control is not None
        self._control.human(f"set_link data{slot} {'on' if cable else 'off'}")

    def crash(self) -> None:
        """Have the emulator end as if it had crashed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSEGV)

    def kill(self) -> None:
        """End it at once."""
        with self._changing:
            self._ended = True
            if self._process is not None:
                self._process.kill()
        if self._watch is not None:
            self._watch.join()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._disk is not None:
            os.close(self._disk)
            self._disk = None


def _overlay(disk: Path) -> int:
    """A file without a name for what is written on top of a disk that stays as it is."""
    # Beside the disk, which has more room than /tmp may have.
    descriptor = os.open(disk.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
    subprocess.run(
        [
            *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(disk)),
            f"/dev/fd/{descriptor}",
        ],
        pass_fds=[descriptor],
        check=True,
    )
    return descriptor


class _Control:
    """QEMU's control connection (QMP)."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(60)
        self._connection = connection
        self._stream = connection.makefile("rw", encoding="utf-8")
        self._reading = threading.Lock()
        self._why_ended: str | None = None
        self._read()
        self._call("qmp_capabilities")

    def human(self, line: str) -> str:
        return str(self._call("human-monitor-command", {"command-line": line}))

    def _call(self, command: str, arguments: dict[str, str] | None = None) -> object:
        with self._reading:
            self._stream.write(json.dumps({"execute": command, "arguments": arguments or {}}) + "\n")
            self._stream.flush()
            while True:
                answer = self._read()
                if "error" in answer:
                    raise ValueError(str(answer["error"]))
                if "return" in answer:
                    return answer["return"]

    def why_ended(self) -> str | None:
        """Of a QEMU that has ended: its own reason, such as guest-reset or guest-shutdown; None: it gave none."""
        with self._reading, suppress(OSError, ValueError):  # the end of what it sent; or closed by `kill`
            while self._why_ended is None:
                self._read()
        return self._why_ended

    def _read(self) -> dict[str, Any]:
        line = self._stream.readline()
        if not line:
            raise OSError("it closed its control connection")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("event") == "SHUTDOWN":
            self._why_ended = answer["data"]["reason"]
        return answer

    def close(self) -> None:
        self._stream.close()
        self._connection.close()


def finish_image(image: Image) -> None:
    """Boot a new image once: GRUB writes its own menu, and what a first boot makes is made."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Guest("image", image, keep=True, log=Path(folder) / "console") as guest,
    ):
        guest.wait()
        guest.run("update-grub && systemctl is-system-running --wait || true")
        guest.run("rm -f /var/lib/systemd/random-seed; sync")
        guest.power_off()
