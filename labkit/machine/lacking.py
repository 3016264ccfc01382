"""What labkit itself needs, checked before it is used: Python packages, enough open files and processes."""

from __future__ import annotations

import importlib.util
import resource
from pathlib import Path

from labkit.errors import EnvironmentBroken
from labkit.machine import fix

PYTHON_PACKAGES = {
    "MLRsearch": "MLRsearch",
    "argcomplete": "argcomplete",
    "hdrh": "hdrhistogram",
    "jinja2": "jinja2",
    "jsonschema": "jsonschema",
    "pyroute2": "pyroute2",
    "pytest": "pytest",
    "yaml": "pyyaml",
    "rich": "rich",
    "scapy": "scapy",
}
"""By the name that is imported: the package that brings it."""

OPEN_FILES = 256
"""Enough for the pipes and sockets of probes, labs, terminals and pytest."""
_WISH = 1024
PROCESSES = 24
"""Enough for namespace holders, probes and threads, with all of them running."""
_CAP_SYS_RESOURCE = 24


def check(*, starts_programs: bool = True) -> None:
    """Raise EnvironmentBroken where anything is missing, with the command that fixes it."""
    check_packages()
    check_open_files()
    if starts_programs:
        check_processes()


def check_packages() -> None:
    """Look for the packages without importing them."""
    missing = [name for name in PYTHON_PACKAGES if not _is_there(name)]
    if missing:
        packages = [PYTHON_PACKAGES[name] for name in missing]
        raise EnvironmentBroken(
            f"Python packages that labkit needs are not installed: {', '.join(packages)}",
            hint=fix.python_packages(*map(fix.requirement, packages)),
        )


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def check_open_files() -> None:
    """Raise the limit as far as this process may. Raises EnvironmentBroken where that is not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return
    most = _WISH if hard == resource.RLIM_INFINITY else min(hard, _WISH)
    if most < OPEN_FILES:
        raise EnvironmentBroken(
            f"a process may have only {hard} files open here (ulimit -n), labkit needs {OPEN_FILES}",
            hint=_more_files(),
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def check_processes(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> None:
    """Look for a limit on processes and threads in the cgroups that this process is in (both versions)."""
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers and "pids" not in controllers.split(","):
            continue
        root = cgroups / "pids" if controllers else cgroups
        here = root / path.lstrip("/")
        for place in (here, *here.parents):
            if not place.is_relative_to(root):
                break
            room = _room(place)
            if room is not None and room < PROCESSES:
                raise EnvironmentBroken(
                    f"only {max(room, 0)} more processes and threads may be started here (limit of the cgroup "
                    f"{place}), labkit needs {PROCESSES}",
                    hint=f"raise {place / 'pids.max'} (a container: docker run --pids-limit 256)",
                )


def _room(cgroup: Path) -> int | None:
    """How many processes a cgroup still takes; None: it has no limit."""
    try:
        return int((cgroup / "pids.max").read_text()) - int((cgroup / "pids.current").read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None


def _more_files() -> str:
    """For the shell that it is pasted into: what `ulimit -n` has lowered there takes CAP_SYS_RESOURCE to raise."""
    command = f"prlimit --pid $$ --nofile={_WISH}:{_WISH}"
    as_root = fix.as_root(command)
    if as_root == command and not _may_raise():
        return f"ulimit -n {_WISH} in a new shell (a container: docker run --ulimit nofile={_WISH})"
    return as_root


def _may_raise() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    held = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(held.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)


def as_error(error: ImportError) -> EnvironmentBroken | None:
    """A package that could not be imported, as an error with its fix; None for a part of labkit itself."""
    top = (error.name or "").partition(".")[0]
    if top == "labkit":
        return None
    packages = [PYTHON_PACKAGES[top]] if top in PYTHON_PACKAGES else []
    wanted = [fix.requirement(name) for name in packages] or fix.requirements()
    return EnvironmentBroken(
        f"a Python package cannot be imported: {error}", hint=fix.python_packages(*wanted)
    )
