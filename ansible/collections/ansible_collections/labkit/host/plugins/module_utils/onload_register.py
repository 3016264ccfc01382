#!/usr/bin/python3
"""Registers an interface with Onload for AF_XDP, and unloads Onload at once where that is unsound.

The kernel takes a registration that failed for a good one (write(2) succeeds), and a host with one may crash later. So
the log alone decides. It is installed as it is for the unit of the role openonload, and needs nothing but Python.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MODULE = "sys/module/sfc_resource"
REGISTER = f"{MODULE}/afxdp/register"
NOTES = "run/labkit-onload"
"""A file for each interface that was registered and found sound; gone with a reboot."""
_PENDING = ".pending"
"""In place of .json: it was written to the kernel, and the log is not judged yet."""
_INTERFACE_S, _LOG_S, _WRITER_S = 60.0, 10.0, 3.0
"""How long to wait for the interface, for the log, and how long the writer lives at least in generic mode."""
_HARMLESS_RC = "-95"
_RSS = re.compile(r"does not support `get_rxfh_(?:indir|key)_size` operation")
"""The question that e1000e, veth and vmxnet3 don't answer; registering them works."""
_GENERIC = "does not support native XDP, using generic mode"
_FATAL = (
    (re.compile(r"hardware init failed rc=(-?\d+)"), "the interface was not set up"),
    (
        re.compile(r"parameter is not set\. Failed to link"),
        "it has no native XDP, and no bpf-link-helper is set",
    ),
    (re.compile(r"Failed to link"), "the XDP program was not attached"),
    (re.compile(r"No onload BPF programs were found"), "bpf-link-helper came too late"),
    (re.compile(r"can't get (?:next program|prog)"), "bpf-link-helper could not read the XDP programs"),
    (re.compile(r"Couldn't register device"), "the interface was refused"),
    (re.compile(r"efhw_device_type_init failed"), "the interface was refused"),
    (re.compile(r"\bBUG:|\bOops\b|general protection fault|kernel BUG at"), "the kernel reported a fault"),
)


@dataclass(frozen=True)
class Verdict:
    """What the log says of a registration."""

    sound: bool | None
    """None: it does not say yet."""
    generic: bool
    """XDP in generic mode."""
    reasons: tuple[str, ...] = ()
    """Why it is not sound, each with the line of the log."""
    missing: tuple[str, ...] = ()
    """What a sound registration has in the log, and this one has not yet."""


def messages(records: bytes) -> list[str]:
    """Texts of records as /dev/kmsg has them: `priority,sequence,time,flags;text`, and what belongs to it, indented."""
    lines = records.decode(errors="replace").splitlines()
    return [line.partition(";")[2] for line in lines if line and not line.startswith(" ")]


def judge(lines: Sequence[str], name: str, ifindex: int) -> Verdict:
    """Whether the lines since just before it was registered are those of a sound registration."""
    generic = any(_GENERIC in line for line in lines)
    reasons = tuple(_reasons(lines))
    if reasons:
        return Verdict(False, generic, reasons)
    expected = [
        (rf"register {re.escape(name)}$", f"register {name}"),
        (rf"{re.escape(name)} type=\d+:\S+ ifindex={ifindex}\b", f"{name} type= ifindex={ifindex}"),
        (rf"oo_nic_add: ifindex={ifindex}\b", f"oo_nic_add: ifindex={ifindex}"),
    ]
    if generic:
        expected.append((rf"Linking to {re.escape(name)}$", f"Linking to {name}"))
    missing = tuple(text for pattern, text in expected if not any(re.search(pattern, line) for line in lines))
    return Verdict(None if missing else True, generic, (), missing)


def _reasons(lines: Sequence[str]) -> Iterator[str]:
    unanswered = False
    for line in lines:
        unanswered = unanswered or bool(_RSS.search(line))
        for pattern, meaning in _FATAL:
            found = pattern.search(line)
            if not found:
                continue
            if not (found.groups() and found.group(1) == _HARMLESS_RC and unanswered):
                yield f"{meaning}: {line.strip()}"
            break


class Unsound(Exception):
    """It can't be said that the registration is sound; says why."""


class Refused(Exception):
    """It was not registered, and Onload is as it was."""


