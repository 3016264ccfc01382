"""Frames and a load as TRex streams: raw bytes, a rate each, and fields that the server changes frame by frame.

The bytes are those of `testers.frames`, with what TRex writes into them: the IPv4 identification (or the IPv6 flow
label) of a stream that it counts, and in a latency stream the last LATENCY_BYTES of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from labkit.errors import ConfigInvalid
from labkit.testers.capture import TCP, UDP, ip_header

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
    fields: tuple[Mapping[str, object], ...] = ()
    """What differs from frame to frame, as in the probe's command `frames`; those that do not are left out."""
    ip_offset: int = 0
    """Of the IPv4 header whose checksum is to follow; 0: none is."""
    l4_offset: int = 0
    """Of the UDP or TCP header whose checksum is to follow; 0: none is."""
    tcp: bool = False
    """Whether that is TCP's."""


def streams(
    command: Mapping[str, object], *, load_pps: float | None, count: int | None = None
) -> list[Stream]:
    """The streams for the arguments of the probe's command `frames`: one for each size, in the mix's shares.

    `load_pps` is their sum; None: as fast as the server goes. `count`: a single burst of so many frames in all.
    Raises ConfigInvalid where TRex can't send them.
    """
    templates: Sequence[Mapping[str, object]] = command["templates"]  # type: ignore[assignment]
    order: Sequence[int] = command["order"]  # type: ignore[assignment]
    fields = tuple(one for one in command["fields"] if _differs(one))  # type: ignore[attr-defined]
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
        ip_offset, l4_offset = _checksums(bytes.fromhex(data), template, fields)
        found.append(
            Stream(
                pg_id=index + 1,
                frame=data,
                rate_pps=(load_pps if load_pps is not None else FASTEST_PPS) * share,
                count=part,
                fields=fields,
                ip_offset=ip_offset,
                l4_offset=l4_offset,
                tcp=ip_header(bytes.fromhex(data))[2] == TCP,
            )
        )
    return found


def _differs(field: Mapping[str, object]) -> bool:
    """Whether it has several values."""
    return "values" in field or field["count"] != 1


def _checksums(
    frame: bytes, template: Mapping[str, object], fields: Sequence[Mapping[str, object]]
) -> tuple[int, int]:
    """Where the headers start whose checksums these fields change; 0: none does."""
    ip, version, protocol = ip_header(frame)
    l4 = ip + (20 if version == 4 else 40)
    in_ip = version == 4 and any(int(str(one["offset"])) < l4 for one in fields)
    in_l4 = template["checksum_offset"] != -1 and protocol in (UDP, TCP) and bool(fields)
    return (ip if in_ip or in_l4 else 0), (l4 if in_l4 else 0)


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
