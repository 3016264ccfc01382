"""ansible/apply-local, as it is typed in a shell in which no environment is active."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.beside

ANSIBLE = Path(__file__).parents[2] / "ansible"
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what it needs, which other users may enter."""
    shutil.copytree(ANSIBLE, tmp_path / "ansible", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o777 == 0o700:  # pytest's own
            folder.chmod(0o755)
    return tmp_path


def program(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "ansible-playbook"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return folder


def recent(folder: Path) -> Path:
    """Says by which path it was called, and with what."""
    return program(folder, 'test "$1" = --version && echo "ansible-playbook [core 2.17.0]" || echo "$0 $*"')


def old(folder: Path) -> Path:
    """As Debian 12 has it."""
    return program(folder, "echo 'ansible-playbook [core 2.14.18]'; test \"$1\" = --version")


def apply_local(
    checkout: Path, *arguments: str, path: str = SYSTEM, user: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """In a session of its own: no terminal that sudo could ask on."""
    return subprocess.run(
        [*user, str(checkout / "ansible/apply-local"), *arguments],
        env={**os.environ, "PATH": path},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        timeout=120,
    )


def test_revert_runs_with_the_ansible_of_a_tox_environment(checkout: Path) -> None:
    program(checkout / ".tox/perf/bin", f'exec "{Path(sys.executable).with_name("ansible-playbook")}" "$@"')

    done = apply_local(checkout, "--revert", "--syntax-check")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"playbook: {checkout}/ansible/revert.yml" in done.stdout


@pytest.mark.parametrize("environment", ["perf", "test", "revert"])
@pytest.mark.parametrize(
    ("arguments", "playbook"), [([], "local.yml"), (["--revert"], "revert.yml")], ids=["apply", "revert"]
)
def test_ansible_of_whatever_tox_environment_is_found(
    checkout: Path, environment: str, arguments: list[str], playbook: str
) -> None:
    folder = recent(checkout / ".tox" / environment / "bin")

    done = apply_local(checkout, *arguments, "--check")

    assert done.stdout.split() == [
        str(folder / "ansible-playbook").replace(str(checkout), f"{checkout}/ansible/.."),
        "--check",
        f"{checkout}/ansible/{playbook}",
    ]


def test_ansible_of_a_distribution_that_is_too_old_is_passed_over(checkout: Path) -> None:
    recent(checkout / ".tox/perf/bin")

    done = apply_local(checkout, "--revert", path=f"{old(checkout / 'distribution')}:{SYSTEM}")

    assert "/.tox/perf/bin/ansible-playbook" in done.stdout, done.stderr


def test_ansible_on_path_comes_first(checkout: Path) -> None:
    recent(checkout / ".tox/perf/bin")
    folder = recent(checkout / "mine")

    done = apply_local(checkout, "--revert", path=f"{folder}:{SYSTEM}")

    assert done.stdout.startswith(f"{folder}/ansible-playbook "), done.stderr


@pytest.mark.parametrize(("arguments", "environment"), [([], "perf"), (["--revert"], "revert")])
def test_without_any_ansible_the_tox_environment_that_brings_it_is_named(
    checkout: Path, arguments: list[str], environment: str
) -> None:
    done = apply_local(checkout, *arguments, path=f"{old(checkout / 'distribution')}:{SYSTEM}")

    assert done.returncode == 3
    assert f"fix: cd {checkout} && sudo pipx run tox -e {environment} " in done.stderr
    assert done.stdout == ""


def test_revert_that_may_not_become_root_is_refused(checkout: Path) -> None:
    """Applying builds the probe then; of a revert nothing would be left."""
    path = f"{program(checkout / 'bin', 'echo [core 2.17.0]')}:{SYSTEM}"

    done = apply_local(checkout, "--revert", path=path, user=NOBODY)

    assert done.returncode == 3
    assert f"fix: run it as root: {checkout}/ansible/apply-local --revert" in done.stderr
