"""TRex as a tester, without a process: streams, its server's configuration, and how its counters are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from labkit.errors import ConfigInvalid, ToolFailed
from labkit.lab import topology_file
from labkit.lab.live import LivePort
from labkit.machine.hosts import LocalHost
from labkit.machine.roles import host_module
from labkit.measure.histogram import percentiles_us
from labkit.testers.frames import frame_spec, frames_command
from labkit.testers.trex.answer import trial_from_counters
from labkit.testers.trex.server import configuration, directory
from labkit.testers.trex.streams import FASTEST_PPS, streams
from tests.trex_server import histogram


def frames(size: str | int = 64, *, version: int = 4, flows: int = 1) -> dict[str, Any]:
    source, target = ("198.18.0.1", "198.18.0.2") if version == 4 else ("2001:2::1", "2001:2::2")
    return frames_command(
        frame_spec(size, ip_version=version, flows=flows),
        src_mac="02:00:00:00:00:01",
        dst_mac="02:00:00:00:00:02",
        src_ip=source,
        dst_ip=target,
        src_port=10000,
        dst_port=7,
    )


def test_a_stream_sends_the_probes_own_bytes() -> None:
    [stream] = streams(frames(), load_pps=1000)
    assert (stream.frame, stream.rate_pps, stream.count) == (frames()["templates"][0]["data"], 1000, None)


def test_a_mix_is_a_stream_a_size_in_its_shares() -> None:
    found = streams(frames("imix"), load_pps=4800)
    assert [(len(one.frame) // 2 + 4, one.rate_pps) for one in found] == [
        (64, 2800),
        (570, 1600),
        (1518, 400),
    ]
    assert len({one.pg_id for one in found}) == 3


@pytest.mark.parametrize("count", [1, 2, 47, 48, 1001])
def test_a_burst_of_a_mix_has_exactly_its_frames(count: int) -> None:
    found = streams(frames("imix"), load_pps=None, count=count)
    assert sum(one.count or 0 for one in found) == count
    assert all(one.count for one in found), "a stream of no frames is refused by TRex"


def test_as_fast_as_it_goes_is_a_rate_that_no_server_reaches() -> None:
    assert sum(one.rate_pps for one in streams(frames("imix"), load_pps=None)) == pytest.approx(FASTEST_PPS)


def test_flows_differ_in_their_source_port() -> None:
    [ipv4], [ipv6] = (streams(frames(84, version=v, flows=100), load_pps=1000) for v in (4, 6))
    for stream, offset in ((ipv4, 34), (ipv6, 54)):
        assert stream.fields == ({"offset": offset, "bytes": 2, "first": 10000, "count": 100},)
    assert (ipv4.ip_offset, ipv4.l4_offset) == (0, 0), "no checksum changes"
    assert (ipv6.ip_offset, ipv6.l4_offset, ipv6.tcp) == (14, 54, False)


def test_a_frame_without_room_for_the_payload_is_refused() -> None:
    small = frames()
    small["templates"][0]["data"] = small["templates"][0]["data"][: 2 * 57]
    with pytest.raises(ConfigInvalid, match="no room for TRex's 16 bytes"):
        streams(small, load_pps=1000)


def ports(name: str, interface: str = "tester0", mtu_bytes: int = 1500) -> list[LivePort]:
    lab = topology_file.parse(
        topology_file.load(name).text.replace("mtu: 1500 B", f"mtu: {mtu_bytes} B"), Path("lab.yml")
    )
    return [
        LivePort(
            role="tester", port=link.tester, peer=link.dut, link=link, host=LocalHost(), interface=interface
        )
        for link in lab.links
    ]


def test_one_port_is_made_an_even_number_of_them() -> None:
    [settings] = yaml.safe_load(configuration(ports("veth"), core=3))
    assert settings["interfaces"][1] == "dummy"
    assert len(settings["port_info"]) == settings["port_limit"] == 2
    assert (settings["low_end"], settings["low_end_core"]) == (True, 3)


def test_two_ports_are_those_of_the_lab() -> None:
    [settings] = yaml.safe_load(configuration(ports("veth-forward"), core=0))
    assert "dummy" not in settings["interfaces"]


@pytest.mark.parametrize(("mtu_bytes", "size"), [(1500, 2048), (9000, 16384)])
def test_the_ring_is_larger_than_trexs_own_which_loses_frames(mtu_bytes: int, size: int) -> None:
    [settings] = yaml.safe_load(configuration(ports("veth", mtu_bytes=mtu_bytes), core=0))
    options = dict(one.split("=") for one in settings["interfaces"][0].partition(",")[2].split(","))
    assert (options["iface"], int(options["framesz"])) == ("tester0", size)
    assert int(options["framesz"]) * int(options["framecnt"]) == 16 << 20
    assert int(options["blocksz"]) % int(options["framesz"]) == 0


@pytest.mark.parametrize("mtu_bytes", [1500, 1900, 1901, 9000])
def test_a_lab_and_the_role_give_an_interface_the_same_ring(mtu_bytes: int) -> None:
    """Two copies, for the role's is on the host and the lab's is not: they must not drift apart."""
    [settings] = yaml.safe_load(configuration(ports("veth", mtu_bytes=mtu_bytes), core=0))
    of_role = host_module("trex_config")
    assert settings["interfaces"] == [of_role.device("tester0", mtu_bytes, 0), of_role.NO_PORT]


@pytest.mark.parametrize("lacking", ["", "_t-rex-64", "so"])
def test_half_an_archive_is_named(tmp_path: Path, lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABKIT_TREX_DIR", raising=False)
    for name in {"_t-rex-64", "so"} - {lacking}:
        (tmp_path / name).mkdir()
    if not lacking:
        assert directory(str(tmp_path), option="--trex-dir") == tmp_path
        return
    with pytest.raises(ConfigInvalid, match=f"--trex-dir {tmp_path}: {lacking} is not in it"):
        directory(str(tmp_path), option="--trex-dir")


def test_a_directory_that_is_not_there_is_named_by_where_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABKIT_TREX_DIR", "/nosuch")
    with pytest.raises(ConfigInvalid, match="LABKIT_TREX_DIR /nosuch: there is no such directory"):
        directory(None, option="--trex-dir")
    monkeypatch.delenv("LABKIT_TREX_DIR")
    with pytest.raises(ConfigInvalid, match="none was given"):
        directory(None, option="--trex-dir")


def answer(**changed: object) -> dict[str, Any]:
    """Of a trial in which 1000 frames were sent and came back."""
    found: dict[str, Any] = {
        "tx_duration_s": 0.998,
        "stopped": False,
        "samples": [[0.0005, 998], [0.0018, 999], [0.0031, 1000], [0.02, 1000]],
        "streams": {"1": {"sent": 1000, "received": 1000, "errors": {}, "hdrh": histogram({500: 1000})}},
        "ports": [{"opackets": 1000, "ipackets": 1000, "oerrors": 0, "ierrors": 0}],
        "queue_full": 0,
    }
    return {**found, **changed}


def read(
    found: dict[str, Any],
    *,
    load_pps: float | None = 1000,
    intended: int | None = 1000,
    late_s: float | None = None,
):
    return trial_from_counters(
        found, load_pps=load_pps, duration_s=1.0, intended=intended, overhead_s=0.05, late_s=late_s
    )


def test_a_trial_that_kept_its_pace_lasted_as_long_as_it_should() -> None:
    trial = read(answer())
    assert (trial.sent, trial.received, trial.unsent, trial.duration_s) == (1000, 1000, 0, 1.0)


def test_a_trial_that_took_longer_has_not_offered_its_load_however_it_ended() -> None:
    """A search looks at counts alone."""
    for stopped in (True, False):
        trial = read(answer(tx_duration_s=1.05, stopped=stopped))
        assert trial.offered_pps == pytest.approx(1000 / 1.05)
        assert (trial.intended, trial.unsent) == (1050, 50)
        assert trial.loss_ratio == pytest.approx(50 / 1050)


def test_a_stretched_trial_has_not_offered_its_load() -> None:
    """TRex sends late what it could not send in time, and its own figures show no loss."""
    late = answer(stopped=True, tx_duration_s=1.005)
    late["streams"]["1"].update(sent=600, received=600)
    late["ports"][0]["opackets"] = 600
    trial = read(late)
    assert (trial.unsent, trial.loss_ratio) == (405, pytest.approx(405 / 1005))
    assert trial.offered_pps == pytest.approx(600 / 1.005)


def test_frames_that_a_port_had_no_room_for_were_not_sent() -> None:
    """The streams' own counter has them as sent."""
    full = answer()
    full["ports"][0]["opackets"] = 950
    full["streams"]["1"].update(received=950)
    trial = read(full)
    assert (trial.sent, trial.unsent, trial.lost, trial.tx_full) == (950, 50, 0, 50)


