"""Running labkit as an ordinary user, wherever the checkout and its virtual environment lie.

Both may be in folders that only root can enter (tox makes its own so): in a mount namespace of its own the program
sees them below /mnt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
USER = 65534

_ENTER = """
mount -t tmpfs -o mode=755 none /mnt
for place in "venv $1" "checkout $2" "probe $3" "home $4"; do
    mkdir "/mnt/${place%% *}"
    mount --bind "${place#* }" "/mnt/${place%% *}"
done
shift 4
exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
"""


def run(
    arguments: Sequence[str], *, probe: Path, home: Path, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments as nobody. `probe` is the folder of the build, `home` one to write to.

    Skips where the interpreter itself cannot be reached by others.
    """
    (home / "work").mkdir(exist_ok=True)
    os.chown(home / "work", USER, USER)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "LABKIT_"))},
        "HOME": "/mnt/home",
        "PYTHONPATH": "/mnt/checkout",
        "LABKIT_PROBE_DIR": "/mnt/probe",
        "LABKIT_STATE_DIR": "/mnt/home/state",
    }

    def start(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        places = [sys.prefix, str(CHECKOUT), str(probe), str(home / "work")]
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", _ENTER, "sh", *places, "/mnt/venv/bin/python3", *arguments],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    # Twice: the first program of a new user is still looked up with root's rights.
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import labkit.cli'], check=True)"
    reachable = start(["-c", again])
    if reachable.returncode:
        pytest.skip(
            f"an ordinary user cannot run {sys.executable}: use a Python that others may enter (/usr/bin)"
        )
    return start(arguments)
