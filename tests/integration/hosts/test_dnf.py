"""What dnf 4.14 printed is read right: what comes, what would go, and why it cannot."""

from __future__ import annotations

import os

import pytest
from ansible_collections.labkit.host.plugins.module_utils.dnf import Dnf


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Programs rpm and dnf that know of "there" (installed) and "offered" (to be had)."""
    for name, there in (("rpm", "there"), ("dnf", "offered")):
        (tmp_path / name).write_text(f'#!/bin/sh\nfor last; do :; done\n[ "$last" = {there} ]\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ("there", []),
        ("nosuch", ["nosuch"]),
        ("nosuch|there", []),
        ("nosuch|offered", ["offered"]),
        ("offered|nosuch", ["offered"]),
    ],
)
def test_of_alternatives_the_first_that_there_is_is_asked_for(fakes, asked, missing):
    assert Dnf().missing([asked], []) == missing
