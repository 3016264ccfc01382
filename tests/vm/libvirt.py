"""libvirt's daemon in namespaces of its own: its networks, firewall rules, machines and files end with it.

The machine's own libvirt, if it has one, is not touched. The guests have no way out: what they need is in their image.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from labkit.machine.hosts import DIE_WITH_PARENT

PROGRAMS = ("libvirtd", "virtlogd", "virsh", "dnsmasq")
PACKAGES = "libvirt-daemon-system libvirt-clients dnsmasq-base"
START_S = 60.0
FOLDERS = ("etc/libvirt", "var/lib/libvirt", "var/log/libvirt", "var/cache/libvirt", "run")
# Without security drivers and cgroups: both would leave traces.
START = """\
set -eu
ip link set lo up
mount -t sysfs sysfs /sys
cp -a /etc/libvirt/. {folder}/etc/libvirt/
rm -rf {folder}/etc/libvirt/qemu/networks
for one in {folders}; do mount --bind {folder}/$one /$one; done
for one in 'user = "root"' 'group = "root"' 'security_driver = "none"' 'cgroup_controllers = []'; do
    printf '%s\\n' "$one"
done >>/etc/libvirt/qemu.conf
virtlogd --daemon --pid-file /run/virtlogd.pid
# The shell stays: what detaches itself becomes its child, and libvirt waits until somebody has reaped that.
libvirtd &
wait $!
"""


class LibvirtFailed(Exception):
    """libvirt does not run here; the message has its last words."""


class Libvirt:
    """A daemon as a context manager; commands that shall reach it run in its namespaces."""

    def __init__(self, folder: Path) -> None:
        """`folder` keeps its disks and logs."""
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in FOLDERS:
            (self._folder / name).mkdir(parents=True)
        script = START.format(folder=shlex.quote(str(self._folder)), folders=" ".join(FOLDERS))
        # The PID namespace ends with unshare: daemon, dnsmasq and QEMU, which all detach themselves.
        alone = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
        with (self._folder / "libvirtd.log").open("w") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, *alone, "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if self._first() and self.virsh("version", check=False).returncode == 0:
                return
            time.sleep(0.2)
        raise LibvirtFailed((self._folder / "libvirtd.log").read_text(errors="replace")[-2000:])

    def _first(self) -> str:
        """Process id of the first process in its namespaces; empty: there is none yet."""
        assert self._process is not None
        pid = self._process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return found[0] if found else ""

    def argv(self, *command: str, cwd: Path | None = None) -> list[str]:
        """What runs a command beside it."""
        inside = ("nsenter", "--target", self._first(), "--mount", "--net", "--pid")
        return [*DIE_WITH_PARENT, *inside, f"--wd={cwd or Path.cwd()}", "--", *command]

    def virsh(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Ask the daemon."""
        command = self.argv("virsh", "--connect", "qemu:///system", *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            if first := self._first():  # so that unshare itself reaps it: not every machine's init does
                os.kill(int(first), signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait()
