"""Frames that would be sent: in their order, with right checksums, and in a file that is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapReader

from labkit.errors import ConfigInvalid
from labkit.lab import topology_file
from labkit.testers import preview
from labkit.testers.frames import frame_spec


def frames(
    size: int | str = 64, *, version: int = 4, flows: int = 1, lab: str = "veth", count: int = 100
) -> list[bytes]:
    spec = frame_spec(size, ip_version=version, flows=flows)
    command = preview.command_for(topology_file.load(lab), spec, own_mac=True)
    return list(preview.as_sent(command, count))


@pytest.mark.parametrize(("size", "flows"), [(84, 1), (84, 1000), (1518, 3), ("imix", 7)])
def test_checksums_over_ipv6_are_right(size: int | str, flows: int) -> None:
    for frame in frames(size, version=6, flows=flows):
        packet = Ether(frame)
        written = packet[UDP].chksum
        del packet[UDP].chksum
        assert Ether(bytes(packet))[UDP].chksum == written != 0


def test_flows_take_turns_and_sequence_numbers_rise() -> None:
    found = frames(flows=3)
    assert [Ether(frame)[UDP].sport - 10000 for frame in found[:6]] == [0, 1, 2, 0, 1, 2]
    assert [int.from_bytes(frame[44:52], "big") for frame in found] == list(range(100))


def test_a_mix_has_its_order() -> None:
    spec = frame_spec("imix")
    assert [len(frame) + 4 for frame in frames("imix", count=48)] == [
        spec.sizes()[index] for index in spec.order()
    ]


def test_forwarded_frames_go_to_the_testers_second_port() -> None:
    lab = topology_file.load("veth-forward")
    packet = Ether(frames(lab="veth-forward")[0])
    assert packet.payload.dst == str(lab.links[1].tester.ipv4.ip)  # type: ignore[union-attr]
    assert packet.dst == lab.links[0].dut.mac


@pytest.mark.parametrize("lab", ["sim", "bare-metal"])
def test_a_lab_whose_frames_are_not_known_is_refused(lab: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"sends no frames|known only when the lab is up"):
        frames(lab=lab)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"nosuch/out\.pcap: there is no such folder"):
        preview.write(tmp_path / "nosuch" / "out.pcap", iter(frames()))


def test_only_a_file_is_replaced_and_a_link_leads_to_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "pipe", tmp_path, Path("/dev/null"), Path("/")):
        with pytest.raises(ConfigInvalid, match="is no regular file"):
            preview.write(odd, iter(frames()))
    (tmp_path / "link").symlink_to(tmp_path / "real.pcap")
    preview.write(tmp_path / "link", iter(frames(count=3)))
    assert (tmp_path / "link").is_symlink()
    assert len(list(RawPcapReader(str(tmp_path / "real.pcap")))) == 3


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "out.pcap"
    file.write_text("before")

    def ends() -> Iterator[bytes]:
        yield from frames(count=3)
        raise ConfigInvalid("no more")

    with pytest.raises(ConfigInvalid, match="no more"):
        preview.write(file, ends())
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
