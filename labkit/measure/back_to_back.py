"""Back-to-back frames (RFC 2544 26.4 as updated by RFC 9004)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from statistics import fmean, stdev
from typing import Protocol

from labkit.errors import ConfigInvalid
from labkit.measure.trial import TrialResult

RFC_BURST_S = 2.0
RFC_REPEATS = 50


class BurstMeasurer(Protocol):
    """A tester that can send a number of frames as fast as it goes."""

    def measure_burst(self, count: int) -> TrialResult:
        """Send `count` frames back to back, once. `tx_duration_s` is the time they took to leave."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackToBack:
    """Longest burst at the tester's full rate that came back whole, over several repeats."""

    average_frames: float
    min_frames: int
    max_frames: int
    stdev_frames: float
    repeats: tuple[int, ...]
    burst_rate_pps: float
    """Rate within the burst, as departed [pps]."""
    implied_buffer_time_s: float
    corrected_buffer_time_s: float | None
    """RFC 9004; None where the measured throughput is not below the burst rate."""
    deviations: tuple[str, ...]


def measure_back_to_back(
    measurer: BurstMeasurer,
    *,
    throughput_pps: float | None,
    repeats: int = RFC_REPEATS,
    max_burst_s: float = RFC_BURST_S,
    resolution: float = 0.01,
    on_trial: Callable[[TrialResult], None] | None = None,
) -> BackToBack:
    """Find the longest lossless burst, `repeats` times, each by a binary search of its own.

    A search ends when the burst known whole and the one known broken differ by no more than one frame or `resolution`
    of the burst. Bursts are at most `max_burst_s` long. With the average over the repeats, RFC 9004 has

        implied buffer time   = average frames / rate within the burst
        corrected buffer time = implied buffer time * (1 - throughput / rate within the burst)

    since a DUT goes on forwarding at its throughput while the burst comes in.
    """
    if repeats < 1 or max_burst_s <= 0:
        raise ConfigInvalid(
            f"repeats {repeats}, max_burst_s {max_burst_s:g}: expected at least 1, and more than 0"
        )
    frames_sent, seconds = 0, 0.0
    longest = 1 << 16  # until the rate is known

    def whole(count: int) -> bool:
        nonlocal frames_sent, seconds
        trial = measurer.measure_burst(count)
        if on_trial is not None:
            on_trial(trial)
        # The first frame of a burst leaves at time zero: n frames span n - 1 gaps.
        if trial.sent > 1 and trial.tx_duration_s > 0:
            frames_sent += trial.sent - 1
            seconds += trial.tx_duration_s
        return trial.received == trial.intended

    whole(1024)  # warm-up, and a first idea of the rate
    if not seconds:
        raise ConfigInvalid("this tester does not report how long a burst took to send (tx_duration_s)")
    longest = max(ceil(max_burst_s * frames_sent / seconds), 1)
    found: list[int] = []
    guess = min(256, longest)
    for _ in range(repeats):
        found.append(_longest_whole_burst(whole, guess=guess, longest=longest, resolution=resolution))
        guess = max(found[-1], 1)
    rate_pps = frames_sent / seconds
    average = fmean(found)
    implied_s = average / rate_pps
    corrected_s = None
    if throughput_pps is not None and throughput_pps < rate_pps:
        corrected_s = implied_s * (1.0 - throughput_pps / rate_pps)
    return BackToBack(
        average_frames=average,
        min_frames=min(found),
        max_frames=max(found),
        stdev_frames=stdev(found) if len(found) > 1 else 0.0,
        repeats=tuple(found),
        burst_rate_pps=rate_pps,
        implied_buffer_time_s=implied_s,
        corrected_buffer_time_s=corrected_s,
        deviations=_deviations(found, longest=longest, repeats=repeats, max_burst_s=max_burst_s),
    )


def _longest_whole_burst(whole: Callable[[int], bool], *, guess: int, longest: int, resolution: float) -> int:
    """Gallop from `guess` until the answer is enclosed, then bisect. 0: not even one frame came back."""
    good, bad = 0, longest + 1
    count, step = min(guess, longest), max(guess // 16, 1)
    while bad - good > max(1, int(good * resolution)):
        if whole(count):
            good = count
        else:
            bad = count
        if bad > longest:
            count = min(good + step, longest)
        elif good == 0:
            count = max(bad - step, 1)
        else:
            count = (good + bad) // 2
        step *= 2
    return good


def _deviations(found: list[int], *, longest: int, repeats: int, max_burst_s: float) -> tuple[str, ...]:
    deviations = ["a software link has no theoretical frame rate: the rate within the burst is used instead"]
    if repeats < RFC_REPEATS:
        deviations.append(f"{repeats} repeats, RFC 2544 26.4 asks for at least {RFC_REPEATS}")
    if max_burst_s < RFC_BURST_S:
        deviations.append(
            f"bursts of at most {max_burst_s:g} s, RFC 2544 26.4 asks for at least {RFC_BURST_S:g} s"
        )
    if max(found) >= longest:
        deviations.append(f"the longest burst tried ({longest} frames) came back whole: at least that many")
    return tuple(deviations)
