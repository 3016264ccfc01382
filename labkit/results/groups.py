"""Rows that can be compared: each datapath beside the kernel's, on the same lab and with the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labkit.record.model import MESSAGES, DatapathKey, Measurement
from labkit.record.run import Run
from labkit.results.lookup import of_kind
from labkit.results.names import frame_words, name, sent_words
from labkit.results.row import Row
from labkit.targets.evaluation import GRO, engine_of, kernel_mode
from labkit.targets.metrics import METRICS
from labkit.targets.observed import Observed, Unknown
from labkit.targets.rates import rate

STACK = "kernel"

IN_THE_STACK = {("af_packet", ""), ("af_packet", GRO), ("dpdk", "net_af_packet")}
"""Datapaths (backend, mode) whose frames still pass the kernel's packet sockets: compared, but no bypass."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A row and its ratio to the kernel's."""

    row: Row
    seen: Observed
    """Times the kernel: between its conservative sides."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows on one lab with the same frames."""

    topology: str
    kernel_mode: str
    """The kernel's that they are compared with."""
    frame: str
    sent: str
    """What was sent, in a sentence: "frames of 64 B"."""
    others: tuple[Row, ...]
    """Every sound row but the kernel's own."""
    kernel: Row | None
    figure: str
    compared: tuple[Compared, ...]
    """The highest first."""
    lacking: tuple[tuple[str, tuple[Row, ...]], ...]
    """Why there is no ratio, and of which rows."""

    @property
    def where(self) -> str:
        """Such as "veth, 64 B"."""
        words = [self.topology, self.frame, "GRO on" if self.kernel_mode == GRO else ""]
        return ", ".join(filter(None, words))

    @property
    def best(self) -> Compared | None:
        """The bypass datapath with the highest ratio."""
        return next((c for c in self.compared if is_bypass(c.row)), None)


def is_bypass(row: Row) -> bool:
    """Whether its frames pass by the kernel's stack and its packet sockets."""
    return row.backend != STACK and (row.backend, row.mode) not in IN_THE_STACK


def grouped(run: Run, real: Sequence[Row], sound: Sequence[Row]) -> list[Group]:
    """All rows of real labs in such groups; only the sound ones are compared.

    The kernel's TCP alone is no group: it is there for others to be compared with.
    """
    alike: dict[tuple[str, str, int, int, str, str], list[Row]] = {}
    for r in real:
        key = (r.topology, r.frame, r.ip_version, r.flows, r.traffic, _kernel_mode(run, r))
        alike.setdefault(key, []).append(r)
    return [
        _group(run, together, sound)
        for together in alike.values()
        if together[0].traffic != MESSAGES or any(r.backend != STACK for r in together)
    ]


def _kernel_mode(run: Run, row: Row) -> str:
    """The mode of the kernel's that it is compared with."""
    if not isinstance(row.key, DatapathKey):
        return ""
    engine = next((engine_of(m) for m in run.measurements if m.key == row.key), None)
    return kernel_mode(row.key, engine)


def _group(run: Run, together: Sequence[Row], sound: Sequence[Row]) -> Group:
    valid = [r for r in together if r in sound]
    mode = _kernel_mode(run, together[0])
    reference = (STACK, mode)
    kernel = next((r for r in valid if (r.backend, r.mode) == reference), None)
    others = tuple(r for r in valid if r.backend != STACK)
    pairs = [(r, _ratio(run, r, kernel)) for r in others] if kernel else []
    compared = sorted(
        (Compared(r, seen) for r, (seen, _) in pairs if isinstance(seen, Observed)),
        key=lambda c: c.seen.low,
        reverse=True,
    )
    figures = {figure for _, (seen, figure) in pairs if isinstance(seen, Observed)}
    lacking: dict[str, list[Row]] = {}
    for r, (seen, _) in pairs:
        if isinstance(seen, Unknown):
            lacking.setdefault(seen.reason, []).append(r)
    if not others:
        alone = all(r.backend == STACK for r in together)
        why = (
            "nothing but the kernel was measured there with these frames"
            if alone
            else "no other row is valid"
        )
        lacking[why + _left_out(together, sound)] = []
    elif kernel is None:
        invalid = any((r.backend, r.mode) == reference for r in together)
        why = (
            "the kernel's row is invalid" if invalid else "the kernel's datapath was not measured on this lab"
        )
        lacking[why] = list(others)
    return Group(
        topology=together[0].topology,
        kernel_mode=mode,
        frame=frame_words(together[0]),
        sent=sent_words(together[0]),
        others=others,
        kernel=kernel,
        figure=" and ".join(sorted(figures)),
        compared=tuple(compared),
        lacking=tuple((why, tuple(found)) for why, found in lacking.items()),
    )


def _left_out(together: Sequence[Row], sound: Sequence[Row]) -> str:
    out = [name(r) for r in together if r not in sound]
    return f" (invalid: {', '.join(out)})" if out else ""


def _ratio(run: Run, row: Row, kernel: Row) -> tuple[Observed | Unknown, str]:
    """PDR to PDR, or MRR to MRR where a search is missing on either side; between the conservative sides of both."""
    for kind, figure in (("throughput", "PDR"), ("mrr", "MRR")):
        own, base = (of_kind(run, r.key, kind) for r in (row, kernel))
        if own is None or base is None:
            continue
        mine, its = (rate(m, figure.lower()) for m in (own, base))
        if mine and its and mine.at_least and its.at_least:
            return Unknown(
                f"its {figure} and the kernel's are lower bounds, for the tester was the limit"
            ), figure
        ratio = row.ratio(figure.lower())
        if ratio.value is None:
            return Unknown(ratio.why), figure
        seen = METRICS["ratio_to_kernel"].read(own, None, base)
        return (_at_most(own, base, figure) if isinstance(seen, Unknown) else seen), figure
    return Unknown("the two have no rate in common"), ""


def _at_most(own: Measurement, base: Measurement, figure: str) -> Observed | Unknown:
    """The ratio to a kernel whose own figure is a lower bound."""
    read = METRICS[figure.lower()].read
    mine, its = read(own, None, None), read(base, None, None)
    if isinstance(mine, Observed) and isinstance(its, Observed) and mine.high is not None and its.low > 0:
        return Observed(low=0.0, high=mine.high / its.low, quoted=None)
    return Unknown(f"the {figure}s of the two do not compare")
