"""A real source archive of Onload, where a test is given one: built outside the machine that it is for, and kept.

It is built for the kernel of a guest, in a system of the guest's own release that is gone afterwards: what takes
minutes here would take hours in an emulated guest. Nothing of it is in this repository.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit.machine.hosts import DIE_WITH_PARENT
from tests.vm import apt_source

OPTION, VARIABLE = "--labkit-onload-archive", "LABKIT_ONLOAD_ARCHIVE"
PACKAGES = (
    *("gcc", "g++", "make", "gawk", "perl", "kmod", "file", "libcap-dev", "libmnl-dev", "python3"),
    "python3-setuptools",
)
BUILD = """\
mkdir /onload
tar -xf /onload.tar -C /onload --strip-components=1
rm /onload.tar
cd /onload
scripts/onload_build --no-sfc --kernelver {kernel}
make -C src/tools/bpf_link_helper
tar -czf /built.tar.gz -C / onload
"""


def given(request: pytest.FixtureRequest) -> Path:
    """The archive. Skips where none was given, fails where it is not there."""
    named = request.config.getoption(OPTION) or os.environ.get(VARIABLE)
    if not named:
        pytest.skip(f"needs a source archive of Onload: {OPTION} FILE, or {VARIABLE}")
    file = Path(named).resolve()
    if not file.is_file():
        pytest.fail(f"{OPTION}: {file}: expected Onload's source archive, as tar reads it", pytrace=False)
    return file


@dataclass(frozen=True)
class Archive:
    """One as the role openonload takes it, built for one kernel."""

    file: Path
    version: str
    """What stands in its file versions.env."""
    sha256: str


def built(source: Path, kernel: str, cache: Path) -> Archive:
    """Build it for a kernel of Debian's, or take what was built before; some 7 minutes of a CPU."""
    version = _version(source)
    digest = hashlib.sha256(source.read_bytes() + kernel.encode() + BUILD.encode()).hexdigest()
    place = cache / f"onload-{digest[:16]}.tar.gz"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "onload.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob(".onload-*"):  # of a build that was killed; we hold the lock
            shutil.rmtree(left)
        if not place.exists():
            with tempfile.TemporaryDirectory(prefix=".onload-", dir=cache) as work:
                _build(source, kernel, place, Path(work))
    return Archive(place, version, hashlib.sha256(place.read_bytes()).hexdigest())


def _version(source: Path) -> str:
    with tarfile.open(source) as archive:
        for member in archive:
            if re.fullmatch(r"[^/]+/versions\.env", member.name):
                content = archive.extractfile(member)
                text = content.read().decode() if content else ""
                found = re.search(r"^ONLOAD_VERSION=(\S+)$", text, re.MULTILINE)
                if found:
                    return found.group(1)
    pytest.fail(f"{source}: no versions.env with ONLOAD_VERSION in its only folder", pytrace=False)


def _build(source: Path, kernel: str, place: Path, work: Path) -> None:
    from_where = apt_source.find()
    fresh = work / place.name
    packages = [*PACKAGES, f"linux-headers-{kernel}"]
    script = shlex.quote(BUILD.format(kernel=kernel))
    command = [
        *DIE_WITH_PARENT,
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("mmdebstrap", "--variant=apt", "--format=null", f"--include={','.join(packages)}"),
        *(f"--aptopt={option}" for option in from_where.options),
        f"--customize-hook=upload {shlex.quote(str(source))} /onload.tar",
        f'--customize-hook=chroot "$1" sh -ec {script}',
        f"--customize-hook=download /built.tar.gz {shlex.quote(str(fresh))}",
        *(from_where.suite, "/dev/null", "-"),
    ]
    done = subprocess.run(
        command,
        input="".join(f"{line}\n" for line in from_where.lines),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(work), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-30:])
        pytest.fail(f"Onload could not be built for {kernel}:\n{last}", pytrace=False)
    fresh.rename(place)
