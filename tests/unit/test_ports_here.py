"""Checks that are tried on a lab's own NICs, and what follows from them."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from labkit.agent import ports_here
from labkit.machine import lock

DRIVERS = {"data0": "ice", "data1": "e1000e", "veth0": "veth"}


@pytest.fixture(autouse=True)
def nics(tmp_path, monkeypatch):
    for name, queues in (("data0", 8), ("data1", 1), ("veth0", 1)):
        for queue in range(queues):
            (tmp_path / name / "queues" / f"rx-{queue}").mkdir(parents=True)
        (tmp_path / name / "queues" / "tx-0").mkdir()
    monkeypatch.setattr(lock, "measuring", lambda **_: nullcontext())  # the real one is this machine's
    monkeypatch.setattr(ports_here, "_NET", tmp_path)
    monkeypatch.setattr(ports_here, "_driver", DRIVERS.__getitem__)
    monkeypatch.setattr(
        ports_here,
        "refused",
        lambda name: None if name == "data0" else f"{name} (driver e1000e): Operation not supported",
    )


def test_native_xdp_is_lacking_where_one_of_the_nics_has_none():
    assert ports_here.findings(["xdp_native"], ["data0"])["xdp_native"]["ok"]
    found = ports_here.findings(["xdp_native"], ["data0", "data1"])["xdp_native"]
    assert not found["ok"]
    assert found["error"] == "data1 (driver e1000e): Operation not supported"
    assert "a NIC whose driver has native XDP" in found["fix"]


def test_a_nic_is_left_alone_while_others_measure_here(monkeypatch):
    def taken(**_):
        raise lock.Busy("another measurement runs on this machine")

    monkeypatch.setattr(lock, "measuring", taken)
    monkeypatch.setattr(ports_here, "refused", lambda name: pytest.fail(f"{name} was tried"))
    assert ports_here.findings(["xdp_native"], ["data0"]) == {}


def test_an_af_xdp_socket_is_not_opened_on_one_of_several_queues():
    found = ports_here.findings(["af_xdp"], ["data1", "data0"])["af_xdp"]
    assert not found["ok"]
    assert found["error"] == "data0 has several receive queues, and an AF_XDP socket receives from one"
    assert found["fix"].endswith("ethtool -L data0 combined 1")


def test_without_a_nic_nothing_is_said_to_have_been_tried():
    assert ports_here.findings(ports_here.CHECKS, []) == {}


@pytest.mark.parametrize("checks", [["af_xdp"], []])
def test_what_nics_do_not_decide_is_left_to_the_doctor(checks):
    assert ports_here.findings(checks, ["data1"]) == {}


def test_busy_polling_is_tried_on_a_veth_and_left_to_the_proof_on_a_nic():
    assert ports_here.findings(["busy_poll"], ["data0"])["busy_poll"]["ok"]
    assert ports_here.findings(["busy_poll"], ["data0", "veth0"]) == {}