def test_frames_of_another_user_are_an_error() -> None:
    other = answer()
    other["ports"][0]["opackets"] = 1200
    with pytest.raises(ToolFailed, match="has another user sent"):
        read(other)


def test_duplicates_are_not_frames_that_came_back() -> None:
    doubled = answer()
    doubled["streams"]["1"].update(received=1003, errors={"dup": 3})
    trial = read(doubled)
    assert (trial.received, trial.duplicates) == (1000, 3)


def test_a_frame_out_of_order_may_be_a_duplicate_and_never_hides_a_loss() -> None:
    """TRex calls a duplicate so only directly after its original: 20 are lost here, and 20 came twice."""
    later = answer()
    later["streams"]["1"].update(received=1000, errors={"ooo": 20})
    trial = read(later)
    assert (trial.received, trial.lost, trial.reordered) == (980, 20, 20)


def test_more_frames_than_were_sent_are_an_error() -> None:
    more = answer()
    more["streams"]["1"].update(received=1003)
    with pytest.raises(ToolFailed, match="more frames than it sent: 1003 of 1000"):
        read(more)


def test_what_came_back_late_is_late() -> None:
    """Round trips of half a millisecond: what the last sample up to 3 ms after sending had not seen, with 2.5 ms."""
    assert read(answer(), late_s=0.0025).late == 1
    assert read(answer(), late_s=0.001).late == 2
    assert read(answer(), late_s=0.02).late == 0
    assert read(answer()).late == 0
    assert read(answer(samples=[[0.004, 1000]]), late_s=0.0025).late == 1000, "nothing was seen in time"


def test_times_are_rounded_up_and_never_trexs_own_minimum() -> None:
    trial = read(answer())
    assert trial.rtt is not None
    assert (trial.rtt.n, trial.rtt.min_ns) == (1000, 501_000)
    assert percentiles_us(trial.rtt, [50.0])[50.0] == pytest.approx(501, rel=0.002)


def test_a_time_below_a_microsecond_counts_as_one() -> None:
    fast = answer()
    fast["streams"]["1"].update(hdrh=histogram({0: 1000}))
    rtt = read(fast).rtt
    assert rtt is not None
    assert rtt.min_ns == 1000


def test_latency_that_was_not_measured_is_none() -> None:
    without = answer()
    without["streams"]["1"].update(hdrh=None)
    assert read(without).rtt is None
    assert read(without, late_s=0.0025).late == 1, "late frames are counted all the same"


def test_a_trial_at_full_rate_has_no_unsent_frames() -> None:
    trial = read(answer(stopped=True, tx_duration_s=1.01), load_pps=None, intended=None)
    assert (trial.unsent, trial.duration_s) == (0, 1.01)
