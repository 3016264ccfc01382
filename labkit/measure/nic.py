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
    pcie_max: str | None = None
    """What the NIC supports."""
    pause: tuple[str, ...] | None = None
    """What it is set to do of pause frames: some of "receive" and "send"."""


NOT_REPORTED = "not reported"


def gates(links: Sequence[tuple[NicFacts, NicFacts]]) -> tuple[Gate, ...]:
    """All gates over NICs; `links`: the two ends of each. None for no link."""
    ends = [end for link in links for end in link]
    return (link_gate(links), pause_gate(ends), pcie_gate(ends), numa_gate(ends)) if links else ()


def link_gate(links: Sequence[tuple[NicFacts, NicFacts]]) -> Gate:
    """Both ends of a link run at one speed, in both directions at once."""
    wrong, seen = [], []
    for ends in links:
        of_link = [f"{_name(end)}: {_mode(end)}" for end in ends]
        speeds = {end.speed_mbps for end in ends} - {None}
        halves = [said for end, said in zip(ends, of_link, strict=True) if end.duplex == "half"]
        wrong += of_link if len(speeds) > 1 else halves
        seen += of_link
    return Gate(
        name="link",
        state="invalid" if wrong else "ok",
        value="; ".join(wrong or seen),
        limit="full duplex, the same speed at both ends",
        why="frames that wait for the other direction, or for a slower end, are lost on the cable, not in the DUT",
    )


def _mode(end: NicFacts) -> str:
    speed = f"speed {NOT_REPORTED}" if end.speed_mbps is None else f"{end.speed_mbps} Mb/s"
    return f"{speed}, {end.duplex or f'duplex {NOT_REPORTED}'}"


def pause_gate(ends: Sequence[NicFacts]) -> Gate:
    """No NIC is set to send or to obey pause frames. It only warns."""
    return _warning(
        "pause",
        wrong={end: " and ".join(end.pause) for end in ends if end.pause},
        seen={end: NOT_REPORTED if end.pause is None else "off" for end in ends},
        limit="pause frames off at both ends",
        why="a DUT that pauses the tester shows a lower load instead of loss: ethtool -A turns it off",
    )


def pcie_gate(ends: Sequence[NicFacts]) -> Gate:
    """A NIC's PCIe link runs at what the NIC supports. It only warns."""
    return _warning(
        "pcie",
        wrong={
            end: f"{end.pcie} of {end.pcie_max}"
            for end in ends
            if end.pcie is not None and end.pcie_max is not None and end.pcie != end.pcie_max
        },
        seen={end: end.pcie or NOT_REPORTED for end in ends},
        limit="the speed and lanes that the NIC supports",
        why="a slot with fewer or slower lanes limits the rate before the DUT does",
    )


def numa_gate(ends: Sequence[NicFacts]) -> Gate:
    """Each worker runs on the NUMA node of its NIC. It only warns."""
    return _warning(
        "numa",
        wrong={
            end: f"core {end.core}, the NIC's are {_cores(end.local_cores)}"
            for end in ends
            if end.local_cores and end.core not in end.local_cores
        },
        seen={end: "on its node" if end.local_cores else NOT_REPORTED for end in ends},
        limit="the worker's core is one of the NIC's NUMA node",
        why="memory of another node is slower: set cores: in the topology",
    )


def _warning(
    name: str, *, wrong: Mapping[NicFacts, str], seen: Mapping[NicFacts, str], limit: str, why: str
) -> Gate:
    """Warns of the ends in `wrong`; if there is none, its value is what is `seen` of each."""
    return Gate(
        name=name,
        state="warn" if wrong else "ok",
        value="; ".join(f"{_name(end)}: {said}" for end, said in (wrong or seen).items()),
        limit=limit,
        why=why,
    )


def _name(end: NicFacts) -> str:
    return f"{end.port} of {end.machine}"


def _cores(cores: Sequence[int]) -> str:
    return f"{cores[0]}-{cores[-1]}" if len(cores) == cores[-1] - cores[0] + 1 else ",".join(map(str, cores))


Counted = Mapping[str, Mapping[str, Mapping[str, int]]]
"""By how much each counter of each NIC grew, by machine and interface [frames].

A counter that was not read both times is left out. Some drivers add a frame to their counters only seconds later.
"""
RECEIVED = "rx_packets"
MISSED = ("rx_missed_errors", "rx_fifo_errors", "rx_over_errors")
"""Drivers report a frame that found no room under one of these, or under several: the largest counts."""
CRC_ERRORS = ("rx_crc_errors", "rx_frame_errors")
"""The second: also misaligned. Drivers count such a frame under one of these, or under both: the larger counts."""
CRC_ERRORS_INVALID = 1e-5
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


def crc_errors_gate(counted: Counted) -> Gate:
    """Frames that came in damaged, of all that the worst NIC received."""
    return _counters(
        "crc-errors",
        counted,
        CRC_ERRORS,
        limit=f"warn if any, invalid > {CRC_ERRORS_INVALID:.3%}",
        invalid=CRC_ERRORS_INVALID,
        why="frames that a cable or a connector damages are lost before the DUT, or after it: clean or change it",
    )


def rx_missed_gate(counted: Counted, tester: Mapping[str, Sequence[str]]) -> Gate:
    """Frames for which a NIC of the tester had no room; those of the DUT's are the DUT's own loss."""
    of_tester = {
        machine: {name: counted.get(machine, {}).get(name, {}) for name in names}
        for machine, names in tester.items()
        if names
    }
    return _counters(
        "rx-missed",
        of_tester,
        MISSED,
        limit=f"warn if any, invalid > {MISSED_INVALID:.0%}",
        invalid=MISSED_INVALID,
        why="frames that the tester's NIC drops came back from the DUT, and count as its loss: larger rings help",
    )


def _counters(
    name: str, counted: Counted, counters: Sequence[str], *, limit: str, invalid: float, why: str
) -> Gate:
    """The largest share of the most of these counters of what a NIC received; warns where that is unknown."""
    shares, unknown = {}, []
    for machine, interfaces in counted.items():
        for interface, grown in interfaces.items():
            said = f"{interface} of {machine}"
            needed = [grown[counter] for counter in (RECEIVED, *counters) if counter in grown]
            if RECEIVED not in grown or len(needed) == 1:
                unknown.append(f"{said}: not read")
            elif min(needed) < 0:
                unknown.append(f"{said}: began anew")
            elif lost := max(needed[1:]):
                whole = lost + grown[RECEIVED]
                shares[f"{said}: {lost} of {whole} frames"] = lost / whole
    state = state_of(max(shares.values(), default=0.0), warn=0.0, invalid=invalid)
    return Gate(
        name=name,
        state="warn" if unknown and state == "ok" else state,
        value="; ".join((*shares, *unknown)) or "none counted",
        limit=limit,
        why=why,
    )


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
        pcie_max=text("pcie_max"),
        pause=tuple(what for what, on in pause.items() if on) if isinstance(pause, Mapping) else None,
    )


def by_its_driver(port: Mapping[str, object]) -> dict[str, object]:
    """What takes the place of the kernel's facts where a driver of user space has the NIC; `port` is its proof.

    The EAL reports the link; of pause frames it is not asked, so nothing is known.
    """
    return {"speed_mbps": port.get("speed_mbps"), "duplex": port.get("duplex"), "pause": None}
