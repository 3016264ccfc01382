"""irqbalance keeps off isolated cores, told by files of our own: the user's are read, never edited."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from . import cpus, files
from .state import Change, State

KIND = "irqbalance"
UNIT = "irqbalance.service"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/labkit.conf"
ENVIRONMENT = "/etc/labkit/irqbalance"
THEIRS = ("/etc/default/irqbalance", "/etc/sysconfig/irqbalance")
"""Where Debian and EL keep the user's settings."""

START_S = 10.0

Systemctl = Callable[..., str]


class IrqbalanceFailed(Exception):
    """systemd said no, or irqbalance does not run with what it was given."""


def systemctl(*words: str) -> str:
    """Run it and return what it prints. Raises IrqbalanceFailed."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise IrqbalanceFailed(
            f"systemctl {' '.join(words)}: {done.stderr.strip() or f'exit code {done.returncode}'}"
        )
    return done.stdout.strip()


def banned(environment: str) -> frozenset[int]:
    """Cores that a file of settings, or a process's environment a line each, bans. Raises ValueError.

    As irqbalance does, which reads the older mask only where there is no list; the last of several lines counts.
    """
    found = dict(
        re.findall(
            r"""^\s*(?:export\s+)?(IRQBALANCE_BANNED_CPU(?:LIST|S))=["']?([0-9a-fA-F,-]*)""",
            environment,
            re.M,
        )
    )
    if "IRQBALANCE_BANNED_CPULIST" in found:
        return cpus.parse(found["IRQBALANCE_BANNED_CPULIST"])
    return cpus.from_mask(found.get("IRQBALANCE_BANNED_CPUS", ""))


def change(
    role: str,
    isolated: str,
    *,
    root: Path = Path("/"),
    check: bool = False,
    systemctl: Systemctl = systemctl,
) -> tuple[bool, str]:
    """Ban these cores besides those that the user bans. Returns whether that changes anything, and what was found.

    Judged by the environment of the process that runs: a file that it never read bans nothing.
    """
    if not (root / "run/systemd/system").is_dir():
        return False, "systemd does not run here: nothing to do"
    if systemctl("show", "--property=LoadState", "--value", UNIT) != "loaded":
        return False, "irqbalance is not installed: nothing to do"
    wanted = cpus.parse(isolated)
    for theirs in THEIRS:
        if (root / theirs.lstrip("/")).is_file():
            wanted |= banned((root / theirs.lstrip("/")).read_text())
    ours = {
        ENVIRONMENT: "# Isolated cores, and those that /etc/default or /etc/sysconfig bans.\n"
        f"IRQBALANCE_BANNED_CPULIST={cpus.listed(wanted)}\n",
        # The last file counts, so this one is added after the user's.
        DROP_IN: f"[Service]\nEnvironmentFile={ENVIRONMENT}\n",
    }
    changed = any(files.change(role, path, text, root=root, check=True) for path, text in ours.items())
    stale = _running(root, systemctl) not in (None, wanted)
    if (changed or stale) and not check:
        # Noted before the files, so undone after them: by then irqbalance starts as it did before.
        State(role, root).note(KIND, UNIT, None, {"banned": cpus.listed(wanted)})
        for path, text in ours.items():
            files.change(role, path, text, root=root)
        systemctl("daemon-reload")
        if stale:
            systemctl("try-restart", UNIT)
        if not _comes_to_run(wanted, root, systemctl):
            raise IrqbalanceFailed(
                f"{UNIT} was restarted with {DROP_IN}, but runs without IRQBALANCE_BANNED_CPULIST="
                f"{cpus.listed(wanted)}: look at systemctl cat {UNIT}"
            )
    return changed or stale, f"banned cores: {cpus.listed(wanted)}"


def _running(root: Path, systemctl: Systemctl) -> frozenset[int] | None:
    """Cores that the running irqbalance was told not to use; None: it does not run (it ends itself on small hosts)."""
    pid = systemctl("show", "--property=MainPID", "--value", UNIT)
    try:
        environment = (
            (root / f"proc/{pid}/environ").read_text(errors="replace") if pid not in ("", "0") else None
        )
    except FileNotFoundError:
        return None
    return None if environment is None else banned(environment.replace("\0", "\n"))


def _comes_to_run(wanted: frozenset[int], root: Path, systemctl: Systemctl) -> bool:
    """Whether it runs as wanted, soon: systemd is done with a start when it has forked, before irqbalance is there."""
    deadline = time.monotonic() + START_S
    while _running(root, systemctl) not in (None, wanted):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def restore(change: Change, root: Path) -> str | None:
    """Let it start as before, after its files are gone; None when done, else why not."""
    if not (root / "run/systemd/system").is_dir():
        return None
    try:
        systemctl("daemon-reload")
        systemctl("try-restart", change.target)
    except IrqbalanceFailed as error:
        return str(error)
    return None
