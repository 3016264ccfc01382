"""What a kernel says of the TCP connections of one end, over a trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpFigures:
    """Sums over the connections of one end (linux/tcp.h, struct tcp_info). What a kernel does not know of is 0."""

    connections: int
    """Open at the end."""
    opened: int
    """Made or accepted since the program's start."""
    segments_out: int
    segments_in: int
    retransmitted_segments: int
    """Of what this end sent (tcpi_total_retrans)."""
    bytes_sent: int
    bytes_retransmitted: int
    bytes_acked: int
    bytes_received: int
    reordering_seen: int
    """Times that its acknowledgements showed a reordering (tcpi_reord_seen)."""
    out_of_order_segments: int
    """That came in out of order (tcpi_rcv_ooopack)."""
    busy_us: int
    """Time with something to send [us]."""
    receiver_limited_us: int
    """Of it, time in which the other end's receive window was full [us]."""
    send_buffer_limited_us: int
    """Of it, time in which its own send buffer was too small [us]."""
    smoothed_rtt_us: int
    """The kernel's smoothed round trip of the slowest connection at the end [us]."""
    shortest_rtt_us: int | None
    """The shortest one that the kernel has seen of any, since it was opened [us]."""
    delivery_bytes_per_s: int
    """The kernel's last estimate of the delivery rate, of all together [bytes/s]."""

    def since(self, before: TcpFigures) -> TcpFigures:
        """What has been added; connections and estimates are those of now."""
        return replace(self, **{name: getattr(self, name) - getattr(before, name) for name in SUMS})


def words(ends: Sequence[Mapping[str, TcpFigures]]) -> str:
    """What was sent again in trials, each with the figures of its ends by name; empty where none was over TCP."""
    found = []
    for end in dict.fromkeys(end for one in ends for end in one):
        total = summed(one[end] for one in ends if end in one)
        counted = (
            f"{total.retransmitted_segments} of {total.segments_out}" if total.segments_out else "not counted"
        )
        found.append(f"{end} {counted}")
    return f"TCP segments retransmitted in the trials behind the figures: {', '.join(found)}" if found else ""


NOT_SUMMED = ("connections", "opened", "smoothed_rtt_us", "shortest_rtt_us", "delivery_bytes_per_s")
SUMS = tuple(one.name for one in fields(TcpFigures) if one.name not in NOT_SUMMED)


def summed(found: Iterable[TcpFigures]) -> TcpFigures:
    """Over several trials; connections and estimates are those of the last one, the slowest and the shortest."""
    trials = tuple(found)
    shortest = [one.shortest_rtt_us for one in trials if one.shortest_rtt_us is not None]
    return replace(
        trials[-1],
        **{name: sum(getattr(one, name) for one in trials) for name in SUMS},
        smoothed_rtt_us=max(one.smoothed_rtt_us for one in trials),
        shortest_rtt_us=min(shortest) if shortest else None,
    )
