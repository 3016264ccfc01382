"""Why apt cannot go on, in a person's words: locked, no room, no network, no such package."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from . import locks
from .package_manager import Done, IndexOutdated, PackagesRefused, PackageUnknown

LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)


def wait_for_locks(timeout_s: float) -> None:
    """Wait until no other apt or dpkg is at work. Raises PackagesRefused, which names it.

    apt waits for some of its locks by itself, but neither for all, nor does it say in the end for whom.
    """
    locks.wait("apt", lambda: locks.held(locks.holder, LOCKS), timeout_s)


def room(shown: str, *, archives: str = "/var/cache/apt/archives", installed: str = "/usr") -> None:
    """Refuse what has no room, by the text of `apt-cache show`. Raises PackagesRefused."""
    need: dict[int, int] = {}
    place: dict[int, str] = {}
    kib = [int(number) for number in re.findall(r"^Installed-Size: (\d+)", shown, re.MULTILINE)]
    sizes = [int(number) for number in re.findall(r"^Size: (\d+)", shown, re.MULTILINE)]
    for folder, size in ((installed, sum(kib) * 1024), (archives, sum(sizes))):
        with contextlib.suppress(OSError):
            device = Path(folder).stat().st_dev
            need[device] = need.get(device, 0) + size
            place.setdefault(device, folder)
    for device, size in need.items():
        found = os.statvfs(place[device])
        free = found.f_bavail * found.f_frsize
        if size > free:
            raise PackagesRefused(
                f"the disk of {place[device]} is too full: {size >> 20} MiB are needed, {free >> 20} MiB are free. "
                "No package was changed. Make room (apt-get clean), then run this again."
            )


def explain(done: Done) -> PackagesRefused:
    """The message about a command that failed."""
    text = done.output
    unknown = re.findall(
        r"Unable to locate package (\S+)|Package '?([^\s']+)'? has no installation candidate", text
    )
    if unknown:
        names = ", ".join(sorted({one or other for one, other in unknown}))
        return PackageUnknown(
            f"no package {names} is in the index of this host, nor after apt-get update. Look at the name and at "
            "/etc/apt/sources.list*."
        )
    said = _said(text)
    if re.search(r"No space left on device|don't have enough free space", text):
        return PackagesRefused(f"the disk is full: {said}. Make room (apt-get clean), then run this again.")
    if re.search(r"^E: .*404 +Not Found", text, re.MULTILINE):
        return IndexOutdated(f"the archive no longer has what its index names: {said}")
    if re.search(
        r"(Temporary failure|Something wicked happened) resolving|Could not (resolve|connect)|Unable to connect|"
        r"Connection (failed|refused|timed out)|Network is unreachable|does not have a Release file|Failed to fetch",
        text,
    ):
        return PackagesRefused(
            f"the package archive cannot be reached: {said}. Look whether this host reaches it (http_proxy, "
            "/etc/apt/sources.list*), then run this again."
        )
    if re.search(r"Could not get lock|Unable to (acquire|lock)|is another process using it", text):
        return PackagesRefused(f"apt is in use: {said}. Let it finish, then run this again.")
    return PackagesRefused(f"{' '.join(done.command[:1])} failed with exit code {done.code}: {said}")


def _said(text: str) -> str:
    """Its errors, else the last that it printed."""
    lines = text.strip().splitlines()
    errors = [line for line in lines if re.match(r"E: |Err:|dpkg: error|dpkg-deb: error", line)]
    unmet = [line.strip() for line in lines if " Depends: " in line or " Conflicts: " in line]
    return "; ".join((unmet + errors)[:6] or lines[-6:] or ["nothing was said"])
