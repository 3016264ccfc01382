"""Labs whose frames are not labkit's own, and frames without what differs each time."""

from __future__ import annotations

from pathlib import Path

from scapy.layers.l2 import Ether

from labkit.lab import topology_file
from labkit.lab.topology import Topology

TAGGED = """
traffic:
  protocol: tcp
  vlans: [100, 200]
  fields:
    source_ip: {count: 3}
    destination_port: {first: 1000, count: 4, order: shuffled, seed: 5}
"""
ONE_TAG = (
    "traffic: {vlans: [7], fields: {destination_ip: {count: 5, order: shuffled}, source_port: {count: 2}}}"
)
ECHO = "traffic: {protocol: icmp}"
ECHO_FROM_MANY = "traffic: {protocol: icmp, fields: {source_ip: {count: 300}}}"
OWN_MIX = "traffic: {protocol: tcp, mix: {name: half, weights: {90: 1, 1518: 1}}}"


def lab_of(traffic: str, name: str = "veth", folder: Path = Path()) -> Topology:
    """A lab that labkit ships, with this traffic."""
    return topology_file.parse(topology_file.load(name).text + traffic, folder / f"{name}.yml")


def checked(frame: bytes) -> bytes:
    """The frame, as scapy writes it with all checksums anew; those that say "none" stay."""
    packet = Ether(frame)
    layer = packet.payload
    while layer:
        if layer.name in ("IP", "TCP", "ICMP", "ICMPv6 Echo Request") or (
            layer.name == "UDP" and layer.chksum
        ):
            delattr(layer, "cksum" if layer.name.startswith("ICMPv6") else "chksum")
        layer = layer.payload
    return bytes(packet)
