"""Frames and a load as TRex streams: raw bytes, a rate each, and fields that the server changes frame by frame.

The bytes are those of `testers.frames`, with what TRex writes into them: the IPv4 identification (or the IPv6 flow
label) of a stream that it counts, and in a latency stream the last LATENCY_BYTES of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from labkit.errors import ConfigInvalid

LATENCY_BYTES = 16
"""What a latency stream has at the end of each frame: sequence number, time and id (trex-core, flow_stat_parser.h)."""
LATENCY_STREAMS_MAX = 128
"""Ids of latency streams of one server (trex-core, MAX_FLOW_STATS_PAYLOAD)."""
FASTEST_PPS = 10e6
"""A rate that no port reaches: TRex has no "as fast as it goes"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream: a frame, how fast or how often, and the id that it is counted by."""

    pg_id: int
    frame: str
    """Without FCS, hexadecimal."""
    rate_pps: float
    count: int | None = None
    """Frames of a single burst; None: sent until the trial is over."""
    flows: int = 1
    """Values that the 16-bit field at `flow_offset` takes in turn, from its own one up."""
    flow_offset: int = 0


def streams(
    command: Mapping[str, object], *, load_pps: float | None, count: int | None = None
) -> list[Stream]:
    """The streams for the arguments of the probe's command `frames`: one for each size, in the mix's shares.

    `load_pps` is their sum; None: as fast as the server goes. `count`: a single burst of so many frames in all.
    Raises ConfigInvalid where TRex can't send them.
    """
    templates: Sequence[Mapping[str, object]] = command["templates"]  # type: ignore[assignment]
    order: Sequence[int] = command["order"]  # type: ignore[assignment]
    shares = [order.count(index) / len(order) for index in range(len(templates))]
    counts = _split(count, shares) if count is not None else [None] * len(templates)
    found = []
    for index, (template, share, part) in enumerate(zip(templates, shares, counts, strict=True)):
        data, signature = str(template["data"]), int(str(template["signature_offset"]))
        if len(data) // 2 < signature + LATENCY_BYTES:
            raise ConfigInvalid(
                f"a frame of {len(data) // 2 + 4} bytes has no room for TRex's {LATENCY_BYTES} bytes of payload"
            )
        if part == 0:
            continue
        found.append(
            Stream(
                pg_id=index + 1,
                frame=data,
                rate_pps=(load_pps if load_pps is not None else FASTEST_PPS) * share,
                count=part,
                flows=int(str(command["flows"])),
                flow_offset=int(str(command["flow_offset"])),
            )
        )
    return found


def _split(count: int, shares: Sequence[float]) -> list[int]:
    """Whole parts of `count` in these shares, which add up to it."""
    parts, given = [], 0
    for index, share in enumerate(shares):
        part = count - given if index == len(shares) - 1 else round(count * share)
        parts.append(part)
        given += part
    return parts


def as_json(found: Sequence[Stream]) -> list[dict[str, object]]:
    """As the worker takes them."""
    return [asdict(stream) for stream in found]
