"""Commands that are printed for people to paste: with full paths, for the right user, for the way labkit was installed.

Every fix and hint that is a command comes from here. A name that an index of packages could resolve to a stranger's
package is never printed. Runs wherever the probe is built: Python 3.9, and nothing installed.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from labkit.machine.ownership import caller

_PASSED_ON = ("LABKIT_PROBE_DIR", "LABKIT_STATE_DIR", "LABKIT_TREX_DIR", "XDG_CACHE_HOME")
"""Variables that say where labkit's files and TRex are; sudo drops them."""
_APT = Path("/usr/bin/apt-get")
_APT_LISTS = Path("/var/lib/apt/lists")
_UID_MAP = Path("/proc/self/uid_map")


def labkit(*words: str, root: bool | None = None) -> str:
    """A call of labkit that works in the shell of the reader; `root` None: with the rights of this process.

    False: without sudo, even if this process runs under sudo: the probe and the results belong to the user.
    """
    if (root or (root is None and caller() is not None)) and (prefix := _sudo()):
        return shlex.join([*prefix, *_passed_on(), *_program(), *words])
    short = program("labkit") == "labkit" and len(_program()) == 1
    # Under sudo these may be set for this process only, not in the reader's shell.
    kept = _passed_on() if caller() is not None else []
    return shlex.join([*kept, *(["labkit"] if short else _program()), *words])


def again_as_root() -> str:
    """The command that is running now, as root. For root, with sudo or not, it is no help."""
    if _real_root():
        return "more rights: this root lacks some (in a container: start it with --privileged)"
    prefix = _sudo()
    words = sys.orig_argv[1:] if hasattr(sys, "orig_argv") else []
    options = list(itertools.takewhile(lambda word: word.startswith("-"), words))
    if "-c" in options or len(options) == len(
        words
    ):  # code on the command line, as for a worker of pytest-xdist
        return labkit("run", root=True)
    if Path(words[0]).name == "labkit":
        return labkit(*words[1:], root=True)
    return shlex.join([*prefix, *_passed_on(), sys.executable, *words])


def lockable_memory() -> str:
    """Allow more locked memory: root has no limit, unless it lacks CAP_IPC_LOCK."""
    if _real_root():
        return "ulimit -l unlimited"
    return again_as_root()


def as_root(command: str) -> str:
    """A command, or several in shell syntax, prefixed so that it runs as root."""
    prefix = _sudo()
    if not prefix:
        return command
    if "|" in command or ">" in command or ";" in command or "&&" in command:
        return shlex.join([*prefix, "sh", "-c", command])
    return f"{shlex.join(prefix)} {command}"


def packages(*names: str) -> str:
    """Install packages of the distribution (Debian's names)."""
    listed = " ".join(dict.fromkeys(names))
    if not _APT.exists():
        return f"install {listed} (the names of Debian's packages)"
    if not any(_APT_LISTS.glob("*_Packages*")):  # a fresh image: apt knows no package yet
        return f"{as_root('apt-get update')} && {as_root(f'apt-get install {listed}')}"
    if unknown := [name for name in dict.fromkeys(names) if not _known(name)]:
        return f"none from this distribution's archives, which have no {', '.join(unknown)}"
    return as_root(f"apt-get install {listed}")


def python_packages(*requirements: str) -> str:
    """Install packages of Python beside labkit, by the program that installed it."""
    if (Path(sys.prefix) / "pipx_metadata.json").exists():
        return shlex.join(["pipx", "inject", Path(sys.prefix).name, *requirements])
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install"]
        if (
            sys.prefix == sys.base_prefix
            and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
        ):
            command.append("--break-system-packages")
    elif shutil.which("uv") is not None:
        command = ["uv", "pip", "install", "--python", sys.executable]
    else:
        command = [sys.executable, "-m", "ensurepip", "&&", sys.executable, "-m", "pip", "install"]
    shown = " ".join(word if word == "&&" else shlex.quote(word) for word in [*command, *requirements])
    return shown if os.access(sysconfig.get_path("purelib"), os.W_OK) else as_root(shown)


def requirements() -> list[str]:
    """All that labkit needs of Python."""
    return list(_requirements())


def requirement(name: str) -> str:
    """What labkit asks for of a package of Python, such as "rich>=13.9"; the name alone where that is not known."""
    return next((r for r in _requirements() if _name_of(r) == _normal(name)), name)


def packages_of(name: str) -> str:
    """Install what one of labkit's extras brings: the packages by their own names."""
    found = [r for r, of in _requirements(extras=True) if of == name and _name_of(r) != _normal(_own_name())]
    return python_packages(*found) if found else f"install labkit with its extra {name!r}"


def newer() -> str:
    """Update labkit in the way that it was installed."""
    where, editable = _came_from()
    if where is not None and editable:
        return shlex.join(["git", "-C", str(where), "pull"])
    return "install a newer labkit the way that this one was installed"


def _passed_on() -> list[str]:
    kept = [f"{name}={os.environ[name]}" for name in _PASSED_ON if os.environ.get(name)]
    return ["env", *kept] if kept else []


def program(name: str) -> str:
    """A program that was installed beside this Python: by its name where the shell finds it so, else in full."""
    beside = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if not beside.exists() or (
        found is not None and caller() is None and Path(found).resolve() == beside.resolve()
    ):
        return name
    return shlex.quote(str(beside))


def _program() -> list[str]:
    beside = Path(sys.executable).with_name("labkit")
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", "labkit.cli"]


def _sudo() -> list[str]:
    """The prefix of a command for root: empty if this process is root, and not by sudo."""
    return [] if _real_root() and caller() is None else ["sudo"]


def _real_root() -> bool:
    return os.geteuid() == 0 and not _lone_root()


def _lone_root() -> bool:
    """Whether it is root of a user namespace with a single user only: made by a user without root."""
    try:
        lines = _UID_MAP.read_text().splitlines()
    except OSError:
        return False
    return len(lines) == 1 and lines[0].split()[2] == "1"


def _own() -> metadata.Distribution | None:
    """The distribution that brought labkit, whatever its name is."""
    for found in metadata.distributions():
        for point in found.entry_points:
            if point.group == "console_scripts" and point.value == "labkit.cli:main":
                return found
    return None


def _own_name() -> str:
    own = _own()
    return str(own.metadata["Name"]) if own else "labkit"


def _known(package: str) -> bool:
    command = ["apt-cache", "show", "--no-all-versions", package]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return True


def _requirements(*, extras: bool = False) -> list:  # type: ignore[type-arg]
    own = _own()
    split = [
        (r.partition(";")[0].strip(), r.partition(";")[2]) for r in (own.requires if own else None) or ()
    ]
    if not extras:
        return [r for r, marker in split if "extra" not in marker]
    return [(r, marker.split("extra ==")[1].strip(" '\"")) for r, marker in split if "extra ==" in marker]


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _name_of(requirement: str) -> str:
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), len(requirement))
    return _normal(requirement[:end])


def _came_from() -> tuple[Path | None, bool]:
    """The folder or wheel that labkit was installed from, and whether it runs from there."""
    own = _own()
    try:
        origin = json.loads((own.read_text("direct_url.json") if own else None) or "{}")
    except ValueError:
        origin = {}
    url = origin.get("url", "")
    place = Path(url[len("file://") :]) if url.startswith("file://") else None
    return place, bool(origin.get("dir_info", {}).get("editable"))
