"""Frame templates: sizes, checksums, mix; what is out of range is refused."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from labkit.errors import ConfigInvalid
from labkit.testers.frames import FrameSpec, frames_command

ENDS = {
    "src_mac": "02:00:00:00:00:01",
    "dst_mac": "02:00:00:00:00:02",
    "src_ip": "198.18.0.1",
    "dst_ip": "198.18.0.2",
    "src_port": 10000,
    "dst_port": 7,
}
ENDS6 = {**ENDS, "src_ip": "2001:2::1", "dst_ip": "2001:2::2"}


def data_of(command, index=0):
    return bytes.fromhex(command["templates"][index]["data"])


def ones_complement(data):
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("size", [64, 128, 1518, 9220])
def test_ipv4_frame_has_the_size_without_fcs_and_valid_headers(size):
    command = frames_command(FrameSpec(size=size), **ENDS)
    data = data_of(command)
    assert len(data) == size - 4
    assert data[:14] == bytes.fromhex("0200000000020200000000010800")
    assert ones_complement(data[14:34]) == 0xFFFF
    assert int.from_bytes(data[16:18], "big") == size - 4 - 14
    assert data[26:34] == bytes([198, 18, 0, 1, 198, 18, 0, 2])
    assert data[34:42] == (10000).to_bytes(2, "big") + b"\x00\x07" + (size - 38).to_bytes(2, "big") + b"\0\0"
    assert not any(data[42:])
    assert command["fields"] == [{"offset": 34, "bytes": 2, "first": 10000, "count": 1}]
    template = command["templates"][0]
    assert (template["signature_offset"], template["checksum_offset"]) == (42, -1)


@pytest.mark.parametrize("size", [84, 128, 1518])
def test_ipv6_frame_carries_a_valid_udp_checksum(size):
    command = frames_command(FrameSpec(size=size, ip_version=6), **ENDS6)
    data = data_of(command)
    assert len(data) == size - 4
    udp = data[54:]
    pseudo = data[22:54] + len(udp).to_bytes(4, "big") + b"\0\0\0\x11"
    padded = udp + b"\0" * (len(udp) % 2)
    assert ones_complement(pseudo + padded) == 0xFFFF
    template = command["templates"][0]
    assert (template["signature_offset"], template["checksum_offset"]) == (62, 60)
    assert command["fields"][0]["offset"] == 54


@pytest.mark.parametrize(("version", "smallest"), [(4, 64), (6, 84)])
def test_imix_is_a_shuffled_mix_of_28_16_4_and_always_the_same(version, smallest):
    spec = FrameSpec(size="imix", ip_version=version)
    assert spec.sizes() == (smallest, 570, 1518)
    assert Counter(spec.order()) == {0: 28, 1: 16, 2: 4}
    assert list(spec.order()) != sorted(spec.order())
    assert spec.order() == FrameSpec(size="imix", ip_version=version).order()
    command = frames_command(spec, **(ENDS if version == 4 else ENDS6))
    assert [len(data_of(command, i)) for i in range(3)] == [smallest - 4, 566, 1514]
    json.dumps(command)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": 63}, "64 to 9220"),
        ({"size": 9221}, "64 to 9220"),
        ({"size": 83, "ip_version": 6}, "84 to 9220"),
        ({"size": "jumbo"}, "imix"),
        ({"size": True}, "imix"),
        ({"ip_version": 5}, "expected 4 or 6"),
        ({"flows": 0}, "1 to 32768"),
        ({"flows": 32769}, "1 to 32768"),
    ],
)
def test_frames_out_of_range_are_refused(arguments, said):
    with pytest.raises(ConfigInvalid, match=said):
        FrameSpec(**arguments)


def test_flows_past_the_last_port_are_refused():
    with pytest.raises(ConfigInvalid, match="65535"):
        frames_command(FrameSpec(flows=2), **{**ENDS, "src_port": 65535})