class Log:
    """The kernel's log from now on."""

    def __init__(self, root: Path) -> None:
        self._descriptor = os.open(root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        self.lines: list[str] = []

    def read(self) -> None:
        """All that came since. Raises Unsound where the kernel has overwritten some of it."""
        while True:
            try:
                piece = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return
            except BrokenPipeError:
                raise Unsound("the kernel's log was overwritten before it could be read") from None
            if not piece:
                return
            self.lines += messages(piece)

    def close(self) -> None:
        """No more of it."""
        os.close(self._descriptor)


def module_id(root: Path = Path("/")) -> int | None:
    """Another number each time that the module is loaded; None: it is not."""
    try:
        return (root / MODULE).stat().st_ino
    except FileNotFoundError:
        return None


def registered(root: Path = Path("/")) -> dict[str, bool]:
    """Interfaces that were registered and found sound since the module was loaded, and whether in generic mode."""
    loaded = module_id(root)
    found = {}
    for file in sorted((root / NOTES).glob("*.json")) if loaded is not None else ():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(file.read_text(encoding="utf-8"))
            if note["module"] == loaded:
                found[str(note["interface"])] = bool(note["generic"])
    return found


def forget_earlier(root: Path = Path("/")) -> None:
    """Remove the notes of earlier loads of the module."""
    now = registered(root)
    for file in (root / NOTES).glob("*.json"):
        if file.stem not in now:
            file.unlink(missing_ok=True)


def register(
    name: str, root: Path = Path("/"), *, log_s: float = _LOG_S, writer_s: float = _WRITER_S
) -> Verdict:
    """Register it. Raises Unsound, and Refused where the kernel took nothing."""
    ifindex = int((root / "sys/class/net" / name / "ifindex").read_text())
    others = sorted(set(registered(root)) - {name})
    log = Log(root)
    try:
        began = time.monotonic()
        # This process lives until the log is judged: bpf-link-helper runs beside it, and finds nothing once it ended.
        _write(root / REGISTER, name)
        verdict = _verdict(log, name, ifindex, began + log_s)
        if verdict.generic and others:
            # It is found by its name, which all of Onload's programs have: the first one is taken.
            raise Unsound(
                f"{name} has no native XDP, and bpf-link-helper attached the XDP program of {others[0]} to it: no "
                "packet would arrive. It can have only the interface that is registered first: name it alone"
            )
        if verdict.generic:
            time.sleep(max(0.0, began + writer_s - time.monotonic()))
            verdict = _verdict(log, name, ifindex, began + log_s)
        return verdict
    finally:
        log.close()


def _write(file: Path, name: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY)
        try:
            os.write(descriptor, f"{name}\n".encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EALREADY:
            raise Refused(
                f"{name} is registered already, not by labkit, and how that went is not known. Unload Onload, and "
                "start this again: onload_tool unload --onload-only"
            ) from error
        if error.errno == errno.ENOENT:
            raise Refused(f"{name}: there is no such interface in this network namespace") from error
        raise Unsound(f"{file}: {error.strerror}") from error


def _verdict(log: Log, name: str, ifindex: int, until: float) -> Verdict:
    while True:
        log.read()
        verdict = judge(log.lines, name, ifindex)
        if verdict.sound is True:
            return verdict
        if verdict.sound is False:
            raise Unsound("; ".join(verdict.reasons))
        if time.monotonic() > until:
            raise Unsound(f"the kernel's log does not have: {', '.join(verdict.missing)}")
        time.sleep(0.05)


def main(argv: Sequence[str], root: Path = Path("/")) -> int:
    """Exit code 0: it is registered, and soundly."""
    if len(argv) != 2:
        print("usage: onload_register.py INTERFACE", file=sys.stderr)
        return 2
    name = argv[1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # also then it is unloaded
    notes = root / NOTES
    notes.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(notes, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # the log names no interface in its worst lines: one at a time
        return _one(name, root)
    finally:
        os.close(descriptor)


def _one(name: str, root: Path) -> int:
    pending = root / NOTES / f"{name}{_PENDING}"
    try:
        _wait_for(name, root)
        if any((root / NOTES).glob(f"*{_PENDING}")):
            _unload(root)  # one that was killed before it had judged the log
        if not (root / REGISTER).exists():
            _program("modprobe", "onload")
        forget_earlier(root)
        if name in registered(root):
            print(f"{name} is registered")
            return 0
        pending.touch()
        try:
            verdict = register(name, root)
        except Refused:
            pending.unlink()
            raise
        except BaseException as error:
            _unload(root)
            if not isinstance(error, (Unsound, OSError, ValueError)):
                raise
            raise Refused(f"{name} was not registered soundly, and Onload was unloaded: {error}") from error
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    note = {"interface": name, "module": module_id(root), "generic": verdict.generic}
    (root / NOTES / f"{name}.json").write_text(json.dumps(note) + "\n", encoding="utf-8")
    pending.unlink()
    print(f"{name} is registered, with {'generic' if verdict.generic else 'native'} XDP")
    return 0


def _wait_for(name: str, root: Path) -> None:
    place = root / "sys/class/net" / name
    deadline = time.monotonic() + _INTERFACE_S
    while not place.exists():
        if time.monotonic() > deadline:
            raise Refused(f"{name}: there was no such interface for {_INTERFACE_S:.0f} s")
        time.sleep(0.2)
    if int((place / "flags").read_text(), 16) & 0x8:  # IFF_LOOPBACK
        raise Refused(f"{name} is a loopback interface, which Onload must never have")


def _unload(root: Path) -> None:
    """At once, whatever else is registered: before any program can use it."""
    for file in (root / NOTES).glob("*.json"):
        file.unlink(missing_ok=True)
    if module_id(root) is not None:
        _unload_modules(root)
    for file in (root / NOTES).glob(f"*{_PENDING}"):
        file.unlink(missing_ok=True)


def _unload_modules(root: Path) -> None:
    try:
        _program("onload_tool", "unload", "--onload-only")
    except Refused as error:
        raise Refused(
            f"UNSOUND AND STILL LOADED: the registration failed, and Onload could not be unloaded. Start no program "
            f"with it, and reboot. {error}"
        ) from error
    if module_id(root) is not None:
        raise Refused(
            "UNSOUND AND STILL LOADED: the registration failed, and the module sfc_resource is still there after "
            "onload_tool unload. Start no program with it, and reboot"
        )


def _program(*command: str) -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PATH": path}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise Refused(f"{' '.join(command)}: {said}")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
