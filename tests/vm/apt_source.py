"""Where guests take their packages from: this host's own apt configuration, or what LABKIT_VM_MIRROR says."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass


class NoSource(Exception):
    """No package source for guests could be found."""


@dataclass(frozen=True)
class AptSource:
    """What mmdebstrap and the guest's apt read."""

    suite: str
    lines: tuple[str, ...]
    """Lines of sources.list."""
    options: tuple[str, ...]
    """Lines of apt.conf: how this host reaches its sources."""


def find() -> AptSource:
    """The source of the Debian suite LABKIT_VM_SUITE (default: this host's own). Raises NoSource."""
    own = platform.freedesktop_os_release()
    suite = os.environ.get("LABKIT_VM_SUITE") or own.get("VERSION_CODENAME", "")
    mirror = os.environ.get("LABKIT_VM_MIRROR")
    if mirror and (os.environ.get("LABKIT_VM_SUITE") or own.get("ID") == "debian"):
        return AptSource(suite, (f"deb {mirror} {suite} main",), _options())
    if own.get("ID") != "debian":
        raise NoSource(
            "guests are Debian machines, and this host is not one: give LABKIT_VM_SUITE (bookworm or trixie) and "
            "LABKIT_VM_MIRROR, the address of a Debian mirror"
        )
    targets = _targets()
    ours = {release for _, release, _ in targets}
    if suite in ours:
        lines = [
            f"deb {site} {release} {component}"
            for site, release, component in targets
            if release.startswith(suite)
        ]
    else:  # another release of the same distribution, from the same mirror
        lines = [
            f"deb {site} {suite} main"
            for site, release, _ in targets
            if release == own.get("VERSION_CODENAME")
        ]
    if not suite or not lines:
        raise NoSource(
            f"this host's apt configuration has no source of {suite or 'its release'!r}; give LABKIT_VM_SUITE and "
            "LABKIT_VM_MIRROR (run apt-get update first where the package index is empty)"
        )
    return AptSource(suite, tuple(dict.fromkeys(lines)), _options())


def _targets() -> list[tuple[str, str, str]]:
    """Site, release and component of each index of the distribution itself."""
    output = _output(
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)",
        "Created-By: Packages",
    )
    rows = [line.split("|") for line in output.splitlines()]
    names = {"Debian", "Ubuntu"}
    return [(site, release, component) for site, release, component, origin in rows if origin in names]


def _options() -> tuple[str, ...]:
    """Proxies and the checks that this host's administrator has switched off: its mirror may need that."""
    wanted = ("Acquire::http::Proxy ", "Acquire::https::Proxy ", "Acquire::Check-")
    return tuple(
        line for line in _output("apt-config", "dump", "Acquire").splitlines() if line.startswith(wanted)
    )


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoSource(f"{' '.join(command[:2])}: {error}") from error
