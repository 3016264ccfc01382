"""Services of the Ubuntu Pro client: access to their packages, which are then installed like any other."""

from __future__ import annotations

import json
from pathlib import Path

from .boot_commands import CommandFailed, Run, run
from .state import Change, State

KIND = "ubuntu_pro"


class NotEntitled(Exception):
    """The host is not attached, or the service is not for it."""


def enabled(status: str, service: str) -> bool:
    """By what `pro status --format json` printed. Raises NotEntitled."""
    answer = json.loads(status)
    if not answer.get("attached"):
        raise NotEntitled(f"this host is not attached to Ubuntu Pro, which {service} takes: run `pro attach`")
    found = [one for one in answer.get("services", []) if one.get("name") == service]
    if not found or found[0].get("available") == "no" or found[0].get("entitled") == "no":
        raise NotEntitled(f"Ubuntu Pro has no {service} for this host: see `pro status --all`")
    return bool(found[0].get("status") == "enabled")


def change(role: str, service: str, *, check: bool = False, run: Run = run, root: Path = Path("/")) -> bool:
    """Get access to a service's packages. Returns whether that changes anything."""
    if enabled(run(["pro", "status", "--format", "json"]), service):
        return False
    if not check:
        State(role, root).note(KIND, service, None, "enabled")
        run(["pro", "enable", service, "--access-only", "--assume-yes"])
        if not enabled(run(["pro", "status", "--format", "json"]), service):
            raise CommandFailed(
                f"pro enable {service} reported success, but pro status does not show it enabled"
            )
    return True


def restore(change: Change, root: Path, run: Run = run) -> str | None:
    """Give the access back; None when done, else why not."""
    del root  # the client knows this host alone
    try:
        if enabled(run(["pro", "status", "--format", "json"]), change.target):
            run(["pro", "disable", change.target, "--assume-yes"])
    except NotEntitled:
        return None
    except CommandFailed as error:
        return str(error)
    return None
