"""Stacks of Onload's on a host are waited for, before whatever is measured in a lab that has the backend onload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from labkit.backends import onload_stacks
from labkit.backends.onload_stacks import await_no_stacks, undisturbed
from labkit.errors import EnvironmentBroken
from labkit.lab.live import Lab
from labkit.machine.hosts import LocalHost

HELD = "5: 4242 0 1 2"


@dataclass(frozen=True)
class Host(LocalHost):
    """One whose file of stacks reads so."""

    text: str = ""

    def argv(self, command: Sequence[str], *, cleans_up: bool = False) -> list[str]:
        assert list(command) == ["cat", "/proc/driver/onload/stacks"]
        return ["printf", self.text] if self.text != "none" else ["false"]


def lab(host: Host, *backends: str) -> Lab:
    found: Any = SimpleNamespace(
        topology=SimpleNamespace(backends=backends, commands=()), dut_ports=(SimpleNamespace(host=host),)
    )
    return cast("Lab", found)


def test_a_stack_that_stays_is_named_also_where_the_kernel_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onload_stacks, "ORPHANED_S", 0.1)
    with pytest.raises(EnvironmentBroken, match=r"1 stacks of Onload's .*\(pid 4242\)"):
        undisturbed(lab(Host(text=HELD), "kernel", "onload"))
    undisturbed(lab(Host(text=HELD), "kernel"))  # nobody compares with Onload there
    undisturbed(lab(Host(text=""), "kernel", "onload"))


def test_where_onload_is_not_loaded_only_onload_itself_is_refused() -> None:
    undisturbed(lab(Host(text="none"), "kernel", "onload"))
    with pytest.raises(EnvironmentBroken, match="Onload is not loaded"):
        await_no_stacks(Host(text="none"))
