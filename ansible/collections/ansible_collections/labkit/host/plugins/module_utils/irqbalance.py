"""Ban isolated cores from irqbalance, by files of our own: the user's are read, never edited."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import cpus, environment_files, files, irqbalance_bans
from .irqbalance_bans import LIST, MASK
from .state import Change, State

KIND = "irqbalance"
UNIT = "irqbalance.service"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/labkit.conf"
ENVIRONMENT = "/etc/labkit/irqbalance"
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


def theirs(root: Path, systemctl: Systemctl) -> tuple[frozenset[int], list[str]]:
    """Cores that the user bans, and what irqbalance itself does not read of that, with file and line.

    By the settings that systemd gives to the service, but for ours. Raises IrqbalanceFailed for a file that can't be
    read.
    """
    environment: dict[str, str] = {}
    places: dict[str, str] = {}
    for place, name, value in _settings(root, systemctl):
        environment[name], places[name] = value, place
    bans = irqbalance_bans.of(environment)
    trouble = bans.trouble()
    return bans.cores, [f"{places[bans.name]}: {trouble}"] if trouble else []


def _settings(root: Path, systemctl: Systemctl) -> Iterator[tuple[str, str, str]]:
    """Place, name and value of each setting, in the order in which a later one counts."""
    shown = systemctl("show", "--property=Environment,EnvironmentFiles", UNIT).splitlines()
    for line in shown:
        if line.startswith("Environment="):
            for word in _words(line.partition("=")[2]):
                name, _, value = word.partition("=")
                yield f"Environment= of {UNIT}", name, value
    for line in shown:
        if found := re.fullmatch(r"EnvironmentFiles=(/.*?)(?: \(ignore_errors=(?:yes|no)\))?", line):
            for file in sorted(root.glob(found[1].lstrip("/"))):
                path = f"/{file.relative_to(root)}"
                if path == ENVIRONMENT or not file.is_file():
                    continue
                try:
                    text = file.read_text(encoding="utf-8", errors="replace")
                except OSError as error:
                    raise IrqbalanceFailed(f"{path}: {error.strerror}") from error
                for one in environment_files.parse(text):
                    yield f"{path}:{one.line}", one.name, one.value


def _words(text: str) -> list[str]:
    """As systemctl prints several: with blanks between, and in quotes where they need them."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def change(
    role: str,
    isolated: str,
    *,
    root: Path = Path("/"),
    check: bool = False,
    systemctl: Systemctl = systemctl,
) -> tuple[bool, str, list[str]]:
    """Ban these cores besides those that the user bans.

    Returns whether that changes anything, what was found, and what irqbalance does not read of the user's settings.

    Judged by the environment of the process that runs: a file that it never read bans nothing.
    """
    if not (root / "run/systemd/system").is_dir():
        return False, "systemd does not run here: nothing to do", []
    if systemctl("show", "--property=LoadState", "--value", UNIT) != "loaded":
        return False, "irqbalance is not installed: nothing to do", []
    also, unread = theirs(root, systemctl)
    wanted = cpus.parse(isolated) | also
    ours = {
        # A mask that somebody has set would count before the list.
        ENVIRONMENT: "# Isolated cores, and those that the settings of irqbalance banned besides.\n"
        f"{MASK}=\n{LIST}={cpus.listed(wanted)}\n",
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
                f"{UNIT} was restarted with {DROP_IN}, but runs without {LIST}="
                f"{cpus.listed(wanted)}: look at systemctl cat {UNIT}"
            )
    return changed or stale, f"banned cores: {cpus.listed(wanted)}", unread


def _running(root: Path, systemctl: Systemctl) -> frozenset[int] | None:
    """Cores that the running irqbalance must not use; None: it does not run (it ends itself on small hosts)."""
    pid = systemctl("show", "--property=MainPID", "--value", UNIT)
    try:
        environment = (
            (root / f"proc/{pid}/environ").read_text(errors="replace") if pid not in ("", "0") else None
        )
    except FileNotFoundError:
        return None
    if environment is None:
        return None
    return irqbalance_bans.of_process(environment.replace("\0", "\n")).cores


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
