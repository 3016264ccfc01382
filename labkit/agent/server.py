"""Answers a controller's commands on standard input and output (JSON lines, as `machine.program` speaks them).

When its input ends, so does it, and what it changed for the controller is reverted; so it does when nothing has come
for long, because a controller whose machine died closes no connection. If it is killed first, the journal of this
machine still has it: `labkit down` reverts it.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator, Mapping
from typing import IO, Any

from labkit.agent import connection
from labkit.agent.commands import Commands
from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitError
from labkit.machine.lock import Busy

_CODES = ((Busy, "busy"), (EnvironmentBroken, "refused"), (ConfigInvalid, "bad-argument"))


class _Lost(Exception):
    """Nothing came from the controller for too long."""


def serve() -> int:
    """Answer until the input ends; the exit code."""
    # Whatever prints must not print between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out, Commands() as commands:
        os.dup2(2, 1)
        try:
            _answer_all(_lines(0, commands), out, commands)
        except _Lost:
            connection.close()  # first: what was started over it ends with it
    return 0


def _lines(descriptor: int, commands: Commands) -> Iterator[str]:
    """The lines that come, until the input ends. Raises _Lost."""
    pending = b""
    while True:
        *whole, pending = pending.split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
        if not select.select([descriptor], [], [], commands.lost_after_s)[0]:
            raise _Lost
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        pending += data


def _answer_all(lines: Iterator[str], out: IO[str], commands: Commands) -> None:
    for line in lines:
        try:
            request = json.loads(line)
        except ValueError:
            answer: dict[str, Any] = {"id": None, **_error("bad-argument", f"no JSON: {line[:200]!r}", None)}
        else:
            if request.get("cmd") == "quit":
                return
            answer = {"id": request.get("id"), **_answer(request, commands)}
        try:
            out.write(json.dumps(answer) + "\n")
            out.flush()
        except BrokenPipeError:
            return


def _answer(request: Mapping[str, Any], commands: Commands) -> dict[str, Any]:
    arguments = {key: value for key, value in request.items() if key not in ("id", "cmd")}
    name = str(request.get("cmd"))
    if name not in Commands.NAMES:
        return _error("bad-argument", f"no such command: {name}", "is the same labkit on both machines?")
    try:
        return {"ok": True, "result": getattr(commands, name)(**arguments)}
    except LabkitError as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "failed")
        return _error(code, error.message, error.hint)
    except (TypeError, ValueError, OSError) as error:
        return _error("failed", f"{type(error).__name__}: {error}", None)


def _error(code: str, message: str, hint: str | None) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "message": message, "hint": hint}}
