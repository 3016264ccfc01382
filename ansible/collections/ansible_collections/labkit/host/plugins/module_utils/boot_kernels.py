"""Kernels: what runs, as the kernel itself reports it and not its name; which are installed, and what each can do."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import kernel_words
from .boot_commands import CommandFailed, Run

FLAVOURS = ("generic", "lowlatency", "rt")
"""`generic` is whatever is there: it asks for nothing."""
POSSIBLE = "/sys/devices/system/cpu/possible"
PREEMPT = ("none", "voluntary", "full", "lazy")


@dataclass(frozen=True)
class Running:
    """The kernel that runs."""

    release: str
    """`uname -r`."""
    version: str
    """`uname -v`: the build's features are named in it."""
    arguments: tuple[str, ...]
    """/proc/cmdline, word by word."""
    realtime: bool
    preempt: str | None
    """none, voluntary, full or lazy; None where it is not known."""
    isolated: str | None = None
    """List of the cores that the scheduler keeps free; None where it is not known."""
    last: int | None = None
    """The last core that it may have, which is N in a list of cores; None where it is not known."""

    def trial(self) -> str | None:
        """Id of the trial that this boot is."""
        found = [word.partition("=")[2] for word in self.arguments if word.startswith("labkit.trial=")]
        return found[-1] if found else None


def running(root: Path = Path("/")) -> Running:
    """Ask the kernel."""
    release = (root / "proc/sys/kernel/osrelease").read_text().strip()
    version = (root / "proc/sys/kernel/version").read_text().strip()
    arguments = tuple(kernel_words.words((root / "proc/cmdline").read_text()))
    realtime = root / "sys/kernel/realtime"
    isolated = root / "sys/devices/system/cpu/isolated"
    return Running(
        release=release,
        version=version,
        arguments=arguments,
        realtime=(realtime.exists() and realtime.read_text().strip() == "1") or "PREEMPT_RT" in version,
        preempt=_preempt(release, version, arguments, root),
        isolated=isolated.read_text().strip() if isolated.exists() else None,
        last=last_core(root),
    )


def last_core(root: Path = Path("/")) -> int | None:
    """The last core that the kernel may have; None where it is not known."""
    possible = root / POSSIBLE.lstrip("/")
    return kernel_words.last_of(possible.read_text()) if possible.exists() else None


def boot_id(root: Path = Path("/")) -> str:
    """Another one at every boot."""
    return (root / "proc/sys/kernel/random/boot_id").read_text().strip()


def _preempt(release: str, version: str, arguments: Sequence[str], root: Path) -> str | None:
    """The scheduler's own word where it may be read (not under lockdown); else what the boot gave it."""
    try:
        found = re.search(r"\((\w+)\)", (root / "sys/kernel/debug/sched/preempt").read_text())
    except OSError:
        found = None
    if found:
        return found.group(1)
    given = [word.partition("=")[2] for word in arguments if word.startswith("preempt=")]
    if given and "PREEMPT_DYNAMIC" in version:
        return given[-1]
    return built_in_preempt(config(release, root))


def built_in_preempt(options: dict[str, str]) -> str | None:
    """What a kernel does with no option given."""
    for option, mode in (
        ("CONFIG_PREEMPT_RT", "full"),
        ("CONFIG_PREEMPT", "full"),
        ("CONFIG_PREEMPT_LAZY", "lazy"),
        ("CONFIG_PREEMPT_VOLUNTARY", "voluntary"),
        ("CONFIG_PREEMPT_NONE", "none"),
    ):
        if options.get(option) == "y":
            return mode
    return None


def config(release: str, root: Path = Path("/")) -> dict[str, str]:
    """Options a kernel was built with; empty where neither /boot nor the running kernel has them."""
    file = root / f"boot/config-{release}"
    own = root / "proc/config.gz"
    if file.exists():
        text = file.read_text(errors="replace")
    elif own.exists() and (root / "proc/sys/kernel/osrelease").read_text().strip() == release:
        text = gzip.decompress(own.read_bytes()).decode(errors="replace")
    else:
        return {}
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))


