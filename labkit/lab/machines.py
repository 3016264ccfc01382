"""The machines of a lab: each is asked through labkit's own agent there (`labkit agent`), over one SSH connection.

This machine is asked in the same way, without SSH: a lab on NICs has one way of being set up, wherever its hosts are.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from labkit.errors import EnvironmentBroken, LabkitError
from labkit.lab.topology import HERE, Role, Topology
from labkit.machine import sources
from labkit.machine.hosts import Host, LocalHost, SshHost
from labkit.machine.lock import user_name
from labkit.machine.program import Program
from labkit.machine.ssh import Destination, connected

ALIVE_EVERY_S = 15.0
LOST_AFTER_S = 60.0
"""A host that hears nothing for so long reverts what was changed for this controller: its machine may have died."""
SLOW_TIMEOUT_S = 120.0
"""For commands that compile, start Python or wait for a link."""
# As who may log in: root, or one whom sudo asks for no password.
_AS_ROOT = 'if [ "$(id -u)" = 0 ]; then exec {0}; else exec sudo -n -- {0}; fi'


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that is connected."""

    name: str
    """As the topology has it."""
    host: Host
    """Where its programs are started."""
    agent: Program
    kernel: str
    """Its kernel's boot id: the same for two names of one machine, and for containers there."""
    network: int
    """Its network namespace, by inode."""

    @property
    def here(self) -> bool:
        """Whether labkit itself runs there."""
        return isinstance(self.host, LocalHost)

    @property
    def connected(self) -> bool:
        """Whether its agent is there. It ends with the connection, and when the machine reboots."""
        return self.agent.alive

    def ask(self, command: str, *, timeout_s: float = SLOW_TIMEOUT_S, **arguments: object) -> Any:  # noqa: ANN401
        """The answer of its agent, a JSON value. Raises as `Program.command`."""
        return self.agent.command(command, timeout_s=timeout_s, **arguments)


Reach = Callable[[str], AbstractContextManager[Machine]]
"""Connects to a machine by the name that a topology has for it."""


@contextmanager
def reached(name: str, to: Destination | None) -> Iterator[Machine]:
    """Connect to a machine (`to` None: this one). It is let go, and what was changed is reverted, with the context.

    Raises EnvironmentBroken: it cannot be reached, has no labkit, another one, or gives no root.
    """
    called = f"labkit's agent on {name}"
    if name == HERE or to is None:
        local = LocalHost(name=name)
        with Program(
            local, [sys.executable, "-m", "labkit.cli", "agent"], called=called, cleans_up=True
        ) as agent:
            yield _machine(name, local, agent)
        return
    with connected(to) as ssh:
        login = SshHost(name=name, ssh=ssh, root=True)
        with Program(
            login,
            ["sh", "-c", _AS_ROOT.format(shlex.join([*to.labkit, "agent", "--controller", controller()]))],
            called=called,
            cleans_up=True,
        ) as agent:
            machine = _machine(name, login, agent, lost_after_s=LOST_AFTER_S)
            with _kept_alive(agent):
                yield machine


def for_agent(topology: Topology, role: Role) -> dict[str, Any]:
    """What an agent needs to know of a lab: arguments of its commands."""
    return {"role": role, "text": topology.text, "source": str(topology.source)}


def controller() -> str:
    """Who measures, for those who find the machine reserved."""
    return f"{user_name(os.getuid())}@{platform.node()}"


@contextmanager
def _kept_alive(agent: Program) -> Iterator[None]:
    """Let the agent know that this process is there, also while nothing is asked of it.

    At the end the thread is not waited for: it may be in a command that takes up to LOST_AFTER_S. The agent's end is
    its own.
    """
    over = threading.Event()

    def repeat() -> None:
        with suppress(LabkitError, ValueError):  # it has ended, or is closed: who asks it next learns so
            while not over.wait(ALIVE_EVERY_S):
                agent.command("alive", timeout_s=LOST_AFTER_S)

    thread = threading.Thread(target=repeat, name=agent.called, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _machine(
    name: str, host: LocalHost | SshHost, agent: Program, *, lost_after_s: float | None = None
) -> Machine:
    greeting: Mapping[str, Any] = agent.command("hello", timeout_s=SLOW_TIMEOUT_S, lost_after_s=lost_after_s)
    if greeting["sources"] != sources.digest():
        raise EnvironmentBroken(
            f"{name} has another labkit ({greeting['labkit']}, files {greeting['sources']}, here {sources.digest()})",
            hint=f"install on {name} the labkit that is here: the same wheel, or the same checkout",
        )
    if isinstance(host, SshHost):
        host = replace(host, root=bool(greeting["root"]), executables=greeting["executables"])
    return Machine(name, host, agent, greeting["machine"], greeting["network"])
