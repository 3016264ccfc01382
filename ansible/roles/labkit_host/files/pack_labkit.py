"""Packs labkit and the Python packages that it needs, for a host: `pack_labkit.py CHECKOUT PYTHON MACHINE`.

PYTHON is the version there (3.11), MACHINE as uname prints it. Prints {"identity"}, by which a host that has it already
is known; with --pack also {"path", "sha256"} of the archive, a folder for PYTHONPATH. Runs where Ansible does: the host
needs no package index.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ANSIBLE = (
    *("ansible.cfg", "apply-local", "README.md", "site.yml", "revert.yml", "verify.yml", "local.yml"),
    *("vagrant.yml", "collections", "roles", "tasks"),
    *("inventory/example.yml", "inventory/local.yml", "inventory/vagrant.yml"),
)
"""What labkit ships of ansible/. Anything else there is the user's own, and often secret: it goes to no host."""
NEEDED = (
    *("labkit", "topologies", "tests/perf", "pyproject.toml", "README.md", "LICENSE"),
    *(f"ansible/{name}" for name in ANSIBLE),
)
LEFT_OUT = {"__pycache__", ".pytest_cache", ".ruff_cache"}
GLIBC = ("_2_28", "_2_17", "2014", "2010", "1")
"""Of the wheels that are taken, newest first: that of Debian 12 is 2.36."""
IDENTITY = ".identity"


def identity(checkout: Path, python: str, machine: str) -> str:
    """Of labkit's files, the packages that it asks for, and the Python that it is for."""
    found = hashlib.sha256(f"{python} {machine}\0".encode())
    for name in NEEDED:
        top = checkout / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            inside = path.relative_to(checkout)
            if path.is_file() and not LEFT_OUT & set(inside.parts):
                found.update(str(inside).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def pack(checkout: Path, python: str, machine: str) -> str:
    """Path of the archive. Ends with pip's own words if it fails."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    with tempfile.TemporaryDirectory() as temporary:
        site, wheel = Path(temporary) / "site", Path(temporary) / "wheel"
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        there = ["--target", str(site), "--no-compile", "--only-binary=:all:", "--python-version", python]
        there += [f"--platform=manylinux{glibc}_{machine}" for glibc in GLIBC]
        _run([*pip, "install", *there, *project["dependencies"]])
        _run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheel), str(checkout)])
        _run([*pip, "install", *there, "--no-deps", *map(str, wheel.glob("*.whl"))])
        leave_out_others(site / "labkit/ansible")
        (site / IDENTITY).write_text(identity(checkout, python, machine) + "\n", encoding="ascii")
        descriptor, path = tempfile.mkstemp(prefix="labkit-python-", suffix=".tar")
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            for one in sorted(site.iterdir()):
                tar.add(one, one.name, filter=_of_root)
    return path


def leave_out_others(folder: Path) -> None:
    """Remove what is not labkit's own from the copy of ansible/."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        inside = path.relative_to(folder).as_posix()
        if any(inside == own or inside.startswith(f"{own}/") for own in ANSIBLE):
            continue
        if not path.is_dir():
            path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}".strip()[-3000:])


def main() -> int:
    """Command line."""
    checkout, python, machine, *more = sys.argv[1:]
    printed = {"identity": identity(Path(checkout).resolve(), python, machine)}
    if more == ["--pack"]:
        path = pack(Path(checkout).resolve(), python, machine)
        printed |= {"path": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    print(json.dumps(printed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
