"""Attempts at what the machine itself offers: memory, cores, clock, file systems, tools."""

from __future__ import annotations

import importlib
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

from labkit.doctor.model import Unavailable
from labkit.machine import fix
from labkit.machine.cores import reachable
from labkit.machine.lacking import PYTHON_PACKAGES
from labkit.machine.privilege import allow_user_namespaces

HUGEPAGE_BYTES = 2 << 20
HUGEPAGES_MINIMUM = 128
"""What one vhost pair of the probe needs; the role `hugepages` has the same number."""

_PARTS = {"hdrh": ("hdrh.histogram",), "scapy": ("scapy.packet",)}
_MAP_HUGETLB = 0x40000
_MAP_HUGE_2MB = 21 << 26
HUGEPAGE_POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
_CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def namespaces() -> str:
    """The scratch namespace exists with its veth pair; without them this is not called."""
    kind = (
        "user, network and mount"
        if Path("/proc/self/uid_map").read_text().split()[2] == "1"
        else "network and mount"
    )
    return f"created a {kind} namespace with a veth pair"


def user_namespaces() -> str:
    """A user namespace in which one is root, as an unprivileged run needs."""
    argv = ["unshare", "--user", "--map-root-user", "--net", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=5)
    if done.returncode != 0:
        raise Unavailable(done.stderr.strip())
    return "created a user namespace"


def fix_of_user_namespaces() -> str:
    """What allows them."""
    return allow_user_namespaces() or "none here: whoever starts the container must allow user namespaces"


def hugepages() -> str:
    """As many hugepages as a vhost pair needs are reserved for a moment, by mmap; none is touched."""
    try:
        total, free = (int((HUGEPAGE_POOL / name).read_text()) for name in ("nr_hugepages", "free_hugepages"))
    except FileNotFoundError:
        raise Unavailable(
            f"this kernel has no hugepages of 2 MB ({HUGEPAGE_POOL} is missing)",
            fix="none on this kernel: labkit runs without vhost and without hugepages",
        ) from None
    length = HUGEPAGES_MINIMUM * HUGEPAGE_BYTES
    try:
        mmap.mmap(
            -1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_HUGETLB | _MAP_HUGE_2MB
        ).close()
    except OSError as error:
        raise Unavailable(
            f"mmap(MAP_HUGETLB, {HUGEPAGES_MINIMUM} pages of 2 MB): {os.strerror(error.errno or 0)}; "
            f"{free} of {total} are free"
        ) from None
    return f"mapped {HUGEPAGES_MINIMUM} hugepages of 2 MB; {free} of {total} are free"


def bpffs() -> str:
    """A BPF file system is mounted where libxdp expects it."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    if not any(fields[1:3] == ["/sys/fs/bpf", "bpf"] for fields in (line.split() for line in mounts)):
        # The child's fresh /sys hides the machine's: mount one as a lab's own namespaces do.
        argv = ["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(done.stderr.strip())
    return "a BPF file system can be mounted in a namespace of its own"


def clock() -> str:
    """The TSC is the kernel's clocksource, so that the probe may read it without a system call."""
    source = _CLOCKSOURCE.read_text().strip()
    if source != "tsc":
        raise Unavailable(
            f"the kernel's clocksource is {source}: the probe reads CLOCK_MONOTONIC_RAW instead, which is slower"
        )
    return "the kernel's clocksource is tsc"


def cores() -> str:
    """Tester and DUT each have a core, isolated ones among them."""
    allowed = sorted(reachable())
    if len(allowed) < 2:
        raise Unavailable(f"only core {allowed[0]} may be used; tester and DUT need one each")
    return f"{len(allowed)} cores may be used"


def python_packages() -> str:
    """The packages that labkit needs can be imported; whether they are installed is checked before any check."""
    faults: dict[str, str] = {}
    for name, package in PYTHON_PACKAGES.items():
        for module in (name, *_PARTS.get(name, ())):
            try:
                importlib.import_module(module)
            except ImportError as error:
                faults[package] = f"import {module}: {error}"
    if faults:
        raise Unavailable("; ".join(faults.values()), fix=fix.python_packages(*map(fix.requirement, faults)))
    return "imported all"


def _version(*argv: str) -> str:
    if shutil.which(argv[0]) is None:
        raise Unavailable(f"{argv[0]}: not found")
    # Ansible refuses a standard input that does not block.
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=10
    )
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip()}")
    return (done.stdout or done.stderr).strip().splitlines()[0]


def ansible() -> str:
    """The program that provisions hosts, on PATH or beside this Python."""
    beside = Path(sys.executable).with_name("ansible-playbook")
    return _version(str(beside) if beside.exists() else "ansible-playbook", "--version")


def benchmark_tools() -> str:
    """The programs that labkit is measured against."""
    if shutil.which("dpdk-testpmd") is None:
        raise Unavailable("dpdk-testpmd: not found")
    return f"{_version('sockperf', '--version')}, {_version('iperf3', '--version')}, dpdk-testpmd"
