"""`labkit frames` writes what the tester sends."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.utils import RawPcapReader

from labkit import cli
from labkit.lab import topology_file
from labkit.lab.live import lab_up
from labkit.testers.frames import frame_spec
from labkit.testers.probe import generating
from tests.lab.capture import captured

pytestmark = pytest.mark.beside
TIME = slice(10, 18)
"""Of the signature: known when a frame is sent."""


@pytest.mark.parametrize(
    ("options", "size", "version", "flows"),
    [
        ((), 64, 4, 1),
        (("--frame", "imix", "--flows", "5"), "imix", 4, 5),
        (("--frame", "84", "--ipv6"), 84, 6, 1),
    ],
)
def test_the_file_has_the_frames_that_the_tester_sends(
    tmp_path: Path, options: tuple[str, ...], size: int | str, version: int, flows: int
) -> None:
    file = tmp_path / "out.pcap"
    assert cli.main(["frames", "--topology", "veth", "--count", "60", "-o", str(file), *options]) == 0
    written = [frame for frame, _ in RawPcapReader(str(file))]
    with lab_up(topology_file.load("veth")) as lab, generating(lab, "af_packet") as tester:
        tester.set_frames(frame_spec(size, ip_version=version, flows=flows), own_mac=True)
        sent = captured(lab, lambda: tester.measure_burst(60))

    def timeless(frame: bytes) -> bytes:
        kept, payload = bytearray(frame), 42 if version == 4 else 62
        kept[payload + TIME.start : payload + TIME.stop] = bytes(8)
        if version == 6:
            kept[60:62] = bytes(2)  # the checksum has the time in it
        return bytes(kept)

    assert [timeless(frame) for frame in sent] == [timeless(frame) for frame in written]
