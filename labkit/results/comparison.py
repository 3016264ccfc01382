"""What a comparison of two runs finds: the difference of each metric, the facts that differ, and the notes to both."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from labkit.record.codec import encode
from labkit.record.model import Key
from labkit.results.uncertainty import Reading

NOT_COMPARABLE = "not comparable"

INVALID = "invalid"

WITHIN = "within uncertainty"

KERNEL_NOTE = (
    "A low-latency or real-time kernel is about wake-ups, not about throughput: expect the rare late wake-up to go, "
    "and rates to stay or to fall a little. Whether that is a gain depends on what you run."
)

UNCERTAINTY_NOTE = (
    "Within uncertainty: the intervals of the two figures overlap (bounds of a search, 95 % confidence interval). "
    "Lower and higher hold in these two runs; from run to run there is more: measure A, B, A, B in turn before you "
    "believe a difference."
)

_IN_JSON = {WITHIN: "within spread"}

JUDGED = ("lower", "higher", WITHIN)
"""Findings of figures that could be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of one row in both runs."""

    key: Key
    kind: str
    metric: str
    unit: str
    a: Reading | None
    b: Reading | None
    ratio: float | None
    """B to A; None where they are not compared: what is invalid has no ratio."""
    difference: float | None
    """B less A, in `unit`; None as of the ratio."""
    finding: str
    """lower, higher (B than A, in these two runs), within uncertainty, invalid, or not comparable."""
    reason: str

    @property
    def bound(self) -> str:
        """What ratio and difference are where one figure is a lower bound: "at least" or "at most"."""
        if self.a is None or self.b is None or (self.a.high is None) == (self.b.high is None):
            return ""
        return "at least" if self.b.high is None else "at most"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A fact that differs between the runs."""

    what: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs, compared."""

    a: str
    """The run's id."""
    b: str
    host: str
    """What both were made on."""
    kernel_a: str
    kernel_b: str
    kernel: tuple[Changed, ...]
    """What differs of the kernel and its command line: what is compared."""
    besides: tuple[Changed, ...]
    """What else differs: it may be the cause of a difference in the figures."""
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    """Notes to these two runs; those to every comparison are KERNEL_NOTE and UNCERTAINTY_NOTE."""

    @property
    def compared(self) -> int:
        """How many metrics could be compared."""
        return sum(d.finding in JUDGED for d in self.differences)

    @property
    def counts(self) -> Counter[str]:
        """How many metrics of each finding."""
        return Counter(d.finding for d in self.differences)

    def as_json(self) -> dict[str, Any]:
        """For `labkit compare --json`, whose findings keep the names that they have had since version 0.1.0."""
        whole = encode(self)
        for difference in whole["differences"]:
            difference["finding"] = _IN_JSON.get(difference["finding"], difference["finding"])
        counts = {_IN_JSON.get(finding, finding): n for finding, n in self.counts.items()}
        return {**whole, "notes": [*self.notes, KERNEL_NOTE, UNCERTAINTY_NOTE], "counts": counts}
