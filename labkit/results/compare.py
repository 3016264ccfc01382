"""Compare two runs of one host: a generic and a low-latency boot, before and after.

Only runs of one machine and of the same labs are compared. That kernels and command lines differ is what a comparison
is for, so that is named first; whatever else differs is named too. Pure: runs in, findings out.
"""

from __future__ import annotations

from dataclasses import replace

from labkit.record.model import HostKey
from labkit.record.run import Run
from labkit.results.comparability import (
    environment,
    host_words,
    in_both,
    in_one,
    kernel_changes,
    kernel_words,
    machines,
    other_changes,
    same_host,
    same_labs,
)
from labkit.results.comparison import NOT_COMPARABLE, Comparison, Difference
from labkit.results.finding import judge
from labkit.results.pairing import by_row, comparable, cores_notes, on_the_same_cores, repeats
from labkit.results.rows import place
from labkit.results.uncertainty import readings


def compare(a: Run, b: Run) -> Comparison:
    """Compare B with A.

    Raises ConfigInvalid where they are of two hosts or of other labs, or where one has no record of its machine.
    """
    was, now = environment(a, "A"), environment(b, "B")
    same_host(was, now)
    same_labs(was, now)
    kernel, besides = kernel_changes(was, now), other_changes(a, was, b, now)
    one_sided = in_one(was, now)
    notes = []
    if not kernel and not one_sided:
        notes.append("Kernel and command line are the same in both: they explain no difference.")
    if a.start.id == b.start.id:
        notes.insert(0, "A and B are one and the same run.")
    if not all(one.host and other.host for _, one, other in in_both(was, now)):
        notes.append("A machine id is missing: that both runs are of one machine is assumed, not verified.")
    if besides:
        notes.append("More than the kernel differs: a difference of figures may come from that.")
    if one_sided:
        notes.append(
            f"In one run only: {', '.join(one_sided)}. What differs between its machines is not known."
        )
    if any(one.virtualisation.guest for one in machines(now).values()):
        notes.append("A virtual machine: the hypervisor's scheduling is in every figure of both.")
    notes += cores_notes(a, b)
    notes += [*repeats("A", a), *repeats("B", b)]
    notes += [
        f"Run {name} was interrupted." for name, run in (("A", a), ("B", b)) if run.state == "interrupted"
    ]
    return Comparison(
        a=a.start.id,
        b=b.start.id,
        host=host_words(was),
        kernel_a=kernel_words(was),
        kernel_b=kernel_words(now),
        kernel=kernel,
        besides=besides,
        differences=tuple(_differences(a, b)),
        notes=tuple(notes),
    )


def _differences(a: Run, b: Run) -> list[Difference]:
    then, now = by_row(a), by_row(b)
    out: list[Difference] = []
    for key, kind in sorted(dict.fromkeys([*then, *now]), key=lambda row: place(row[0])):
        was, is_ = then.get((key, kind), []), now.get((key, kind), [])
        why_not = ""
        if was and is_ and isinstance(key, HostKey):
            one, other, why_not = on_the_same_cores(*comparable(was, is_))
            was, is_ = [one], [other]
        # A ladder and a single load are two measurements of one kind: neither takes the other's place.
        old = {r.metric: r for m in was for r in readings(m)}
        new = {r.metric: r for m in is_ for r in readings(m)}
        for name in dict.fromkeys([*old, *new]):
            found = judge(key, kind, name, old.get(name), new.get(name))
            out.append(replace(found, finding=NOT_COMPARABLE, reason=why_not) if why_not else found)
    return out
