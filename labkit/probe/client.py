"""The controller's end of the probe: starts an executable and opens its ports.

PROTOCOL.md beside this file specifies the commands. Nothing here knows what a measurement is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labkit.errors import EnvironmentBroken
from labkit.machine.hosts import Host
from labkit.machine.program import Program
from labkit.probe.build import engine_path

OPEN_TIMEOUT_S = 30.0  # the EAL may have to clear hugepages


class Probe(Program):
    """A running probe: a `Program` whose ports are open."""

    def __init__(
        self,
        engine: str,
        host: Host,
        *,
        core: int | None,
        ports: Sequence[Mapping[str, object]],
        options: Mapping[str, object] | None = None,
        name: str = "probe",
        sanitize: bool = False,
        wrapper: Sequence[str] = (),
    ) -> None:
        """Start the executable on `host` and open its ports. `wrapper`: goes before it, and becomes it.

        Raises EnvironmentBroken (not built, refused by the system), ConfigInvalid (an argument it does not take) or
        ToolFailed (it died).
        """
        self.engine = engine
        self.name = name
        executable = _executable(engine, host, sanitize=sanitize)
        super().__init__(host, [*wrapper, executable], called=f"{name} (labkit-probe-{engine})")
        try:
            self.opened: dict[str, Any] = self.command(
                "open", timeout_s=OPEN_TIMEOUT_S, core=core, ports=list(ports), options=dict(options or {})
            )
        except BaseException:
            self.close()
            raise


def _executable(engine: str, host: Host, *, sanitize: bool) -> str:
    if host.executables is None:
        return str(engine_path(engine, sanitize=sanitize))
    if engine not in host.executables:
        raise EnvironmentBroken(
            f"{host.name} has no probe for the engine {engine}", hint=f"on {host.name}: labkit doctor"
        )
    return host.executables[engine]
