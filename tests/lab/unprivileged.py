"""Running labkit as an ordinary user, or as root without its rights, wherever the checkout and its environment lie.

Both may be in folders that only root can enter (homes of mode 0700, and tox makes its own so), by a right that is
taken away here: in a mount namespace of its own the program sees them below /mnt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
USER = 65534

PYTHON = "/mnt/venv/bin/python3"
SEEN = {"PYTHONPATH": "/mnt/checkout"}
"""What is set for programs that run below /mnt."""

_ENTER = """
umask 022
mount -t tmpfs -o mode=755 none /mnt
while [ "$1" != -- ]; do
    mkdir "/mnt/$1"
    mount --bind "$2" "/mnt/$1"
    shift 2
done
python=$2
closed=$3
shift 3
if [ -n "$closed" ]; then
    mkdir /mnt/python
    mount --bind "$python" /mnt/python
    mount -t tmpfs -o mode=755 none "$closed"
    mkdir -p "$python"
    mount --bind /mnt/python "$python"
fi
exec "$@"
"""


def below_mnt(**places: Path) -> list[str]:
    """What a command begins with that is to see PYTHON, the checkout, and these places in /mnt.

    A Python in somebody's home keeps its path, since environments lead to it by that: the rest of the home is hidden.
    """
    all_places = {"venv": Path(sys.prefix), "checkout": CHECKOUT, **places}
    words = [word for name, place in all_places.items() for word in (name, str(place))]
    python = Path(sys.executable).resolve().parents[1]
    closed = [folder for folder in (python, *python.parents) if not folder.stat().st_mode & 0o001]
    outermost = str(closed[-1]) if closed else ""
    return ["unshare", "--mount", "sh", "-ec", _ENTER, "sh", *words, "--", str(python), outermost]


def run(
    arguments: Sequence[str], *, probe: Path, home: Path, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments as nobody. `probe` is the folder of the build, `home` one to write to."""
    (home / "work").mkdir(exist_ok=True)
    os.chown(home / "work", USER, USER)
    own = {name for name in os.environ if name.startswith(("XDG_", "LABKIT_")) and name != "LABKIT_WAIT"}
    environment = {
        **{name: value for name, value in os.environ.items() if name not in own},
        **SEEN,
        "HOME": "/mnt/home",
        "LABKIT_PROBE_DIR": "/mnt/probe",
        "LABKIT_STATE_DIR": "/mnt/home/state",
    }

    nobody = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--"]
    return subprocess.run(
        [*below_mnt(probe=probe, home=home / "work"), *nobody, PYTHON, *arguments],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
