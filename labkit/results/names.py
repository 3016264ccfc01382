"""What a row is called, in the table, the report and in sentences."""

from __future__ import annotations

from labkit import format as fmt
from labkit.record.model import MESSAGES
from labkit.results.row import Row

HOST_NAMES = {
    "hardware": "hardware gaps",
    "wakeup": "wake-up",
    "timerlat": "wake-up, traced",
    "busy_loop": "busy loop kept waiting",
}
"""By kind of measurement: the rows of the host itself."""


def name(row: Row) -> str:
    """The datapath as a row names it: "dpdk net_af_packet IPv6"; of the host itself: "wake-up"."""
    if row.is_host:
        return HOST_NAMES.get(row.mode, row.backend)
    parts = [
        row.backend,
        row.mode,
        "IPv6" if row.ip_version == 6 else "",
        _traffic(row),
        _flows(row),
    ]
    return " ".join(p for p in parts if p)


def where(row: Row) -> str:
    """The row in a sentence: "dpdk on memif, 64 B"."""
    return f"{name(row)} on {row.topology}{f', {fmt.frame(row.frame)}' if row.frame else ''}"


def frame_size(row: Row) -> str:
    """Such as "64 B", "imix"; empty where there is no frame."""
    return fmt.frame(row.frame)


def frame_words(row: Row) -> str:
    """The same with what a row's name has beside it: "64 B IPv6, TCP, 4 flows"."""
    size = frame_size(row) + (" IPv6" if row.ip_version == 6 else "")
    return ", ".join(p for p in (size, _traffic(row), _flows(row)) if p)


def sent_words(row: Row) -> str:
    """The same in a sentence: "frames of 64 B IPv6, TCP", "messages of 256 B, 4 flows"."""
    if row.traffic != MESSAGES:
        return f"frames of {frame_words(row)}"
    size = frame_size(row) + (" IPv6" if row.ip_version == 6 else "")
    return f"{_traffic(row)} of {', '.join(p for p in (size, _flows(row)) if p)}"


def _traffic(row: Row) -> str:
    return fmt.traffic(row.traffic)[0]


def _flows(row: Row) -> str:
    return f"{row.flows} flows" if row.flows > 1 else ""


def name_of(row: Row) -> str:
    """The datapath, its lab and its frames: "xdp · veth · 64 B"."""
    return " · ".join(p for p in (name(row), row.topology, frame_size(row)) if p)
