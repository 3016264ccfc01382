"""The probe's answer to `generate`, checked and made a trial's result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from labkit.errors import LabkitBug
from labkit.measure.tcp import TcpFigures
from labkit.measure.trial import COUNTERS, Histogram, TrialResult


def _check_fields(answer: Mapping[str, Any], what: str, types: Mapping[str, tuple[type, ...]]) -> None:
    """Raise LabkitBug unless `answer` has exactly these fields, of these types (a bool is no int here)."""
    if set(answer) != set(types):
        odd = ", ".join(sorted(set(answer) ^ set(types)))
        raise LabkitBug(f"the probe's {what} has other fields than PROTOCOL.md specifies: {odd}")
    for name, kinds in types.items():
        value = answer[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise LabkitBug(f"the probe's {what}: {name} is {value!r}")


_COUNTS = (
    *COUNTERS,
    *("tag", "unsent", "polls", "empty_polls", "voluntary_switches"),
    *("start_ns", "tx_end_ns", "end_ns", "duration_ns", "drain_ns", "cpu_ns"),
)


_TRIAL: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_COUNTS, (int,)),
    **dict.fromkeys(("rtt", "service", "lag"), (dict, type(None))),
    "load_pps": (int, float, type(None)),
    "loop": (str,),
    "aborted": (bool,),
    "longest_above": (int, type(None)),
    "stall": (dict,),
    "transport": (dict, type(None)),
}


_STALL: dict[str, tuple[type, ...]] = {"max_ns": (int,), "total_ns": (int,)}


_TRANSPORT: dict[str, tuple[type, ...]] = {
    one.name: (int, type(None)) if "None" in str(one.type) else (int,) for one in fields(TcpFigures)
}


_HISTOGRAM: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("n", "min_ns", "max_ns", "overflow"), (int,)),
    "mean_ns": (int, float),
    "hdr": (str,),
}


def _histogram(answer: Mapping[str, Any] | None, what: str) -> Histogram | None:
    """None where nothing was recorded."""
    if answer is None:
        return None
    _check_fields(answer, what, _HISTOGRAM)
    return Histogram(**answer) if answer["n"] else None


def transport(answer: Mapping[str, Any]) -> TcpFigures:
    """The field `transport` of a trial or of a role's counters."""
    _check_fields(answer, "transport", _TRANSPORT)
    return TcpFigures(**answer)


def trial_from_answer(answer: Mapping[str, Any], *, overhead_s: float) -> TrialResult:
    """The `generate` answer as a TrialResult; `overhead_s` is what the controller saw beyond the duration.

    Raises LabkitBug where a field is missing, unknown or of the wrong type, or where counts do not add up (negative
    loss among them).
    """
    _check_fields(answer, "trial", _TRIAL)
    _check_fields(answer["stall"], "stall", _STALL)
    negative = [name for name in _COUNTS if answer[name] < 0]
    if negative:
        raise LabkitBug(f"the probe's trial counts below zero: {', '.join(negative)}: {answer}")
    if answer["received"] > answer["sent"]:
        raise LabkitBug(f"negative loss: {answer['sent']} frames sent, {answer['received']} received")
    if answer["unsent"] != answer["intended"] - answer["sent"]:
        raise LabkitBug(f"the probe's trial: unsent is not intended minus sent: {answer}")
    if answer["rtt"] is not None and answer["rtt"]["n"] != answer["received"]:
        raise LabkitBug(f"{answer['received']} frames received, {answer['rtt']['n']} round trips recorded")
    polls = answer["polls"]
    span_s = (answer["tx_end_ns"] - answer["start_ns"]) / 1e9
    return TrialResult(
        intended_load_pps=None if answer["load_pps"] is None else float(answer["load_pps"]),
        duration_s=answer["duration_ns"] / 1e9,
        **{name: answer[name] for name in COUNTERS},
        aborted=answer["aborted"],
        tx_duration_s=span_s,
        overhead_s=overhead_s,
        rtt=_histogram(answer["rtt"], "rtt"),
        service=_histogram(answer["service"], "service"),
        lag=_histogram(answer["lag"], "lag"),
        longest_above=answer["longest_above"],
        stall_max_s=answer["stall"]["max_ns"] / 1e9,
        stall_total_s=answer["stall"]["total_ns"] / 1e9,
        tcp={} if answer["transport"] is None else {"tester": transport(answer["transport"])},
        tester_busy=1.0 - answer["empty_polls"] / polls if polls else None,
    )
