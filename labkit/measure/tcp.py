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
    least_written_bytes: int | None = None
    """Of a tester's connections: what it wrote into the one that took least [bytes], over several trials the sum.
    None: it is no tester's."""
    most_written_bytes: int | None = None
    """And into the one that took most."""

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


def shares(ends: Sequence[Mapping[str, TcpFigures]]) -> str:
    """How unequal a tester's connections were in the trial where they were most so; empty: not much.

    Of trials without a load: with one, each is offered the same.
    """
    given = [one["tester"] for one in ends if "tester" in one]
    uneven = [
        (one.least_written_bytes / one.most_written_bytes, one.connections)
        for one in given
        if one.least_written_bytes is not None and one.most_written_bytes
    ]
    share, connections = min(uneven, default=(1.0, 0))
    if share >= UNEQUAL:
        return ""
    return f"unequal shares: of {connections} TCP connections one took {share:.0%} of what another took"


UNEQUAL = 0.5
"""Where one took less than this share of what another took, it is said: buffers alone make some difference."""
NOT_SUMMED = (
    *("connections", "opened", "smoothed_rtt_us", "shortest_rtt_us", "delivery_bytes_per_s"),
    *("least_written_bytes", "most_written_bytes"),
)
SUMS = tuple(one.name for one in fields(TcpFigures) if one.name not in NOT_SUMMED)


def summed(found: Iterable[TcpFigures]) -> TcpFigures:
    """Over several trials; connections and estimates are those of the last one, the slowest and the shortest."""
    trials = tuple(found)
    shortest = [one.shortest_rtt_us for one in trials if one.shortest_rtt_us is not None]
    least = [one.least_written_bytes for one in trials if one.least_written_bytes is not None]
    most = [one.most_written_bytes for one in trials if one.most_written_bytes is not None]
    return replace(
        trials[-1],
        **{name: sum(getattr(one, name) for one in trials) for name in SUMS},
        smoothed_rtt_us=max(one.smoothed_rtt_us for one in trials),
        shortest_rtt_us=min(shortest, default=None),
        least_written_bytes=sum(least) if least else None,
        most_written_bytes=sum(most) if most else None,
    )
