"""Several things of a host, read by one shell command there: over SSH each command is a round trip.

What each prints comes as a line of base64, so that nothing in it can pass for the end of it.
"""

from __future__ import annotations

import base64
import binascii
import shlex
import subprocess
from collections.abc import Sequence

from labkit.errors import ToolFailed
from labkit.machine.hosts import Host


def files(host: Host, *paths: str, what: str) -> list[str]:
    """The text of each file, as a program on that host sees it (/proc/net is the reader's); empty: it can't be read.

    See `outputs` for `what` and for what it raises.
    """
    return outputs(host, [file(path) for path in paths], what=what)


def file(path: str) -> str:
    """The shell command that prints a file, and nothing where it can't be read."""
    return f"cat -- {shlex.quote(path)} 2>/dev/null"


def outputs(host: Host, commands: Sequence[str], *arguments: str, what: str) -> list[str]:
    """What each of these shell commands prints on its standard output; how it ends does not matter.

    `arguments` are "$1" and so on in each. Raises ToolFailed, which says that `what` could not be read, where the shell
    does not come to its end; bytes that are no UTF-8 are replaced.
    """
    done = subprocess.run(
        host.argv(["sh", "-c", script(commands), "sh", *arguments]),
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise ToolFailed(f"what reads {what} {host.ended(done.returncode)}: {done.stderr.strip()}")
    return parse(done.stdout, len(commands), what)


def script(commands: Sequence[str]) -> str:
    """A shell script that prints a line for each command: its output in base64. Each runs in a shell of its own."""
    return "\n".join(f"{{ {command}\n}} | base64 -w0 && echo" for command in commands)


def parse(text: str, count: int, what: str) -> list[str]:
    """The outputs that `script` has printed for `count` commands. Raises ToolFailed for another text."""
    lines = text.splitlines()
    if len(lines) != count or not text.endswith("\n" if count else ""):
        raise ToolFailed(f"what reads {what} answered {len(lines)} of {count} parts: {text[-200:]!r}")
    try:
        return [base64.b64decode(line, validate=True).decode(errors="replace") for line in lines]
    except binascii.Error as error:
        raise ToolFailed(f"what reads {what} answered what is no base64: {text[:200]!r}") from error
