"""Gates over what was read of a lab's NICs. Pure: what was read is passed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labkit.measure.gate import Gate, state_of
from labkit.measure.noise import NoiseReading


@dataclass(frozen=True, slots=True, kw_only=True)
class NicFacts:
    """What the kernel reports of a NIC. None: it does not."""

    port: str
    machine: str
    core: int
    """Of the worker that this port belongs to."""
    speed_mbps: int | None = None
    duplex: str | None = None
    """full or half."""
    local_cores: tuple[int, ...] | None = None
    """Of the NUMA node that it is attached to."""
    pcie: str | None = None
    """What its PCIe link runs at, such as "8.0 GT/s x4"."""
    pcie_able: str | None = None
    """What the NIC is able to."""
    pause: tuple[str, ...] | None = None
    """What it does of pause frames: some of "receive" and "send"."""


def gates(links: Sequence[tuple[NicFacts, NicFacts]]) -> tuple[Gate, ...]:
    """All gates over NICs; `links`: the two ends of each. None for no link."""
    ends = [end for link in links for end in link]
    return (link_gate(links), pause_gate(ends), pcie_gate(ends), numa_gate(ends)) if links else ()


def link_gate(links: Sequence[tuple[NicFacts, NicFacts]]) -> Gate:
    """Both ends of a link run at one speed, in both directions at once."""
    wrong, seen = [], []
    for ends in links:
        for end in ends:
            mode = _mode(end)
            seen.append(f"{end.port} of {end.machine}: {mode}")
            if end.duplex == "half":
                wrong.append(seen[-1])
        speeds = {end.speed_mbps for end in ends} - {None}
        if len(speeds) > 1:
            wrong += [one for one in seen[-2:] if one not in wrong]
    return Gate(
        name="link",
        state="invalid" if wrong else "ok",
        value="; ".join(wrong or seen),
        limit="full duplex, the same speed at both ends",
        why="frames that wait for the other direction, or for a slower end, are lost on the cable, not in the DUT",
    )


def _mode(end: NicFacts) -> str:
    if end.speed_mbps is None:
        return "speed not reported"
    return f"{end.speed_mbps} Mb/s {end.duplex or 'duplex not reported'}"


def pause_gate(ends: Sequence[NicFacts]) -> Gate:
    """No NIC sends or obeys pause frames. It only warns."""
    on = [f"{end.port} of {end.machine}: {' and '.join(end.pause)}" for end in ends if end.pause]
    known = any(end.pause is not None for end in ends)
    return Gate(
        name="pause",
        state="warn" if on else "ok",
        value="; ".join(on) or ("off" if known else "not reported"),
        limit="pause frames off at both ends",
        why="a DUT that pauses the tester shows a lower load instead of loss: ethtool -A turns it off",
    )


def pcie_gate(ends: Sequence[NicFacts]) -> Gate:
    """A NIC's PCIe link runs at what the NIC is able to. It only warns."""
    less = [
        f"{end.port} of {end.machine}: {end.pcie} of {end.pcie_able}"
        for end in ends
        if end.pcie is not None and end.pcie != end.pcie_able
    ]
    known = [f"{end.port} of {end.machine}: {end.pcie}" for end in ends if end.pcie is not None]
    return Gate(
        name="pcie",
        state="warn" if less else "ok",
        value="; ".join(less or known) or "not reported",
        limit="the speed and lanes that the NIC is able to",
        why="a slot with fewer or slower lanes limits the rate before the DUT does",
    )


def numa_gate(ends: Sequence[NicFacts]) -> Gate:
    """Each worker runs on the NUMA node of its NIC. It only warns."""
    apart = [
        f"{end.port} of {end.machine}: core {end.core}, the NIC's are {_cores(end.local_cores)}"
        for end in ends
        if end.local_cores and end.core not in end.local_cores
    ]
    return Gate(
        name="numa",
        state="warn" if apart else "ok",
        value="; ".join(apart) or "each worker is on its NIC's node, or there is one",
        limit="the worker's core is one of the NIC's NUMA node",
        why="memory of another node is slower: set cores: in the topology",
    )


