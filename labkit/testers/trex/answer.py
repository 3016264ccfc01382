"""The counters of a TRex trial, checked and made a trial's result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdrh.histogram import HdrHistogram

from labkit.errors import ToolFailed
from labkit.measure.histogram import record
from labkit.measure.trial import Histogram, TrialResult

STEP_NS = 1000
"""TRex cuts times to whole microseconds; the next one is taken, so that none is shown too short."""


def _round_trips(streams: Mapping[str, Mapping[str, Any]]) -> Histogram | None:
    """All streams' times; None where none was recorded. Their sliding mean, minimum and maximum are not used.

    Seen with v3.08: the minimum reads 0 in a trial of less than a second.
    """
    values: dict[int, int] = {}
    for counted in streams.values():
        if not counted["hdrh"]:
            continue
        for item in HdrHistogram.decode(counted["hdrh"]).get_recorded_iterator():
            value_ns = (item.value_iterated_to + 1) * STEP_NS
            values[value_ns] = values.get(value_ns, 0) + item.count_at_value_iterated_to
    return record(values) if values else None


def trial_from_counters(
    answer: Mapping[str, Any],
    *,
    load_pps: float | None,
    duration_s: float,
    intended: int | None,
    overhead_s: float,
    late_s: float | None = None,
    returns: bool = True,
) -> TrialResult:
    """The worker's answer to `trial` as a TrialResult. `intended`: frames that were asked for; None: no number.

    Past its limit TRex sends later what was asked for, and its own figures show no loss. So a trial lasts as long as
    TRex sent, and what the load asks for in that time and was not sent is unsent. Late is what had not come back
    `late_s` and the shortest round trip after sending, by the last sample before; where no times were recorded, the
    shortest counts as 0. Raises ToolFailed where counts do not add up.
    """
    streams: Mapping[str, Mapping[str, Any]] = answer["streams"]
    made = sum(int(one["sent"]) for one in streams.values())
    errors = [one["errors"] for one in streams.values()]
    duplicates = sum(int(one.get("dup", 0)) for one in errors)
    # TRex calls a frame a duplicate only directly after its original, else out of order: no frame counts twice here.
    unordered = sum(int(one.get("ooo", 0)) for one in errors)
    received = max(sum(int(one["received"]) for one in streams.values()) - duplicates - unordered, 0)
    port = answer["ports"][0]
    if port["opackets"] > made:
        raise ToolFailed(
            f"TRex counted {made} frames sent by its streams and {port['opackets']} by its port: has another user sent "
            "through this server?"
        )
    # Seen with v3.08 on memif: where a port has no room, the frame is dropped, and its stream counts it as sent.
    sent = int(port["opackets"])
    if received > sent:
        raise ToolFailed(f"TRex counted more frames than it sent: {received} of {sent}")
    rtt = _round_trips(streams) if returns else None
    late = 0
    if late_s is not None:
        shortest_s = (rtt.min_ns - STEP_NS) / 1e9 if rtt is not None else 0.0
        in_time = max(
            (int(count) for at_s, count in answer["samples"] if at_s <= late_s + shortest_s), default=0
        )
        late = min(max(sum(int(one["received"]) for one in streams.values()) - in_time, 0), received)
    took_s = max(float(answer["tx_duration_s"]), duration_s)
    if intended is not None and load_pps is not None:
        intended = max(intended, round(load_pps * took_s))
    return TrialResult(
        intended_load_pps=load_pps,
        duration_s=took_s,
        intended=sent if intended is None else intended,
        sent=sent,
        received=received if returns else 0,
        duplicates=duplicates,
        reordered=unordered,
        late=late,
        tx_duration_s=float(answer["tx_duration_s"]),
        overhead_s=overhead_s,
        rtt=rtt,
        tx_full=made - sent + int(answer["queue_full"]),
    )
