"""What a host is like: its configuration as far as it outlives a boot, and the values in effect. Changes nothing.

Two snapshots are compared with `compare`: taken before everything and after the revert and a reboot they are equal.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import ethtool_groups
from .snapshot_excluded import CONTENTS, FILES, MOUNTS, SYSCTLS, UNITS, excluded, left_out

FORMAT = 1
FOLDERS = ("/etc", "/usr/local", "/boot", "/var/lib/labkit", "/opt/trex", "/opt/openonload")
Facts = dict[str, dict[str, str]]
"""Area (files, packages ...) to what it is about to how it is."""


def take(root: Path = Path("/")) -> dict[str, Any]:
    """The whole host: {"format", "facts", "excluded"}."""
    facts: Facts = {
        "file": dict(_files(root)),
        "package": dict(_packages()),
        "sysctl": dict(_sysctls(root)),
        "kernel": dict(_kernel(root)),
        "driver": dict(_drivers(root)),
        "unit": dict(_units(root)),
        "mount": dict(_mounts(root)),
        "hugepages": dict(_values(root, "sys/devices/system/node/node*/hugepages/*/nr_hugepages")),
        "cpu": dict(_cpus(root)),
        "interface": dict(_interfaces(root)),
    }
    return {"format": FORMAT, "facts": facts, "excluded": excluded()}


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs, as "- gone", "+ new" and "~ old -> new". Raises ValueError for what is no snapshot of ours."""
    for one in (before, after):
        if one.get("format") != FORMAT:
            raise ValueError(f"not a snapshot of format {FORMAT}")
    found = []
    for area in sorted({*before["facts"], *after["facts"]}):
        old, new = before["facts"].get(area, {}), after["facts"].get(area, {})
        for name in sorted({*old, *new}):
            if name not in new:
                found.append(f"- {area} {name}: {old[name]}")
            elif name not in old:
                found.append(f"+ {area} {name}: {new[name]}")
            elif old[name] != new[name]:
                found.append(f"~ {area} {name}: {old[name]} -> {new[name]}")
    return found


def _files(root: Path) -> Iterator[tuple[str, str]]:
    pending = [root / folder.lstrip("/") for folder in FOLDERS]
    while pending:
        path = pending.pop()
        name = f"/{path.relative_to(root)}"
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if left_out(name, FILES):
            continue
        if stat.S_ISLNK(found.st_mode):
            yield name, f"link to {os.readlink(path)}"  # noqa: PTH115 (Path.readlink drops a trailing slash)
            continue
        what = ""
        if stat.S_ISDIR(found.st_mode):
            what = "folder "
            pending += path.iterdir()
        elif stat.S_ISREG(found.st_mode):
            what = "" if left_out(name, CONTENTS) else f"sha256 {_hash(path)} "
        yield name, f"{what}{stat.S_IMODE(found.st_mode):04o} {_user(found.st_uid)}:{_group(found.st_gid)}"


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _run(*command: str) -> str:
    """What it prints; nothing where it is not installed or says no: then there is nothing of that kind."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _packages() -> Iterator[tuple[str, str]]:
    automatic = set(_run("apt-mark", "showauto").split())
    shown = "${binary:Package} ${Version} ${db:Status-Status}\\n"
    for line in _run("dpkg-query", "--show", "--showformat", shown).splitlines():
        words = line.split()
        if len(words) == 3:
            name, version, status = words
            marked = "automatic" if {name, name.partition(":")[0]} & automatic else "manual"
            yield name, f"{version} {status} {marked}"
    for line in _run("rpm", "--query", "--all", "--queryformat", "%{NAME}.%{ARCH} %{EVR}\\n").splitlines():
        name, _, version = line.partition(" ")
        yield f"{name} {version}", "installed"  # several versions of a kernel side by side


def _sysctls(root: Path) -> Iterator[tuple[str, str]]:
    top = root / "proc/sys"
    for path in top.rglob("*"):
        name = str(path.relative_to(top)).replace("/", ".")
        if left_out(name, SYSCTLS):
            continue
        try:
            if path.is_file() and path.stat().st_mode & 0o444:
                yield name, path.read_text(errors="replace").strip()
        except OSError:
            continue  # some are there to be written only, or belong to a device that is down


def _kernel(root: Path) -> Iterator[tuple[str, str]]:
    yield "release", _text(root / "proc/sys/kernel/osrelease")
    yield "version", _text(root / "proc/sys/kernel/version")
    yield "command line", _text(root / "proc/cmdline")
    for folder in (root / "lib/modules").glob("*"):
        yield f"modules {folder.name}", "installed"


def _drivers(root: Path) -> Iterator[tuple[str, str]]:
    for device in (root / "sys/bus/pci/devices").glob("*"):
        link = device / "driver"
        driver = link.resolve().name if link.exists() else "none"
        override = _text(device / "driver_override")
        yield device.name, driver + (f" override {override}" if override not in ("", "(null)") else "")


def _units(root: Path) -> Iterator[tuple[str, str]]:
    if not (root / "run/systemd/system").is_dir():
        return
    words = ("--no-legend", "--no-pager", "--plain", "--full")
    states = {}
    for line in _run("systemctl", "list-unit-files", *words).splitlines():
        unit, state = line.split()[:2]
        if not left_out(unit, UNITS):
            states[unit] = state
    active = {
        line.split()[0] for line in _run("systemctl", "list-units", "--state=active", *words).splitlines()
    }
    for unit, state in states.items():
        # What a timer starts runs now and then.
        comes_and_goes = state == "static" or f"{unit.rpartition('.')[0]}.timer" in states
        yield unit, state if comes_and_goes else f"{state} {'active' if unit in active else 'inactive'}"


def _mounts(root: Path) -> Iterator[tuple[str, str]]:
    for line in _text(root / "proc/self/mounts").splitlines():
        source, path, fstype, options = line.split()[:4]
        if not left_out(path, MOUNTS):
            # The size of a tmpfs is worked out from the memory.
            kept = [
                one
                for one in options.split(",")
                if not one.startswith(("size=", "nr_inodes=", "fd=", "pgrp=", "pipe_ino="))
            ]
            yield f"{path} {fstype}", f"{source} {','.join(kept)}"


def _cpus(root: Path) -> Iterator[tuple[str, str]]:
    yield from _values(root, "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
    yield from _values(root, "sys/devices/system/cpu/cpu*/cpuidle/state*/disable")
    yield from _values(root, "sys/devices/system/cpu/isolated")
    yield from _values(root, "sys/devices/virtual/workqueue/cpumask")
    yield from _values(root, "sys/kernel/mm/transparent_hugepage/enabled")
    yield from _values(root, "proc/irq/default_smp_affinity")


def _interfaces(root: Path) -> Iterator[tuple[str, str]]:
    """Of NICs; virtual interfaces do not outlive a boot."""
    for link in sorted((root / "sys/class/net").glob("*")):
        if not (link / "device").exists():
            continue
        name = link.name
        for file in ("napi_defer_hard_irqs", "gro_flush_timeout", "threaded", "tx_queue_len"):
            yield f"{name} {file}", _text(link / file)
        for group in ethtool_groups.GROUPS:
            try:
                values = ethtool_groups.read(name, group)
            except ethtool_groups.EthtoolFailed as error:
                yield f"{name} {group}", str(error)
                continue
            for key, value in values.items():
                yield f"{name} {group} {key}", str(value.now)


def _values(root: Path, pattern: str) -> Iterator[tuple[str, str]]:
    for path in root.glob(pattern):
        yield f"/{path.relative_to(root)}", _text(path)


def _text(path: Path) -> str:
    """Empty where there is no such file or it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
