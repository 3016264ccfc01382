"""Gates over NICs, and cables held against a topology."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import EnvironmentBroken
from labkit.lab.links.cabling import check
from labkit.lab.topology_file import parse
from labkit.measure.nic import (
    NicFacts,
    by_its_driver,
    crc_errors_gate,
    differences,
    gates,
    of_port,
    rx_missed_gate,
)
from labkit.measure.noise import NoiseReading

READ = {
    "interface": "enp1s0f0",
    "speed_mbps": 25000,
    "duplex": "full",
    "local_cores": [0, 1, 2, 3],
    "pcie": "8.0 GT/s x8",
    "pcie_max": "8.0 GT/s x8",
    "pause": {"receive": False, "send": False},
}
LAB = """\
description: two cables
backends: [af_packet]
hosts: {tester: here, dut: alpha}
links:
  - name: a
    kind: nic
    tester: {interface: nic0, ipv4: 198.18.0.1/24}
    dut: {interface: nic0, ipv4: 198.18.0.2/24}
  - name: b
    kind: nic
    tester: {interface: nic1, ipv4: 198.18.1.1/24}
    dut: {interface: nic1, ipv4: 198.18.1.2/24}
"""


def states(tester: NicFacts, dut: NicFacts) -> dict[str, str]:
    return {gate.name: gate.state for gate in gates([(tester, dut)])}


def end(machine: str = "alpha", core: int = 1, **other: object) -> NicFacts:
    return of_port({**READ, **other}, machine=machine, core=core)


def test_two_equal_ends_pass_every_gate() -> None:
    assert states(end("here"), end()) == {"link": "ok", "pause": "ok", "pcie": "ok", "numa": "ok"}


def test_what_a_driver_does_not_report_is_no_fault_and_is_never_called_right() -> None:
    silent = dict.fromkeys(("speed_mbps", "duplex", "local_cores", "pcie", "pcie_max", "pause"))
    for gate in gates([(end("here", **silent), end(**silent))]):
        assert gate.state == "ok"
        assert gate.value.count("not reported") in (2, 4), gate  # of both ends; speed and duplex
    for gate in gates([(end("here", **silent), end())]):
        assert "enp1s0f0 of here: " in gate.value
        assert "not reported" in gate.value, gate
        assert "enp1s0f0 of alpha: " in gate.value


@pytest.mark.parametrize(
    ("other", "gate", "state", "said"),
    [
        ({"duplex": "half"}, "link", "invalid", "enp1s0f0 of alpha: 25000 Mb/s, half"),
        ({"speed_mbps": 10000}, "link", "invalid", "enp1s0f0 of here: 25000 Mb/s, full"),
        ({"pause": {"receive": True, "send": True}}, "pause", "warn", "enp1s0f0 of alpha: receive and send"),
        ({"pcie": "8.0 GT/s x4"}, "pcie", "warn", "enp1s0f0 of alpha: 8.0 GT/s x4 of 8.0 GT/s x8"),
        ({"core": 9}, "numa", "warn", "enp1s0f0 of alpha: core 9, the NIC's are 0-3"),
    ],
)
def test_what_is_not_as_it_should_be_is_named_with_its_port_and_machine(
    other: dict, gate: str, state: str, said: str
) -> None:
    found = {one.name: one for one in gates([(end("here"), end(**other))])}
    assert found.pop(gate).state == state
    assert {one.state for one in found.values()} == {"ok"}
    assert said in next(one.value for one in gates([(end("here"), end(**other))]) if one.name == gate)


def counted(**grown: int) -> dict:
    nics = {"nic0": {"rx_packets": 50, **dict.fromkeys(grown, 7)}}
    before = NoiseReading(cpus={}, clocksource="tsc", allowed_cores={}, nics=nics)
    nics = {"nic0": {"rx_packets": 1050, **{name: 7 + more for name, more in grown.items()}}}
    return differences({"alpha": before}, {"alpha": replace(before, nics=nics)})


def test_a_driver_of_user_space_reports_the_link_in_the_kernels_place() -> None:
    kernel = {**READ, "pause": {"receive": True, "send": True}}
    driven = {**kernel, **by_its_driver({"speed_mbps": 10000, "duplex": "half", "driver": "net_ixgbe"})}
    found = of_port(driven, machine="alpha", core=1)
    assert (found.speed_mbps, found.duplex, found.pause) == (10000, "half", None)
    assert found.pcie == READ["pcie"], "the slot is the same whatever drives the NIC"
    unknown = of_port({**kernel, **by_its_driver({})}, machine="alpha", core=1)
    assert (unknown.speed_mbps, unknown.duplex) == (None, None)


def test_what_nics_counted_is_the_difference_of_two_readings() -> None:
    assert counted(rx_crc_errors=3) == {"alpha": {"nic0": {"rx_packets": 1000, "rx_crc_errors": 3}}}
    without = NoiseReading(cpus={}, clocksource="tsc", allowed_cores={})
    assert differences({"": without}, {"": without}) == {}


@pytest.mark.parametrize(("errors", "state"), [(0, "ok"), (1, "invalid")])
def test_frames_that_came_damaged_make_a_figure_invalid(errors: int, state: str) -> None:
    gate = crc_errors_gate(counted(rx_crc_errors=errors))
    assert gate.state == state
    assert gate.value == ("nic0 of alpha: 1 of 1001 frames" if errors else "none counted")
    assert crc_errors_gate(counted(rx_crc_errors=0, rx_frame_errors=errors)).state == state
    rare = {"alpha": {"nic0": {"rx_packets": 10**9, "rx_crc_errors": 1}}}
    assert crc_errors_gate(rare).state == "warn"


@pytest.mark.parametrize(("missed", "state"), [(0, "ok"), (5, "warn"), (100, "invalid")])
def test_frames_that_the_testers_nic_dropped_are_not_the_duts_loss(missed: int, state: str) -> None:
    found = counted(rx_missed_errors=missed)
    assert rx_missed_gate(found, {"alpha": ["nic0"]}).state == state
    assert rx_missed_gate(found, {"here": []}).state == "ok"  # on alpha it is the DUT's own


def test_a_frame_that_a_driver_counts_under_two_names_is_one() -> None:
    both = counted(rx_missed_errors=5, rx_fifo_errors=5)
    assert rx_missed_gate(both, {"alpha": ["nic0"]}).value == "nic0 of alpha: 5 of 1005 frames"


@pytest.mark.parametrize(
    ("grown", "said"),
    [
        ({}, "not read"),
        ({"rx_packets": 1000}, "not read"),
        ({"rx_missed_errors": 0}, "not read"),
        ({"rx_packets": -9, "rx_missed_errors": 0}, "began anew"),
        ({"rx_packets": 1000, "rx_missed_errors": -7}, "began anew"),
    ],
)
def test_counters_that_are_gone_or_began_anew_are_warned_of(grown: dict[str, int], said: str) -> None:
    gate = rx_missed_gate({"alpha": {"nic0": grown}}, {"alpha": ["nic0"]})
    assert (gate.state, gate.value) == ("warn", f"nic0 of alpha: {said}")
    assert rx_missed_gate({}, {"alpha": ["nic0"]}).state == "warn"


A, B, TO_A, TO_B = "a-tester", "b-tester", "a-dut", "b-dut"


def plugged(heard: dict[str, list[str]]) -> None:
    lab = parse(LAB, Path("lab.yml"))
    assert [port.name for link in lab.links for port in link.ends("tester")] == [A, TO_A, B, TO_B]
    check(lab, lab.links, heard)


def test_cables_as_the_file_says_are_accepted_also_behind_a_switch() -> None:
    plugged({TO_A: [A], TO_B: [B]})
    plugged({TO_A: [A, B], TO_B: [A, B]})


def test_crossed_cables_are_named_with_where_they_lead() -> None:
    with pytest.raises(EnvironmentBroken) as refused:
        plugged({TO_A: [B], TO_B: [A]})
    assert refused.value.message == (
        "the cables are not as lab.yml says: nic0 of here leads to nic1 of alpha, not to nic0 of alpha (link a); "
        "nic1 of here leads to nic0 of alpha, not to nic1 of alpha (link b)"
    )


def test_a_port_that_hears_nothing_is_named() -> None:
    with pytest.raises(EnvironmentBroken) as refused:
        plugged({TO_A: [A], TO_B: []})
    assert refused.value.message == "no frame came from nic1 of here to nic1 of alpha (link b)"
