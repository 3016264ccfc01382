"""The probe's engines for XDP, for guests without a compiler for BPF: built here, and put beside theirs."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Protocol

from labkit.probe.cache import MANIFEST, SOURCES, checksum

ENGINES = ("xdp", "af_xdp")
THERE = "/usr/local/lib/labkit/probe"


class Printed(Protocol):
    """What a command printed."""

    @property
    def out(self) -> str:
        """On its standard output."""
        ...


class Machine(Protocol):
    """A guest, as root."""

    def run(self, command: str) -> Printed:
        """Run a shell command there. Raises where it fails."""
        ...

    def put(self, content: bytes, command: str) -> None:
        """Hand bytes to a shell command there. Raises where it fails."""
        ...


def put(guest: Machine, work: Path) -> None:
    """Add the engines to the build that role labkit_host made there. Host and guests are of the same Debian."""
    built = work / "engines"
    if not built.exists():
        for command in (
            ["meson", "setup", "-Dnative=false", str(built), str(SOURCES)],
            ["ninja", "-C", str(built), *(f"labkit-probe-{engine}" for engine in ENGINES)],
        ):
            subprocess.run(command, check=True, capture_output=True)
    [folder] = guest.run(f"dirname {THERE}/*/{MANIFEST}").out.split()
    manifest = json.loads(guest.run(f"cat {folder}/{MANIFEST}").out)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for engine in ENGINES:
            program = built / f"labkit-probe-{engine}"
            archive.add(program, program.name)
            manifest["missing"][engine] = None
            manifest["executables"][engine] = checksum(program)
        text = json.dumps(manifest).encode()
        described = tarfile.TarInfo(MANIFEST)
        described.size, described.mode = len(text), 0o644
        archive.addfile(described, io.BytesIO(text))
    guest.put(packed.getvalue(), f"tar -xzC {folder} --no-same-owner")
