"""A scratch namespace in which the checks run: a child process that ends with the doctor, however that ends.

The child has a network and a mount namespace of its own (without root also a user namespace), a fresh /sys, /run
and /dev/shm, and a veth pair. It prints two JSON lines a check, one before and one after; a check that kills it loses
only its own answer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from labkit.machine import fix, lacking
from labkit.machine.hosts import DIE_WITH_PARENT
from labkit.machine.privilege import allow_user_namespaces, capable

NEAR = "scratch0"
FAR = "scratch1"
"""The ends of the veth pair, both in the child's namespace and up."""

AS_ROOT = "as root"
"""A check's own fix that stands for the doctor's command as root: the child does not know how the doctor was called."""

ORDINARY_MTU_BYTES = 1500
_DEADLINE_S = 60.0
"""All checks together; a few seconds where nothing else runs."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one check went: `error` is None when it worked."""

    detail: str
    error: str | None
    fix: str | None


def attempt_all(ids: Iterable[str], *, mtu_bytes: int = ORDINARY_MTU_BYTES) -> dict[str, Attempt]:
    """Try the checks of these ids in one scratch child, on a link of this MTU.

    A check without an answer gets the last line that the child printed.
    """
    lacking.check()  # else a check would fail for a missing package and be blamed
    wanted = list(ids)
    user = [] if capable() else ["--user", "--map-root-user"]
    argv = ["unshare", *user, "--net", "--mount", "--propagation", "private", "--", *DIE_WITH_PARENT]
    command = [*argv, sys.executable, "-m", "labkit.doctor.child", str(mtu_bytes), *wanted]
    answers: dict[str, Attempt] = {}
    overdue = False
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
        output, log = done.stdout, done.stderr.strip() or f"exit code {done.returncode}, no output"
    except FileNotFoundError:
        output, log = "", "unshare: not found (package util-linux)"
    except subprocess.TimeoutExpired as error:
        output, log, overdue = _text(error.stdout), f"no answer within {_DEADLINE_S:g} s", True
    begun: str | None = None
    for line in output.splitlines():
        answer = json.loads(line)
        begun = answer["id"]
        if "error" in answer:
            how = fix.again_as_root() if answer["fix"] == AS_ROOT else answer["fix"]
            how = fix_of_none() if answer["unprepared"] else how
            answers[begun] = Attempt(answer["detail"], answer["error"], how)
    missing = [name for name in wanted if name not in answers]
    last_line = log.splitlines()[-1]
    if begun in missing:  # the check that ended the child; the others get a new one
        again = "run it again when the machine is less busy" if overdue else None
        answers[begun] = Attempt("", last_line, again)
        missing.remove(begun)
        return answers | (attempt_all(missing, mtu_bytes=mtu_bytes) if missing else {})
    how = fix_of_none() if missing else ""
    return answers | {name: Attempt("", f"no scratch namespace: {last_line}", how) for name in missing}


def fix_of_none() -> str:
    """The fix where the scratch namespace itself is refused, and with it every check."""
    if shutil.which("unshare") is None:
        return fix.packages("util-linux")
    return allow_user_namespaces() or fix.again_as_root()


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
