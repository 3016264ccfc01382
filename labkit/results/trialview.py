"""One trial, shown: as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from labkit import format as fmt
from labkit.measure.latency import LatencyPoint, latency_point
from labkit.measure.proof import Proof
from labkit.measure.tcp import shares
from labkit.measure.trial import TrialResult
from labkit.record.model import MESSAGES, DatapathKey, Key
from labkit.targets.time_readers import stalled

LIMITED_SHOWN = 0.01
"""Of the time in which a TCP sender was busy: a smaller share is not worth a word."""


def _point(trial: TrialResult) -> LatencyPoint | None:
    return latency_point(trial, load="as asked") if trial.rtt is not None else None


def as_json(key: Key, trial: TrialResult, proof: Proof, tester: Mapping[str, object]) -> dict[str, object]:
    """Counts as recorded, rates as derived, percentiles (None: too few samples), proof and tester."""
    point = _point(trial)
    latency = asdict(point) if point is not None else None
    if latency is not None:
        del latency["trial"], latency["load"]
    return {
        "id": key.id,
        "traffic": key.traffic if isinstance(key, DatapathKey) else "",
        "offered_pps": trial.offered_pps,
        "forwarding_rate_pps": trial.forwarding_rate_pps,
        "loss_ratio": trial.loss_ratio,
        "unsent": trial.unsent,
        "lost": trial.lost,
        "rtt": latency,
        "notes": _notes(trial, point),
        "trial": asdict(trial),
        "proof": asdict(proof),
        "tester": dict(tester),
    }


def as_text(key: Key, trial: TrialResult, proof: Proof, tester: Mapping[str, object]) -> str:
    """A few lines, every figure with its unit."""

    def kpps(value: float) -> str:
        return f"{value / 1e3:,.3f} kpps"

    messages = bool(trial.tcp)
    what = "messages" if messages else "frames"
    there = "were taken in" if messages and trial.rtt is None and trial.service is None else "came back"
    intended = "maximum" if trial.intended_load_pps is None else kpps(trial.intended_load_pps)
    lines = [
        f"{key.id}, {trial.duration_s:g} s (tester: {tester.get('engine')})",
        *([f"  {what:<11} {_traffic(key)}"] if isinstance(key, DatapathKey) and key.traffic else []),
        f"  path        {proof.claim}{'' if proof.proven else '  -- NOT PROVEN'}",
        f"  intended    {intended}",
        f"  offered     {kpps(trial.offered_pps)}  ({trial.sent:,} {what} sent, {trial.unsent:,} unsent)",
        f"  forwarded   {kpps(trial.forwarding_rate_pps)}  ({trial.received:,} {what} {there}, {trial.late:,} late)",
        f"  loss ratio  {fmt.loss(trial.loss_ratio)}  ({trial.lost:,} lost, {trial.duplicates:,} duplicates, "
        f"{trial.reordered:,} reordered)",
    ]
    point = _point(trial)
    if point is not None:
        shown = (
            ("min", point.min_us),
            ("p50", point.p50_us),
            ("p99", point.p99_us),
            ("p99.9", point.p999_us),
            ("max", point.max_us),
        )
        rtt = ", ".join(
            f"{name} {value:.1f}" if value is not None else f"{name} n too small" for name, value in shown
        )
        rtt_from = tester.get("rtt_from", "the intended send time")
        lines.append(f"  RTT (us)    {rtt}  (n = {point.n:,}, from {rtt_from})")
    if isinstance(key, DatapathKey) and trial.tcp:
        lines += [f"  {name:<11} {words}" for name, words in tcp_words(key, trial)]
    if note := tester.get("engine_note"):
        lines.append(f"  note        {note}")
    if trial.foreign or trial.stale or trial.corrupt:
        lines.append(
            f"  not ours    {trial.foreign:,} foreign, {trial.stale:,} stale, {trial.corrupt:,} corrupt"
        )
    lines += [f"  note        {note}" for note in _notes(trial, point)]
    return "\n".join(lines)


def _traffic(key: DatapathKey) -> str:
    return fmt.traffic(key.traffic)[1] if key.traffic == MESSAGES else key.traffic


def tcp_words(key: DatapathKey, trial: TrialResult) -> list[tuple[str, str]]:
    """Of a trial over TCP: its goodput, and what each kernel says of the connections."""
    bits_per_s = trial.forwarding_rate_pps * int(key.frame) * 8
    found = [("goodput", f"{fmt.bits_per_s(bits_per_s)} of messages, one way")]
    for end, of in trial.tcp.items():
        limits = [
            f"{share:.0%} of its sending time limited by {what}"
            for what, limited_us in (
                ("the other's receive window", of.receiver_limited_us),
                ("its send buffer", of.send_buffer_limited_us),
            )
            if (share := limited_us / of.busy_us if of.busy_us else 0.0) >= LIMITED_SHOWN
        ]
        parts = [
            *(
                (
                    f"{of.retransmitted_segments:,} of {of.segments_out:,} segments retransmitted",
                    f"{of.out_of_order_segments:,} came out of order",
                )
                if of.segments_out
                else ("it counts no segments",)
            ),
            *limits,
            *([unequal] if trial.intended_load_pps is None and (unequal := shares([{end: of}])) else []),
        ]
        found.append((f"TCP {end}", ", ".join(parts)))
    return found


def _notes(trial: TrialResult, point: LatencyPoint | None) -> list[str]:
    """What the tester itself caused: a trial has no gates that would show it."""
    notes = []
    missing = trial.intended_load_pps is not None and trial.unsent > trial.lost
    if missing and trial.tcp and trial.tx_full:
        several = any(of.connections > 1 for of in trial.tcp.values())
        behind = ", and one connection without room holds up the others: each is offered the same load"
        notes.append(
            "most of what is missing was never sent, for the far end took no more"
            + (behind if several else "")
        )
    elif missing:
        notes.append(
            "most of what is missing was never sent: the path carries at least what was forwarded, and the loss ratio "
            "is the tester's"
        )
    if point is not None:
        tails = (("p50", 50.0, point.p50_us), ("p99", 99.0, point.p99_us), ("p99.9", 99.9, point.p999_us))
        every = (*tails, ("max", None, point.max_us))
        why = {name: stalled(trial, p, us / 1e6) for name, p, us in every if us is not None}
        if doubtful := [name for name, words in why.items() if words]:
            notes.append(f"{', '.join(doubtful)}: {why[doubtful[0]]}")
    return notes
