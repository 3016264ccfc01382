"""labkit in a guest: put together here for the guest's Python, copied into its memory; nothing is installed there."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.vm.guest import Guest
from tests.vm.playbook import Say

THERE = "/mnt"
"""A file system in memory is mounted there: a lab has a /run of its own, and on the real one nothing may be run."""
_TOP = Path(__file__).parents[2]


def put(guest: Guest, work: Path, *, debs: str = "") -> None:
    """Copy labkit and what it needs; with `debs` also the programs of those packages, unpacked from apt's cache."""
    version = guest.run("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").out.strip()
    target = work / "site"
    if not target.exists():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--target",
            str(target),
            "--python-version",
            version,
        ]
        _run([*pip, "--only-binary=:all:", *_requirements()])
        wheel = work / "wheel"
        _run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheel), str(_TOP)])
        _run([*pip, "--no-deps", *map(str, wheel.glob("*.whl"))])
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        archive.add(target, "site")
    guest.put(packed.getvalue(), f"mount -t tmpfs -o mode=0755 labkit-test {THERE} && tar -xzC {THERE}")
    if debs:
        unpack = f"dpkg-deb -x $deb {THERE}/root"
        guest.run(f"cd /var/cache/apt/archives && for deb in {debs}; do {unpack}; done")


def command(arguments: str) -> str:
    """The shell command that runs labkit there."""
    path = f"{THERE}/root/usr/bin:{THERE}/root/usr/sbin:$PATH"
    libraries = f"{THERE}/root/usr/lib/x86_64-linux-gnu"
    return (
        f"cd {THERE} && env PATH={path} LD_LIBRARY_PATH={libraries} PYTHONPATH={THERE}/site "
        "LABKIT_PROBE_DIR=/usr/local/lib/labkit/probe "
        f"python3 -m labkit.cli {arguments}"
    )


def fetch(guest: Guest, folder: Path) -> Path:
    """The results of the run there, copied into a folder here; its run's folder."""
    packed = guest.get(f"tar -czC {THERE}/results .")
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        archive.extractall(folder)  # by a guest of ours; Python 3.11.2 knows no filter
    [run] = [path.parent for path in folder.glob("*/results.json")]
    json.loads((run / "results.json").read_text())
    return run


def measured(guest: Guest, folder: Path, say: Say) -> Path:
    """Run `labkit run -m lowlatency` there as it is booted now, with the probe built there; the run's folder here."""
    put(guest, folder, debs="rtla_*.deb libtracefs1_*.deb libtraceevent1_*.deb")
    try:
        done = guest.run(
            command("run -m lowlatency --quick --slow --allow-invalid"), timeout_s=600, check=False
        )
        say(done.out)
        if done.code not in (0, 1):  # 1: a target was missed, as it may be on an emulated CPU
            raise AssertionError(f"labkit run ended with {done.code}: {done.out}{done.err}")
        return fetch(guest, folder)
    finally:
        # labkit's own journal, which is empty, is no change of a role's.
        guest.run(
            f"umount {THERE}; rm -f /var/lib/labkit/journal.jsonl; rmdir /var/lib/labkit 2>/dev/null || true"
        )


def _requirements() -> list[str]:
    import tomllib

    project = tomllib.loads((_TOP / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
