"""One session of measuring: a lab comes up once, each figure is measured once, and each result is stored at once.

A session puts its parts together: `recorder` keeps, `measure` makes the measurements, `judge` judges them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from labkit.errors import ConfigInvalid
from labkit.lab.live import Lab
from labkit.lab.machines import Reach
from labkit.lab.topology import HERE, Tier, Topology
from labkit.lab.traffic import GRO, TCP_ECHO
from labkit.machine import usage
from labkit.machine.usage import Usage
from labkit.measure.proof import Proof
from labkit.measure.trial import TrialResult
from labkit.progress import Progress
from labkit.session import capabilities
from labkit.session.datapaths import REFERENCE, Datapath, default_datapath
from labkit.session.frame import Frame
from labkit.session.judge import Judge
from labkit.session.kinds import Kinds
from labkit.session.machines import Machines
from labkit.session.plan import plan_for
from labkit.session.recorder import Recorder
from labkit.session.reservation import reserved
from labkit.session.settings import Settings
from labkit.session.testbeds import Testbeds
from labkit.testers.frames import FrameSpec


class Session:
    """Measures on demand, remembers, stores. Close it to take everything down."""

    def __init__(self, settings: Settings, *, progress: Progress) -> None:
        plan = plan_for(quick=settings.quick, rfc2544=settings.rfc2544)
        self.settings = settings
        self.progress = progress
        self.recorder = Recorder(settings, plan)
        self._machines = Machines(settings.inventories, wait_s=settings.wait_s, progress=progress)
        self._testbeds = Testbeds(
            plan,
            reach=self._machines.reach,
            tester_engine=settings.tester_engine,
            trex_dir=settings.trex_dir,
            seed=settings.seed,
            progress=progress,
            on_topology=self.recorder.note_topology,
            output=lambda: store.folder if (store := self.recorder.store) else None,
        )
        frame = Frame(self.recorder, reserve=self.reserve, progress=progress)
        self.measure = Kinds(
            self.recorder,
            frame,
            self._testbeds,
            plan=plan,
            on_this_machine=self.on_this_machine,
            progress=progress,
            watched=self._machines.watched,
        )
        self.judge = Judge(self.recorder, self.measure, lacking=self.lacking)
        self._reservation = ExitStack()
        self._reserved = False
        self.usage: Usage | None = None
        """Who else used the machine when it was last observed."""

    # --- the machine ---------------------------------------------------------------------------------------

    def find_hosts(self, topologies: Iterable[Topology]) -> None:
        """Find out how the hosts of topologies are reached. Raises ConfigInvalid for those that no inventory has."""
        self._machines.find(topologies)

    def on_this_machine(self, topology: Topology) -> bool:
        """Whether a lab of this topology takes part of this machine. Raises ConfigInvalid as `find_hosts`."""
        return HERE in self.machines_of([topology])[topology.name]

    def machines_of(
        self, topologies: Iterable[Topology], *, connect: bool = False
    ) -> dict[str, frozenset[str]]:
        """The machines that labs of these topologies take, by topology: HERE, and others by name; simulated: none.

        `connect`: ask each machine who it is, so that two names of one machine are one.
        """
        topologies = list(topologies)
        self._machines.find(topologies)
        return {
            one.name: frozenset(
                self._machines.identity(host, connect=connect)
                for host in (() if one.tier is Tier.SIMULATED else one.hosts.values())
            )
            for one in topologies
        }

    def disconnect(self) -> None:
        """Let all machines go that are connected; the next measurement connects anew."""
        self._machines.close()

    def reference(self, datapath: Datapath, frames: FrameSpec) -> Datapath | None:
        """The kernel's datapath on the same lab, which others are compared with. None: it is none there, or itself."""
        if datapath.backend.name == REFERENCE or REFERENCE not in datapath.topology.backends:
            return None
        modes = [TCP_ECHO] if datapath.mode.tcp else [""]
        if datapath.mode.tester and self.settings.tester_engine is None:
            modes.insert(0, GRO)  # by the same tester, where that one can run
        for mode in modes:
            with suppress(ConfigInvalid):
                found = default_datapath(REFERENCE, [datapath.topology], mode=mode)
                if not self.lacking(found) and not self.unfit(found, frames):
                    return found
        return None

    def lacking(self, datapath: Datapath) -> tuple[str, ...]:
        """What this machine lacks for a datapath, each with the command that fixes it. Empty: it can run."""
        self._testbeds.drop_lost()  # before its machines are connected to anew
        return capabilities.lacking(
            datapath,
            tester_engine=self.settings.tester_engine,
            tester_option=self.settings.tester_option,
            trex_dir=self.settings.trex_dir,
            trex_option=self.settings.trex_option,
            check=self._machines.check(datapath.topology),
        )

    def unfit(self, datapath: Datapath, frames: FrameSpec) -> str | None:
        """Why such frames can't be measured on a datapath, with the fix. None: they can."""
        return capabilities.unfit(
            datapath,
            frames,
            engine=self.settings.tester_engine,
            tester_option=self.settings.tester_option,
        )

    def no_bursts(self, datapath: Datapath) -> str | None:
        """Why bursts can't be measured on a datapath, with the fix. None: they can."""
        return capabilities.no_bursts(
            datapath, engine=self.settings.tester_engine, tester_option=self.settings.tester_option
        )

    def no_round_trips(self, datapath: Datapath) -> str | None:
        """Why there are no round trips on a datapath, with the fix. None: there are."""
        return capabilities.no_round_trips(datapath)

    def lacking_checks(self, checks: Sequence[str]) -> tuple[str, ...]:
        """Which of these doctor checks fail here, each with the command that fixes it."""
        return capabilities.lacking_checks(checks)

    @property
    def reach(self) -> Reach:
        """Connects to the machines of a lab on NICs."""
        return self._machines.reach

    def use(self, lab: Lab) -> None:
        """Measure on this lab, which is up already and stays up."""
        self._testbeds.use(lab)

    def reserve(self, *, using: str | None = None) -> None:
        """Reserve this machine until `close`; does nothing if it is reserved already. `using`: id of a lab that is up.

        Raises Busy, naming who measures here, once the time that the user chose to wait has passed.
        """
        if self._reserved:
            return
        self.usage = self._reservation.enter_context(
            reserved(
                wait_s=self.settings.wait_s,
                listen_s=self.settings.listen_s,
                using=using,
                progress=self.progress,
                holds_for_us=shared.controller_pid if (shared := self.settings.shared) is not None else None,
            )
        )
        self._reserved = True
        if self.usage is not None and self.usage.busy:
            self.progress.say(
                f"the machine is busy: {self.usage.describe()}. Measurements that this disturbs will be invalid: "
                "end it, or wait"
            )

    def listen(self, seconds: float) -> None:
        """Only observe the machine for this time."""
        self.usage = usage.listen(seconds)

    # --- measuring -----------------------------------------------------------------------------------------

    def one_trial(
        self, datapath: Datapath, frames: FrameSpec, *, load_pps: float | None, duration_s: float
    ) -> tuple[TrialResult, Proof, Mapping[str, object]]:
        """A single trial, with the proof of its path and the tester's facts. It is not recorded."""
        if self.on_this_machine(datapath.topology):
            self.reserve()
        with self._machines.watched(datapath.topology):
            testbed = self._testbeds.testbed(datapath, frames.ip_version)
            testbed.set_frames(frames)
            self.progress.phase(f"{datapath.key(frame=str(frames.size)).id}: one trial of {duration_s:g} s")
            trial = testbed.measure(load_pps=load_pps, duration_s=duration_s)
            self.progress.done()
            return trial, testbed.proof(), testbed.tester()

    def repeat(self, test: str) -> None:
        """Begin a test's next attempt: what made it invalid is measured again when it is asked for."""
        for measurement in self.recorder.repeat(test):
            self.measure.decide_limit(measurement)

    def close(self, *, interrupted: bool = False) -> None:
        """Take the lab down, end the run, write the report."""
        try:
            try:
                self._testbeds.close()
            finally:
                self._machines.close()
        finally:
            self._reservation.close()
            self.progress.done()
            self.recorder.store_verdicts(self.judge.take())  # of a test that was interrupted
            self.recorder.close(interrupted=interrupted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._testbeds.drop_lost()  # else its clean-up would be reported in place of the error
        self.close(interrupted=error is not None)
