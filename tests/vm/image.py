"""The guest's disk image: built from packages, booted once so that it is a stock machine, and kept.

The cache (LABKIT_VM_CACHE, else below XDG_CACHE_HOME) holds one folder an image, named by all that it was made of.
A lock that dies with its holder keeps two builders apart; an image appears under its name when it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.machine.hosts import DIE_WITH_PARENT
from tests.vm import apt_source

DISK_MIB = 8192
MANAGEMENT_MAC = "52:54:00:4d:47:01"
PACKAGES = (
    *("linux-image-amd64", "grub-pc", "initramfs-tools", "lz4", "systemd-sysv", "udev", "kmod", "dbus"),
    *(
        "openssh-server",
        "python3",
        "python3-apt",
        "sudo",
        "procps",
        "iproute2",
        "ethtool",
        "pciutils",
        "irqbalance",
    ),
)
"""A machine as an installer leaves it, less documentation."""
LARGE = ("gcc", "libc6-dev", "meson", "libdpdk-dev")
"""What takes minutes to unpack where the CPU is emulated: there already, as on a machine that somebody builds on. So
no test shows that the roles install and remove these; they do so with others of their packages."""
DOWNLOADS = (
    *("linux-image-rt-amd64", "dpdk", "dpdk-dev", "xdp-tools", "libxdp-dev", "pkg-config"),
    *("libjansson-dev", "ninja-build", "zlib1g-dev", "rt-tests", "rtla"),
)
"""What the playbooks and tests install or unpack, so that nobody waits for it."""
TOOLS = (
    "mmdebstrap",
    "qemu-system-x86_64",
    "qemu-img",
    "mkfs.ext4",
    "parted",
    "grub-mkimage",
    "ssh-keygen",
    "iasl",
)
TOOL_PACKAGES = (
    "mmdebstrap qemu-system-x86 qemu-utils e2fsprogs parted grub2-common grub-pc-bin openssh-client uidmap "
    "acpica-tools"
)


class CannotBuild(Exception):
    """An image cannot be built here; the message says what would help."""


@dataclass(frozen=True)
class Image:
    """One stock machine's disk."""

    disk: Path
    """qcow2; guests work on throw-away overlays of it."""
    kernel: Path
    key: Path
    """Private SSH key of the user `lab` in it."""
    suite: str


def cache() -> Path:
    """Where images are kept."""
    given = os.environ.get("LABKIT_VM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "labkit" / "vm"


def stock(finish: Callable[[Image], None], *, say: Callable[[str], None] = print) -> Image:
    """The image, built where it is missing. `finish` boots it once and makes it a stock machine's.

    Raises CannotBuild.
    """
    source = apt_source.find()
    hook = Path(__file__).with_name("image-hook")
    made_of = [source, PACKAGES, LARGE, DOWNLOADS, DISK_MIB, hook.read_text(), Path(__file__).read_text()]
    name = f"{source.suite}-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"
    folder = cache() / name
    cache().mkdir(parents=True, exist_ok=True)
    with _lock(cache() / "lock", say):
        if not folder.is_dir():
            lacking = [tool for tool in TOOLS if not shutil.which(tool)]
            if lacking:
                raise CannotBuild(f"{', '.join(lacking)} missing: apt-get install {TOOL_PACKAGES}")
            _build(folder, source, hook, finish, say)
    return _image(folder, source.suite)


def _image(folder: Path, suite: str) -> Image:
    return Image(folder / "disk.qcow2", folder / "vmlinuz", folder / "key", suite)


def _build(
    folder: Path,
    source: apt_source.AptSource,
    hook: Path,
    finish: Callable[[Image], None],
    say: Callable[[str], None],
) -> None:
    began = time.monotonic()
    for stale in folder.parent.glob(".build-*"):  # of a build that was killed; we hold the lock
        shutil.rmtree(stale)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as temporary:
        work = Path(temporary)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(work / "key")], check=True
        )
        say(f"building a {source.suite} guest from packages in {folder.parent} ...")
        _bootstrap(work, source, hook)
        disk = ("qemu-img", "convert", "-q", "-O", "qcow2", work / "disk.raw", work / "disk.qcow2")
        subprocess.run(disk, check=True)
        for used in ("disk.raw", "core.img"):
            (work / used).unlink()
        say(f"built in {time.monotonic() - began:.0f} s; booting it once ...")
        finish(_image(work, source.suite))
        say(f"guest image ready after {time.monotonic() - began:.0f} s")
        work.rename(folder)
        work.mkdir()  # for TemporaryDirectory to remove


def _bootstrap(work: Path, source: apt_source.AptSource, hook: Path) -> None:
    sources = work / "sources.list"
    sources.write_text("".join(f"{line}\n" for line in source.lines))
    # Its processes and mounts end with it, whatever ends it: on SIGTERM it leaves dpkg running. That takes root.
    root = os.geteuid() == 0
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc") if root else ()
    command = [
        *DIE_WITH_PARENT,
        *alone,
        *(
            "mmdebstrap",
            "--variant=apt",
            "--format=null",
            "--skip=cleanup/apt",
            f"--include={','.join((*PACKAGES, *LARGE))}",
        ),
        *("--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*"),
        *(f"--aptopt={option}" for option in source.options),
        *(f"--customize-hook={hook}", source.suite, "/dev/null", str(sources)),
    ]
    environment = {
        **os.environ,
        "FS_UUID": str(uuid.uuid4()),
        "MANAGEMENT_MAC": MANAGEMENT_MAC,
        "PUBLIC_KEY": (work / "key.pub").read_text().strip(),
        "DOWNLOADS": " ".join(DOWNLOADS),
        "DISK_MIB": str(DISK_MIB),
        "OUTPUT": str(work),
        **({"TMPDIR": str(work)} if root else {}),  # removed with it
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
    }
    log = work / "mmdebstrap.log"
    with (
        log.open("w") as stream,
        subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        try:
            code = process.wait()
        except BaseException:
            if root:
                process.kill()
            else:
                process.terminate()
            raise
    if code:
        output = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise CannotBuild(f"mmdebstrap failed with {code}:\n{output}")


@contextmanager
def _lock(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run builds a guest image: waiting for it ...")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
