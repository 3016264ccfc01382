"""Runs the checks of this machine: what it can run, what is missing, and the command that fixes it.

Each prerequisite is exercised (open, bind, attach) in a scratch namespace, never inferred from a version. The machine
stays unchanged: what a check creates ends with its process. `labkit.doctor.table` prints the findings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from labkit.doctor import scratch
from labkit.doctor.catalog import CHECKS
from labkit.doctor.model import Check, Finding
from labkit.errors import LabkitBug

__all__ = ["Check", "Finding", "as_json", "checks", "run"]

_found: dict[tuple[str, int], Finding] = {}
"""By check id and the MTU at which it ran."""


def checks() -> tuple[Check, ...]:
    """All checks, in the order of the table."""
    return CHECKS


def run(
    ids: Iterable[str] | None = None, *, mtu_bytes: int = scratch.ORDINARY_MTU_BYTES
) -> tuple[Finding, ...]:
    """Findings of the checks of these ids (None: all), in the order of the table. Each runs once in a process.

    `mtu_bytes` is the MTU of the lab's links: native XDP does not support every MTU.
    """
    by_id = {check.id: check for check in CHECKS}
    wanted = set(by_id) if ids is None else set(ids)
    if unknown := wanted - by_id.keys():
        raise LabkitBug(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(by_id)}")
    keys = {
        name: (name, mtu_bytes if check.mtu_matters else scratch.ORDINARY_MTU_BYTES)
        for name, check in by_id.items()
        if name in wanted
    }
    for mtu in dict.fromkeys(mtu for _, mtu in keys.values()):
        missing = [name for name, at in keys.values() if at == mtu and (name, mtu) not in _found]
        for name, attempt in scratch.attempt_all(missing, mtu_bytes=mtu).items() if missing else ():
            check = by_id[name]
            ok = attempt.error is None
            _found[name, mtu] = Finding(
                id=name,
                title=check.title,
                ok=ok,
                required_for=check.required_for,
                detail=attempt.detail,
                error=attempt.error,
                fix=None if ok else attempt.fix or check.fix(),
            )
    return tuple(_found[key] for key in keys.values())


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON values: id, ok, detail, error, fix."""
    return [{"id": f.id, "ok": f.ok, "detail": f.detail, "error": f.error, "fix": f.fix} for f in findings]
