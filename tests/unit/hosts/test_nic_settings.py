"""Settings of a NIC that it lost with its driver, and gets back."""

from __future__ import annotations

import pytest

from labkit.machine import nic_settings


def put_back(rss: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, reads: dict[str, str]) -> list[str]:
    """Put an RSS table back on a NIC whose driver takes whatever is written, and then reports `reads`."""
    monkeypatch.setattr(nic_settings, "_kept", lambda interface, group: reads)
    monkeypatch.setattr(nic_settings, "_apply", lambda interface, group, values: None)
    return nic_settings.put_back("nic0", {"interface": {}, "groups": {"rss": rss}, "sysctls": {}})


def test_a_table_that_the_driver_does_not_know_yet_is_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert put_back({"indirection": "default"}, monkeypatch, reads={}) == []


@pytest.mark.parametrize("reads", [{}, {"indirection": "default"}, {"indirection": "equal 1"}])
def test_a_table_that_is_another_one_is_named(reads: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    [left] = put_back({"indirection": "weight 1 3"}, monkeypatch, reads=reads)
    assert left == f"nic0 rss: wrote {{'indirection': 'weight 1 3'}}, reads {reads}"
