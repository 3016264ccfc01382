"""What `sudo tox` leaves in a checkout, run for real in a small one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.beside

pytest.importorskip("tox", reason="needs tox: the extra dev has it")

CHECKOUT = Path(__file__).parents[2]
NOBODY = 65534
TOX_INI = """
[tox]
env_list = one
[testenv]
package = skip
allowlist_externals =
    mkdir
    true
commands =
    mkdir -p results/run labkit/deep/__pycache__ notes
    {posargs:true}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "tox.ini").write_text(TOX_INI)
    shutil.copy2(CHECKOUT / "toxfile.py", tmp_path)
    (tmp_path / "labkit" / "machine").mkdir(parents=True)
    for name in ("__init__.py", "machine/__init__.py", "machine/ownership.py"):
        shutil.copy2(CHECKOUT / "labkit" / name, tmp_path / "labkit" / name)
    return tmp_path


def tox(checkout: Path, *arguments: str, **environment: str) -> int:
    own = {name: text for name, text in os.environ.items() if not name.startswith(("TOX", "SUDO_"))}
    command = [sys.executable, "-m", "tox", "-q", "-e", "one", *arguments]
    done = subprocess.run(
        command, cwd=checkout, env={**own, **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode


def owners(checkout: Path, *names: str) -> set[int]:
    return {(checkout / name).stat().st_uid for name in names}


@pytest.mark.parametrize(("command", "code"), [("pass", 0), ("raise SystemExit(1)", 1)])
def test_what_sudo_tox_made_belongs_to_the_caller_however_it_ended(
    checkout: Path, command: str, code: int
) -> None:
    by_sudo = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}

    assert tox(checkout, "--", "python", "-c", command, **by_sudo) == code

    made = (".tox", ".tox/one", ".tox/one/pyvenv.cfg", "results", "results/run", "labkit/deep/__pycache__")
    assert owners(checkout, *made) == {NOBODY}
    assert owners(checkout, "notes", "tox.ini") == {0}  # made by others, or for other ends


def test_roots_own_stays_roots(checkout: Path) -> None:
    assert tox(checkout) == 0
    assert owners(checkout, ".tox", "results") == {0}