def _cores(cores: Sequence[int]) -> str:
    return f"{cores[0]}-{cores[-1]}" if len(cores) == cores[-1] - cores[0] + 1 else ",".join(map(str, cores))


Counted = Mapping[str, Mapping[str, Mapping[str, int]]]
"""By how much each counter of each NIC grew, by machine and interface [frames]."""
DAMAGED = ("rx_crc_errors", "rx_frame_errors")
MISSED = ("rx_missed_errors", "rx_fifo_errors", "rx_over_errors")
DAMAGED_INVALID = 1e-5
"""Of the frames received. At the highest bit error rate that IEEE Std 802.3 allows at 10 Gb/s, 1e-12, 1 in 8e7 frames
of 1518 bytes is damaged."""
MISSED_INVALID = 0.01
"""Of the frames received. As for frames that the tester does not send (the gate unsent)."""


def differences(before: Mapping[str, NoiseReading], after: Mapping[str, NoiseReading]) -> Counted:
    """What the NICs counted between two readings; empty where there are none."""
    return {
        machine: {
            name: {
                counter: value - before[machine].nics[name][counter]
                for counter, value in now.items()
                if counter in before[machine].nics.get(name, {})
            }
            for name, now in reading.nics.items()
        }
        for machine, reading in after.items()
        if reading.nics
    }


def damage_gate(counted: Counted) -> Gate:
    """Frames that came in damaged, of all that the worst NIC received."""
    worst, found = _worst(counted, DAMAGED)
    return Gate(
        name="damage",
        state=state_of(worst, warn=0.0, invalid=DAMAGED_INVALID),
        value=found,
        limit=f"warn if any, invalid > {DAMAGED_INVALID:.3%}",
        why="frames that a cable or a connector damages are lost before the DUT, or after it: clean or change it",
    )


def missed_gate(counted: Counted, tester: Mapping[str, Sequence[str]]) -> Gate:
    """Frames for which a NIC of the tester had no room; those of the DUT's are the DUT's own loss."""
    of_tester = {
        machine: {name: counters for name, counters in found.items() if name in tester.get(machine, ())}
        for machine, found in counted.items()
    }
    worst, found = _worst(of_tester, MISSED)
    return Gate(
        name="missed",
        state=state_of(worst, warn=0.0, invalid=MISSED_INVALID),
        value=found,
        limit=f"warn if any, invalid > {MISSED_INVALID:.0%}",
        why="frames that the tester's NIC drops came back from the DUT, and count as its loss: larger rings help",
    )


def _worst(counted: Counted, counters: Sequence[str]) -> tuple[float, str]:
    """The largest share of these counters of what a NIC received, and where there were how many."""
    found = {}
    for machine, interfaces in counted.items():
        for name, grown in interfaces.items():
            lost = sum(grown.get(counter, 0) for counter in counters)
            if lost > 0:
                whole = lost + grown.get("rx_packets", 0)
                found[f"{name} of {machine}: {lost} of {whole} frames"] = lost / whole
    return max(found.values(), default=0.0), "; ".join(found) or "none"


def of_port(facts: Mapping[str, object], *, machine: str, core: int) -> NicFacts:
    """From what `lab.links.nic.read_back` returned."""

    def text(name: str) -> str | None:
        value = facts.get(name)
        return None if value is None else str(value)

    speed, local, pause = facts.get("speed_mbps"), facts.get("local_cores"), facts.get("pause")
    return NicFacts(
        port=str(facts["interface"]),
        machine=machine,
        core=core,
        speed_mbps=speed if isinstance(speed, int) else None,
        duplex=text("duplex"),
        local_cores=tuple(local) if isinstance(local, list | tuple) else None,
        pcie=text("pcie"),
        pcie_able=text("pcie_able"),
        pause=tuple(what for what, on in pause.items() if on) if isinstance(pause, Mapping) else None,
    )
