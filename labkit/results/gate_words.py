"""What each gate checks, in words for a reader who has not read the source."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.measure.gate import Gate
from labkit.record.model import Measurement

KINDS = {
    "throughput": "NDR and PDR search",
    "mrr": "MRR",
    "latency": "latency",
    "loss_curve": "frame loss rate",
    "back_to_back": "back-to-back frames",
    "predictability": "predictability",
    "hardware": "hardware gaps",
    "wakeup": "wake-ups",
    "timerlat": "traced wake-ups",
    "busy_loop": "busy loop",
}
"""Kinds of measurement, as people name them."""

STATES = {
    "ok": "within its limit",
    "warn": "the figure counts, but has this limitation",
    "invalid": "the figure can't be trusted, so it neither passes nor fails",
}

GATES = {
    "proof": "Whether it was read back that the traffic really took the datapath that is named "
    "(of the host itself: that its threads were scheduled as they should be).",
    "steal": "CPU time that the hypervisor gave to others while we measured. "
    "It shows as loss and latency that are not the datapath's.",
    "contention": "Time that other programs of this machine ran on the core of tester or DUT while we measured. "
    "Their work inside the kernel is not in it: it can't be separated from the datapath's own.",
    "affinity": "Whether tester and DUT each stayed alone on the CPU core that they were given.",
    "clock": "Whether the kernel's clock source is a precise one and stayed the same.",
    "unsent": "Frames that were due and that the tester did not send. They are no loss of the DUT.",
    "offered": "How far the offered load (sent) is from the intended load (asked for).",
    "stall": "Time that the tester's loop stood still: what it sent late came back late by its own doing.",
    "switches": "How often the tester (or a measuring thread) was preempted on its core by something else.",
    "link": "Whether both ends of each cable run at one speed and in full duplex.",
    "pause": "Whether NICs are set to send or to obey pause frames, which hide a DUT's loss behind a lower load.",
    "pcie": "Whether each NIC's PCIe slot gives it the speed and the lanes that it supports.",
    "crc-errors": "Frames that a NIC received damaged: the cable's loss, not the DUT's.",
    "rx-missed": "Frames for which a NIC of the tester had no room: they came back from the DUT and count as its loss.",
    "numa": "Whether tester and DUT each run on the NUMA node that their NIC is attached to.",
    "stability": "Whether trials lose frames even at a load that is next to nothing. "
    "If many do, a search can't tell a good load from a bad one.",
    "stability-ndr": "The same for NDR alone, which asks for no loss at all: invalid here means that NDR can't be "
    "measured on this path; PDR and MRR still count.",
    "max-offered-load": "Whether the maximum offered load on the link, which makes a rate near it a lower bound (≥), "
    "was measured without other programs or guests on its cores.",
    "base-ndr": "Whether the NDR that loads are relative to is valid.",
    "base-pdr": "Whether the PDR that loads are relative to is valid.",
    "base-mrr": "Whether the MRR that loads are relative to, or that a search began at, is valid.",
    "guest": "Whether the host is a virtual machine: then its hypervisor's delays are in every time.",
    "beyond": "Times longer than the tool's histogram reaches. Each is counted as the maximum.",
    "omitted": "Omitted samples (coordinated omission): wake-ups that fell due while a late one was still waiting. "
    "They are counted with the time that they would have waited.",
}


def kind(measurement: Measurement) -> str:
    """The measurement's kind in words; which of several where it was of chosen loads, and which attempt."""
    words = KINDS.get(measurement.kind, measurement.kind.replace("_", " "))
    return f"{words}, {ordinal(measurement.attempt)} attempt" if measurement.attempt > 1 else words


def ordinal(number: int) -> str:
    """1 as "1st", 12 as "12th"."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def meaning(gate: Gate) -> str:
    """What the gate checks; of a gate of another project its own words."""
    return GATES.get(gate.name, gate.why)


def missed(measurements: Iterable[Measurement]) -> list[tuple[str, str, str]]:
    """(gate, state, the measurements that it belongs to) of every gate that is not ok; the worst first."""
    found: dict[tuple[str, str], list[str]] = {}
    for m in measurements:
        for g in m.gates:
            if g.state != "ok":
                found.setdefault((g.name, g.state), []).append(kind(m))
    ordered = sorted(found.items(), key=lambda item: item[0][1] != "invalid")
    return [(name, state, ", ".join(dict.fromkeys(kinds))) for (name, state), kinds in ordered]


def used(measurements: Iterable[Measurement]) -> list[tuple[str, str]]:
    """(gate, meaning) of every gate of these measurements, in the order in which they first stand there."""
    return list({g.name: (g.name, meaning(g)) for m in measurements for g in m.gates}.values())
