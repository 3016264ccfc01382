"""A copy of this machine that systemd runs as its first process: units, control groups and journal are its own.

As container.py, and with /sys and /proc/sys read-only, by which systemd knows that it is not to set values of the
machine: those in /proc/sys that no namespace has would be this machine's. Its control groups are below one of its own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from container import CHECKOUT, Container

from labkit.machine.hosts import DIE_WITH_PARENT

SYSTEMD = "/usr/lib/systemd/systemd"
UP_S = 60.0
TARGET = """
[Unit]
Description=Nothing but what a unit of ours depends on
Requires=basic.target systemd-journald.service
After=basic.target systemd-journald.service
AllowIsolate=yes
"""
NOT_WANTED = (
    *(
        "systemd-udevd",
        "systemd-udev-trigger",
        "systemd-sysctl",
        "systemd-modules-load",
        "systemd-remount-fs",
    ),
    *(
        "systemd-random-seed",
        "systemd-update-utmp",
        "systemd-networkd",
        "networking",
        "apparmor",
        "keyboard-setup",
    ),
)
"""Services that would change this machine, or wait for what a container has not."""

_MAKE = """
base=$1 systemd=$2
shift 2
mount --make-rprivate /
mount -t tmpfs none "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
root=$base/root
mount -t proc none "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro none "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 none "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs none "$root/tmp"
mount -t tmpfs -o mode=755 none "$root/run"
mkdir -p "$root/run/lock" "$root/var/lib/labkit"
mount -t tmpfs -o mode=755 none "$root/var/lib/labkit"
for place in "$@"; do
    if [ "$(stat -c %m "$place")" != / ] || [ ! -e "$root$place" ]; then
        more=$(mktemp -d "$base/more.XXXXXX")
        mkdir -p "$more/upper" "$more/work" "$root$place"
        mount -t overlay overlay -o "lowerdir=$place,upperdir=$more/upper,workdir=$more/work" "$root$place"
    fi
done
printf '%s' "$LABKIT_TARGET" >"$root/etc/systemd/system/labkit-try.target"
: >"$root/etc/fstab"
for name in $LABKIT_NOT_WANTED; do ln -sf /dev/null "$root/etc/systemd/system/$name.service"; done
# A root of its own, not a chroot: systemd gives units namespaces by pivot_root(2).
cd "$root"
mkdir .before
pivot_root . .before
exec chroot . sh -c 'umount -l /.before; rmdir /.before; echo ready
exec env -i container=labkit "PATH=$PATH" "$0" --system --unit=labkit-try.target --log-target=null \
    </dev/null' "$systemd"
"""


@dataclass(frozen=True)
class SystemdContainer(Container):
    """A running one."""

    @property
    def enter(self) -> list[str]:
        """What a command starts with to run in it."""
        return [
            "nsenter",
            f"--target={self.pid}",
            *("--mount", "--net", "--pid", "--uts", "--ipc", "--root", "--wdns=/", "--"),
        ]


def _own_group() -> Path:
    """A control group of version 2 for the container. Skips where there is none."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, fstype, *_ = line.split()
        if fstype == "cgroup2":
            group = Path(place) / f"labkit-test-{os.getpid()}"
            for left in Path(place).glob("labkit-test-*"):
                _removed(left)  # of tests that were killed; one that is in use stays
            try:
                group.mkdir(exist_ok=True)
            except OSError as error:
                pytest.skip(f"no control group can be made in {place}: {error.strerror}")
            return group
    pytest.skip("no control groups of version 2 are mounted")


def _remove(group: Path) -> None:
    """With those below it, once the last process is gone."""
    for _ in range(100):
        if _removed(group):
            return
        time.sleep(0.1)


def _removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()
        return True
    return False


@contextmanager
def systemd_container(folder: Path) -> Iterator[SystemdContainer]:
    """Make one, with its overlay in `folder`. Skips where that can't be done."""
    if not Path(SYSTEMD).exists():
        pytest.skip(f"{SYSTEMD} is not installed")
    group = _own_group()
    places = dict.fromkeys(map(str, (CHECKOUT, sys.prefix, sys.base_prefix)))
    # It joins its group first, so that the namespace of groups begins there.
    inside = (
        'echo $$ >"$1/cgroup.procs"; shift; exec unshare --mount --pid --net --uts --ipc --cgroup --fork '
        '--kill-child sh -ec "$@"'
    )
    # Where this process is killed, so is the container.
    command = [
        *DIE_WITH_PARENT,
        "sh",
        "-ec",
        inside,
        "sh",
        str(group),
        _MAKE,
        "sh",
        str(folder),
        SYSTEMD,
        *places,
    ]
    environment = {
        **os.environ,
        "LABKIT_TARGET": TARGET,
        "LABKIT_NOT_WANTED": " ".join(NOT_WANTED),
    }
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            if process.stdout.readline() != "ready\n":
                pytest.skip(f"no container for systemd here: {process.stderr.read().strip()}")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            made = SystemdContainer(int(children[0]), "/")
            _wait_until_up(made)
            yield made
        finally:
            process.kill()
            process.wait()
            _remove(group)


def _wait_until_up(made: SystemdContainer) -> None:
    deadline = time.monotonic() + UP_S
    while True:
        state = made.run("systemctl", "is-active", "labkit-try.target").stdout.strip()
        if state == "active":
            return
        assert time.monotonic() < deadline, made.run("systemctl", "list-jobs").stdout
        time.sleep(0.2)
