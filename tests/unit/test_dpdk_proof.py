"""What proves that DPDK drove the DUT's ports."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from labkit.backends import dpdk
from labkit.backends.dpdk import BACKEND
from labkit.lab.topology_file import parse

LAB = """\
description: one cable
tier: hardware
backends: [dpdk]
hosts: {tester: here, dut: alpha}
links:
  - name: a
    kind: nic
    mtu: 1600 B
    tester: {interface: nic0, ipv4: 198.18.0.1/24}
    dut: {pci: "0000:03:00.0", ipv4: 198.18.0.2/24}
"""


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What the probe is started with, and the judge of what it reads back."""
    topology = parse(LAB, tmp_path / "lab.yml", alone=True)
    [link] = topology.links
    port = SimpleNamespace(pci="0000:03:00.0", vdev=None, interface=None, link=link)
    asked = {}

    @contextmanager
    def reflecting(lab, *, engine, ports, judge, options):
        asked.update(engine=engine, ports=ports, judge=judge, options=options)
        yield None

    monkeypatch.setattr(dpdk, "reflecting", reflecting)
    mode = BACKEND.modes(topology)[0]
    assert mode.on_vfio
    assert "vfio_pci" in mode.requires
    with BACKEND.start(SimpleNamespace(topology=topology, dut_ports=(port,), facts={}), mode, ip_version=4):
        return asked


def test_a_nic_is_opened_by_its_address_with_the_links_mtu_and_hugepages(started):
    assert started["ports"] == [{"pci": "0000:03:00.0", "mtu_bytes": 1600}]
    assert started["options"] == {"huge": True}


@pytest.mark.parametrize(
    ("device", "proven"), [("0000:03:00.0", True), ("0000:03:00.1", False), ("net_af_packet0", False)]
)
def test_the_device_that_the_eal_reports_is_the_proof(started, device, proven):
    read_back = {"hugepages": True, "ports": [{"driver": "net_ice", "device": device}]}
    assert started["judge"](read_back, {}) == (
        proven,
        "EAL port driver net_ice, hugepages, vfio-pci",
    )


def test_no_port_is_no_proof(started):
    assert started["judge"]({"ports": []}, {})[0] is False
