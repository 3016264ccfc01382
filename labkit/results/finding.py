"""What is found of one metric in two runs: lower, higher, within its uncertainty, invalid, or not comparable."""

from __future__ import annotations

from labkit import format as fmt
from labkit.record.model import Key
from labkit.results.comparison import INVALID, JUDGED, NOT_COMPARABLE, WITHIN, Difference
from labkit.results.pairing import SAME_DURATION, near
from labkit.results.uncertainty import Reading

SAME_LOAD = 0.05
"""Round trips wait longer under more load: loads are the same within this share of the higher one."""


def judge(key: Key, kind: str, metric: str, a: Reading | None, b: Reading | None) -> Difference:
    """Compare one metric of one row; None: that run does not have it."""
    ratio = difference = None
    if a is None or b is None:
        lacking = "A" if a is None else "B"
        finding, reason = NOT_COMPARABLE, f"not measured (or too few samples) in {lacking}"
    else:
        finding, reason = _finding(a, b)
        if finding in JUDGED and a.value is not None and b.value is not None:
            ratio = b.value / a.value if a.value else None
            difference = b.value - a.value
    known = a or b
    assert known is not None
    return Difference(
        key=key,
        kind=kind,
        metric=metric,
        unit=known.unit,
        a=a,
        b=b,
        ratio=ratio,
        difference=difference,
        finding=finding,
        reason=reason,
    )


def _finding(a: Reading, b: Reading) -> tuple[str, str]:
    """Whether B is lower or higher than A in these two runs; where their intervals overlap, that nothing is shown.

    Never better or worse: the uncertainty is that inside one run, and what a repetition would bring is not known.
    """
    invalid = [f"{name}: {r.invalid}" for name, r in (("A", a), ("B", b)) if r.invalid]
    if invalid:
        return INVALID, "; ".join(invalid)
    if why := _why_not_comparable(a, b):
        return NOT_COMPARABLE, why
    higher = a.high is not None and b.low > a.high
    lower = b.high is not None and b.high < a.low
    if higher or lower:
        name, longer = ("B", b) if higher else ("A", a)
        return (INVALID, f"{name}: {longer.doubt}") if longer.doubt else ("higher" if higher else "lower", "")
    open_ended = [name for name, r in (("A", a), ("B", b)) if r.high is None]
    if open_ended:
        return NOT_COMPARABLE, f"{' and '.join(open_ended)}: at least; no upper limit was found"
    return WITHIN, ""


def _why_not_comparable(a: Reading, b: Reading) -> str:
    """Why two readings of one metric can't be compared; empty: they can."""
    if not (a.judged and b.judged):
        return "the hardware's and not the kernel's: reported, and not judged"
    if a.cores and b.cores and a.cores != b.cores:
        return f"{a.cores} in A; {b.cores} in B"
    if a.tester and b.tester and a.tester != b.tester:
        return f"the tester's engine was {a.tester} in A, {b.tester} in B"
    if a.load_pps is not None and b.load_pps is not None and not near(a.load_pps, b.load_pps, SAME_LOAD):
        return f"at {fmt.pps(a.load_pps)} in A, at {fmt.pps(b.load_pps)} in B"
    if a.over_s is not None and b.over_s is not None and not near(a.over_s, b.over_s, SAME_DURATION):
        return f"the longest of {a.over_s:g} s in A, of {b.over_s:g} s in B"
    return ""