def not_running(now: Running, *, release: str, flavour: str, preempt: str) -> list[str]:
    """Why what runs is not what is wanted; empty: it is. An empty word wants nothing."""
    reasons = []
    if release and now.release != release:
        reasons.append(f"kernel {now.release} runs, not {release}")
    if flavour == "rt" and not now.realtime:
        reasons.append(f"{now.release} is no real-time kernel (uname -v: {now.version})")
    mode = preempt or ("full" if flavour == "lowlatency" else "")
    if mode and now.preempt != mode:
        reasons.append(f"preemption is {now.preempt or 'unknown'}, not {mode}")
    return reasons


def unfit(release: str, *, flavour: str, preempt: str, root: Path = Path("/")) -> str | None:
    """Why an installed kernel cannot be that; None: it can. Where its options are not known the trial shows it."""
    options = config(release, root)
    if not options:
        return None
    if flavour == "rt" and options.get("CONFIG_PREEMPT_RT") != "y":
        return (
            f"kernel {release} was built without PREEMPT_RT: install a real-time kernel, or name its release"
        )
    mode = preempt or ("full" if flavour == "lowlatency" else "")
    if not mode or mode == built_in_preempt(options):
        return None
    if options.get("CONFIG_PREEMPT_DYNAMIC") != "y":
        return (
            f"kernel {release} was built without PREEMPT_DYNAMIC, so preempt={mode} would do nothing: take flavour rt, "
            "or lowlatency_kernel_packages with a kernel that has it"
        )
    if mode == "lazy" and options.get("CONFIG_ARCH_HAS_PREEMPT_LAZY") != "y":
        return f"kernel {release} does not know preempt=lazy (from 6.13 on): take full or voluntary"
    return None


def installed(root: Path = Path("/")) -> list[str]:
    """Releases with an image in /boot."""
    names = (path.name for path in (root / "boot").glob("vmlinu[xz]-*"))
    return sorted(
        name.partition("-")[2] for name in names if not name.endswith((".dpkg-tmp", ".old", ".bak"))
    )


def brought_by(packages: Sequence[str], run: Run, root: Path = Path("/")) -> str | None:
    """Release of the kernel image that a package, or what it depends on, installed; None: none did."""
    names = [name for item in packages for name in item.split("|")]
    if (root / "var/lib/dpkg/status").exists():
        return _brought_by_debian(names, run, installed(root))
    return _brought_by_rpm(names, run)


def _brought_by_debian(names: Sequence[str], run: Run, images: Sequence[str]) -> str | None:
    listing = run(["dpkg-query", "--show", "--showformat", "${Package}\t${db:Status-Status}\t${Depends}\n"])
    depends = {}
    for line in listing.splitlines():
        name, state, needs = [*line.split("\t"), "", ""][:3]
        if state == "installed":
            depends[name] = re.findall(r"[a-z0-9][a-z0-9.+-]+", re.sub(r"\([^)]*\)", "", needs))
    queue = [name for name in names if name in depends]
    seen = set(queue)
    while queue:
        name = queue.pop(0)
        release = re.sub(r"^linux-image-(unsigned-)?", "", name)
        if release in images:
            return release
        # Only what is of the kernel: the way over its tools leads to every library there is.
        further = [one for one in depends.get(name, []) if one.startswith("linux-") and one not in seen]
        queue += further
        seen |= set(further)
    return None


def _brought_by_rpm(names: Sequence[str], run: Run) -> str | None:
    """Of several versions side by side the newest. EL's kernel-rt is empty: its image is in kernel-rt-core."""
    found = []
    for name in [*names, *(f"{name}-core" for name in names)]:
        try:
            listing = run(["rpm", "--query", "--list", name])
        except CommandFailed:
            continue  # not installed
        found += re.findall(r"^/lib/modules/([^/]+)/vmlinuz$", listing, re.MULTILINE)
    return max(found, key=order) if found else None


def order(release: str) -> list[tuple[int, str]]:
    """Sorts 5.14.0-70 before 5.14.0-427."""
    return [(int(number or 0), text) for number, text in re.findall(r"(\d+)|(\D+)", release)]
