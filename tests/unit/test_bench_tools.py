"""The benchmark's tools: what they are started with, and what is read from their recorded output."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from labkit.errors import ToolFailed

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))

from tools import iperf3, sockperf, testpmd  # noqa: E402 - the benchmark is a script, not a package


def recorded(name: str) -> str:
    return (BENCH / "data" / name).read_text()


def test_port_statistics_are_read() -> None:
    stats = testpmd.parse_port_stats(recorded("testpmd-22.11-port-stats.txt"))
    assert stats == testpmd.PortStats(rx_packets=729888, tx_packets=731616)


def test_message_rate_is_read() -> None:
    assert sockperf.parse_message_rate_pps(recorded("sockperf-3.7-throughput.txt")) == 121937


def test_median_of_full_round_trips_is_read() -> None:
    assert sockperf.parse_median_rtt_us(recorded("sockperf-3.7-ping-pong-full-rtt.txt")) == 11.296


def test_median_of_tcp_round_trips_is_read() -> None:
    assert sockperf.parse_median_rtt_us(recorded("sockperf-3.7-ping-pong-tcp-full-rtt.txt")) == 13.580


def test_the_rate_that_a_stream_was_received_at_is_read() -> None:
    assert iperf3.parse_received_bits_per_s(recorded("iperf3-3.12-tcp.json")) == pytest.approx(
        19.3638e9, rel=1e-4
    )


def test_half_round_trips_are_refused() -> None:
    text = recorded("sockperf-3.7-ping-pong-full-rtt.txt").replace("avg-rtt", "avg-latency")
    with pytest.raises(ToolFailed, match="full round trips"):
        sockperf.parse_median_rtt_us(text.replace("Round trip is", "Latency is"))


@pytest.mark.parametrize(
    "parse",
    [
        testpmd.parse_port_stats,
        sockperf.parse_message_rate_pps,
        sockperf.parse_median_rtt_us,
        iperf3.parse_received_bits_per_s,
    ],
)
def test_other_output_is_an_error(parse) -> None:
    with pytest.raises(ToolFailed):
        parse("avg-rtt: command not found")
