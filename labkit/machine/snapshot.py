"""A snapshot of this machine, to compare before and after.

Everything that a lab could leave behind: interfaces, named namespaces, mounts, settings, runtime files, NAPI threads,
and processes. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SETTINGS = ("net", "vm", "kernel", "fs")
_VOLATILE = (
    "kernel/random/", "kernel/ns_last_pid", "kernel/pty/nr", "kernel/perf_event_max_sample_rate", "vm/stat_refresh",
    "kernel/perf_cpu_time_max_percent", "fs/dentry-state", "fs/file-nr", "fs/inode-", "fs/aio-nr", "fs/quota/",
    "fs/binfmt_misc/", "net/netfilter/nf_conntrack_count", "kernel/tainted",
)  # fmt: skip
_RUNTIME = (
    ("/run", "labkit*"),
    ("/run", "dpdk/*"),
    ("/run/netns", "*"),
    ("/dev/shm", "*labkit*"),  # noqa: S108 (only looked at)
    ("/dev/hugepages", "*"),
    ("/sys/fs/bpf", "**/*"),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Facts as text, such as "mount /sys/fs/bpf bpf"."""

    facts: frozenset[str]

    def difference(self, later: Snapshot) -> list[str]:
        """What a later snapshot has that this one has not ("+ ...") and the other way round ("- ...")."""
        gone, new = self.facts - later.facts, later.facts - self.facts
        return sorted([f"- {fact}" for fact in gone] + [f"+ {fact}" for fact in new])


def take(*, mark: str | None = None) -> Snapshot:
    """Take a snapshot.

    With `mark` (NAME=value), of the processes only those that have it in their environment: on a busy machine others
    come and go.
    """
    return Snapshot(frozenset(_all(mark)))


def _all(mark: str | None) -> Iterator[str]:
    yield from (f"interface {path.name}" for path in Path("/sys/class/net").iterdir())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        yield f"mount {left.split()[4]} {right.split()[0]}"
    for area in _SETTINGS:
        for path in (Path("/proc/sys") / area).rglob("*"):
            key = str(path.relative_to("/proc/sys"))
            if not key.startswith(_VOLATILE) and (value := _value(path)) is not None:
                yield f"setting {key} = {value}"
    for directory, pattern in _RUNTIME:
        try:
            yield from (f"file {path}" for path in Path(directory).glob(pattern))
        except OSError:
            continue
    yield from _processes(mark)


def _processes(mark: str | None) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            environment = (entry / "environ").read_bytes().split(b"\0") if mark else []
            name = (entry / "comm").read_text().strip()
        except OSError:
            continue  # gone meanwhile, or not ours to look at
        if name.startswith("napi/"):
            yield f"thread {name}"
        elif command and (mark is None or mark.encode() in environment):
            yield f"process {entry.name} {command}"


def _value(path: Path) -> str | None:
    try:
        return path.read_text().strip() if path.is_file() else None
    except (OSError, UnicodeDecodeError):
        return None  # write-only, or not for us
