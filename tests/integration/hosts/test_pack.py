"""The probe's sources as they go to a host: the same bytes for the same sources, and enough to build from."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
PACK = CHECKOUT / "ansible/roles/labkit_host/files/pack.py"


@pytest.fixture
def pack(tmp_path):
    def run(checkout=CHECKOUT):
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        command = [sys.executable, str(PACK), str(checkout)]
        return json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)

    return run


def test_same_sources_make_the_same_archive_wherever_and_whenever(pack, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(CHECKOUT / "labkit", other / "labkit")
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    (other / "labkit/probe/__pycache__").mkdir(exist_ok=True)
    (other / "labkit/probe/__pycache__/x.pyc").touch()

    assert pack(other)["sha256"] == pack()["sha256"]
    (other / "labkit/probe/core/main.c").write_text("")
    assert pack(other)["sha256"] != pack()["sha256"]


def test_archive_is_enough_to_build_from_without_anything_installed(pack, tmp_path):
    with tarfile.open(pack()["path"]) as archive:
        archive.extractall(tmp_path / "there")

    code = "import labkit.probe.build as build; print(build.source_hash()); print(build.SOURCES)"
    command = [sys.executable, "-S", "-B", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path / "there", env={})

    assert done.stdout.splitlines()[1] == str(tmp_path / "there/labkit/probe")


@pytest.mark.parametrize(
    "name",
    [
        "__init__.py",
        "errors.py",
        "machine/__init__.py",
        "machine/fix.py",
        "machine/ownership.py",
        "probe/__init__.py",
        "probe/build.py",
    ],
)
def test_what_builds_it_is_understood_by_python_3_9(name):
    ast.parse((CHECKOUT / "labkit" / name).read_text(), feature_version=(3, 9))
