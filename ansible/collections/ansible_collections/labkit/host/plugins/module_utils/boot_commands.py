"""Programs that the boot modules call: argv in, text out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from .programs import environment

Run = Callable[[Sequence[str]], str]
"""Runs a program and gives what it printed. Raises CommandFailed."""
LIMIT_S = 1800
"""update-initramfs takes minutes on an emulated machine."""


class CommandFailed(Exception):
    """A program is not there, said no, or did not end."""


def run(command: Sequence[str]) -> str:
    """Run it in plain English, without questions."""
    plain = {"LC_ALL": "C.UTF-8", "LANGUAGE": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            env={**environment(), **plain},
        )
    except FileNotFoundError as error:
        raise CommandFailed(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(command)} did not end within {LIMIT_S} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CommandFailed(f"{' '.join(command)}: {said or f'exit code {done.returncode}'}")
    return done.stdout
