"""Answers a controller's commands on standard input and output (JSON lines, as `machine.program` speaks them).

When its input ends, so does it, and what it changed for the controller is reverted. If it is killed first, the
journal of this machine still has it: `labkit down` reverts it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import IO, Any

from labkit.agent.commands import Commands
from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitError

_CODES = ((EnvironmentBroken, "refused"), (ConfigInvalid, "bad-argument"))


def serve() -> int:
    """Answer until the input ends; the exit code."""
    # Whatever prints must not print between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out, Commands() as commands:
        os.dup2(2, 1)
        _answer_all(sys.stdin, out, commands)
    return 0


def _answer_all(lines: IO[str], out: IO[str], commands: Commands) -> None:
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
