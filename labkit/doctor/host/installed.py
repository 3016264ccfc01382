"""Whether packages are installed, by the package manager's own list."""

from __future__ import annotations

import shlex

from labkit.doctor.host.model import Failed, Passed
from labkit.doctor.host.reader import HostReader


def packages(reader: HostReader, names: list[str]) -> Passed | Failed:
    """Whether each is installed; "a|b" means one of them."""
    wanted = [name for item in names for name in item.split("|")]
    quoted = " ".join(map(shlex.quote, wanted))
    command = (
        "if command -v dpkg-query >/dev/null; then dpkg-query --show "
        f"--showformat '${{Package}} ${{db:Status-Status}}\\n' {quoted} 2>/dev/null | sed -n 's/ installed$//p'; "
        f"else for name in {quoted}; do rpm -q --quiet --whatprovides $name && echo $name; done; fi; true"
    )
    there = set(reader.look(commands={"packages": command}).commands["packages"].out.split())
    if missing := [item for item in names if not set(item.split("|")) & there]:
        return Failed(f"{len(names)} packages", f"not installed: {', '.join(missing)}")
    return Passed(f"{len(names)} packages")
