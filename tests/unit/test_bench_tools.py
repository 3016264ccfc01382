"""The benchmark's tools: what they are started with, and what is read from their recorded output."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from labkit.errors import ToolFailed

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))

import pairs  # noqa: E402 - the benchmark is a script, not a package
from pairs import Comparison, Disturbed, Line, Side, figure, in_turn, summarise  # noqa: E402
from tools import iperf3, sockperf, testpmd, trafgen  # noqa: E402


def recorded(name: str) -> str:
    return (BENCH / "data" / name).read_text()


def test_port_statistics_are_read() -> None:
    stats = testpmd.parse_port_stats(recorded("testpmd-22.11-port-stats.txt"))
    assert stats == testpmd.PortStats(rx_packets=729888, tx_packets=731616)


def test_trafgen_sends_from_one_core() -> None:
    assert trafgen.packet(b"\x02\x00\xff", core=3) == "cpu(3): { 0x02, 0x00, 0xff }\n"


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


def line(made: list[tuple[float, float]], *, ceiling: float | None = None, less: bool = False) -> Line:
    comparison = Comparison(
        name="x",
        title="x",
        against="y",
        unit="us",
        floor=0.7,
        aim=1.0,
        ceiling=ceiling,
        less_is_better=less,
        measure=lambda _pairs, _say: iter(()),
    )
    return summarise(comparison, made)


def test_a_line_has_median_and_extremes_of_the_ratios() -> None:
    found = line([(10, 5), (9, 3), (8, 1)])
    assert (found.ratio, found.low, found.high) == (3, 2, 8)
    assert (found.ours, found.theirs, found.theirs_low, found.theirs_high) == (9, 3, 1, 5)
    assert line([(10, 5)], less=True).ratio == 0.5


@pytest.mark.parametrize(
    ("made", "failed", "reached"),
    [
        ([(7, 10)], False, False),
        ([(6, 10), (6, 10), (20, 10)], True, False),
        ([(10, 10), (1, 10), (11, 10)], False, True),
    ],
)
def test_the_median_must_reach_the_floor(
    made: list[tuple[float, float]], failed: bool, reached: bool
) -> None:
    found = line(made)
    assert (found.failed, found.reached) == (failed, reached)


@pytest.mark.parametrize(
    ("made", "failed", "reached"),
    [
        ([(10, 9), (10, 11)], False, True),
        ([(11, 9.9), (11, 10.1)], False, False),  # outside their spread: said, and no failure
        ([(5, 10), (5, 10), (5, 10)], True, False),
        ([(20, 10), (20, 10), (20, 10)], True, False),
        ([(5, 10), (5, 10), (10, 10)], False, False),  # one of them was not out of bounds
        ([(1, 10), (500, 10), (400, 500)], False, True),  # noise
    ],
)
def test_two_that_are_alike_fail_where_all_pairs_are_out_of_bounds_on_one_side(
    made: list[tuple[float, float]], failed: bool, reached: bool
) -> None:
    found = line(made, ceiling=1.4)
    assert (found.failed, found.reached) == (failed, reached)


class Scripted:
    """Two sides in labs that are not up, whose figures are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ours: list[object], theirs: list[object]) -> None:
        monkeypatch.setattr(pairs.labs, "lab_up", lambda _topology: nullcontext())
        self.order: list[str] = []
        self.said: list[str] = []
        self._left = {"ours": ours, "theirs": theirs}
        self.pairs = in_turn(self._side("ours"), self._side("theirs"), "us")

    def _side(self, name: str) -> Side:
        def measure(_lab: object) -> float:
            self.order.append(name)
            found = self._left[name].pop(0)
            if isinstance(found, str):
                raise Disturbed(found)
            return float(found)  # type: ignore[arg-type]

        return Side(name=name, topology=lambda: None, measure=measure)  # type: ignore[arg-type, return-value]


def test_each_side_is_first_in_every_other_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Scripted(monkeypatch, [1, 2, 3], [4, 5, 6])
    assert list(run.pairs(3, run.said.append)) == [(1, 4), (2, 5), (3, 6)]
    assert run.order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert run.said[0] == "ours 1 us, theirs 4 us"


def test_a_pair_that_is_disturbed_is_made_again_and_then_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Scripted(monkeypatch, ["busy", 1, "busy", "busy", "busy"], [4, 5, 6, 7])
    assert list(run.pairs(2, run.said.append)) == [(1, 4)]
    assert run.said == ["disturbed: busy", "ours 1 us, theirs 4 us", *3 * ["disturbed: busy"]]


def test_no_pair_that_was_not_disturbed_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Scripted(monkeypatch, 6 * ["busy"], 6 * [1])
    with pytest.raises(Disturbed, match="all pairs were disturbed"):
        list(run.pairs(2, run.said.append))


def test_figures_are_short() -> None:
    words = [figure(value, unit) for value, unit in ((2156.5, "us"), (8.944, "us"), (134_700, "pps"))]
    assert words == ["2156 us", "8.94 us", "134.7 kpps"]
