"""The seam between a lab and a datapath.

A backend says what it needs and starts its program on the DUT's ports. It does not know targets or testers.
Backends are found by the entry-point group `labkit.backends`; each entry is a `Backend` object.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from labkit.lab.topology import Topology
from labkit.measure.proof import Proof as Proof  # backends of other projects import it from here

if TYPE_CHECKING:
    from labkit.lab.live import Lab


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One way of running a backend. The default mode of a backend has the empty name."""

    name: str
    """Part of test ids: short, stable, [a-z0-9_]*."""
    description: str
    requires: tuple[str, ...]
    """Ids of the doctor's checks (`labkit doctor`) that must be ok."""
    largest_frame_bytes: int | None = None
    """With FCS: larger frames are truncated or dropped. None: no limit but the link's."""
    largest_frame_why: str = ""
    """Which of its buffers sets this limit."""
    no_qinq: str = ""
    """Why frames with two VLAN tags do not come back from it as they were sent; empty: they do."""
    own_mac: bool | None = None
    """Instead of the backend's own (`Backend.own_mac`), where its modes differ; None: as there."""
    always: bool = False
    """Measured also where only default modes are."""
    tcp: Literal["", "echo", "sink"] = ""
    """Measured by messages over TCP connections of the tester's own sockets, not by frames: they are sent back, or
    only taken in (then the DUT is a `testers.base.Sink`)."""
    tester: Literal["", "xdp"] = ""
    """The engine that measures it where it can run, unless the user chose one: the DUT's ports take its frames as they
    are. Empty: the fastest that changes nothing there."""
    on_vfio: bool = False
    """The DUT's NICs are bound to vfio-pci while it runs: they are no interfaces then."""


class Dut(Protocol):
    """A running datapath on the DUT.

    It may have `worker_tid`, the thread whose core is judged (or a session, with a minus before its id);
    `wrong(trial)`, which is given a first few frames and says why they show that it does not answer (empty: it does);
    and `count(trial)`, which is given each trial.
    """

    def proof(self) -> Proof:
        """Read back, after traffic has passed."""
        ...

    def counters(self) -> Mapping[str, float]:
        """Own counters since it started (frames unless the name says otherwise); may be empty."""
        ...

    def check_alive(self) -> None:
        """Raise ToolFailed, with the program's last words, if it has died."""
        ...


class Backend(Protocol):
    """A datapath that a DUT can use.

    With an attribute `leaves_traces` that is true, the lab is brought up anew after it: it may leave the DUT changed.
    """

    name: str
    description: str
    own_mac: bool
    """Whether frames must carry the DUT port's own MAC address, because its kernel handles them. Where not, they carry
    a foreign one, so that the kernel beside the datapath drops its copy at once and answers nothing."""

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """The modes it has on this topology; empty: it cannot run there."""
        ...

    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> AbstractContextManager[Dut]:
        """Start on the lab's DUT ports; leaving the context stops it.

        `ip_version` (4 or 6) is what the frames will carry. Raises EnvironmentBroken or ToolFailed.
        """
        ...
