"""One session of measuring: labs come up once, figures are measured once, everything finished is stored at once.

It knows the order of things and nothing of how they are done: labs, backends, testers, searches and targets are
parts that it calls.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from labkit.backends import registry
from labkit.errors import ConfigInvalid, LabkitBug, ToolFailed
from labkit.lab import topology
from labkit.lab.live import Lab
from labkit.lab.topology import LinkKind, Tier, Topology
from labkit.lowlatency import hostlatency
from labkit.machine import usage
from labkit.machine.usage import Usage
from labkit.measure import noise
from labkit.measure.burst import measure_back_to_back
from labkit.measure.ceiling import mrr_limited_by, search_limited_by
from labkit.measure.gate import Gate
from labkit.measure.latency import IDLE_LOAD_PPS, measure_latency, rung_for
from labkit.measure.proof import Proof
from labkit.measure.rates import measure_loss_curve, measure_mrr
from labkit.measure.search import Progress as SearchProgress
from labkit.measure.search import search_upwards
from labkit.measure.trial import TrialResult
from labkit.progress import Progress
from labkit.record import environment, readings
from labkit.record.model import Key, Measurement, Verdict
from labkit.session.attempts import Attempts
from labkit.session.datapaths import Datapath, find_mode
from labkit.session.plan import plan_for
from labkit.session.reservation import reserved
from labkit.session.rig import Rig
from labkit.session.rigs import Rigs
from labkit.targets import judge
from labkit.targets.evaluation import Evaluation, Target, engine_of, kernel_baseline, parse_targets
from labkit.targets.judge import declared_targets
from labkit.testers.frames import FrameSpec, frame_spec
from labkit.testers.probe import AF_XDP_TESTER
from labkit.units import Load

if TYPE_CHECKING:
    from labkit.record.run import Run
    from labkit.record.store import RunStore

MIN_LOAD_PPS = 9001.0  # CSIT's: below it a trial has too few frames to say anything
SEARCH_ABOVE_MRR = 1.1
LIVELOCK_ATTEMPTS = 3
"""Trials at a low load before a path counts as dead: it may still be at what it was overloaded with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user chose."""

    quick: bool = False
    rfc2544: bool = False
    tester_engine: str | None = None
    """None: the fastest for the link."""
    seed: int | None = None
    results: Path = Path("results")
    store: bool = True
    """False: nothing is written (`labkit trial`)."""
    command: tuple[str, ...] = ()
    wait_s: float | None = 0.0
    """How long to wait while another process measures on this machine; None: as long as it takes."""
    listen_s: float = 0.0
    """How long the machine is listened to before the first measurement."""
    retry_s: float = 0.0
    """Budget for measuring again what was invalid for a reason that can pass: stated in the record."""


@dataclass(slots=True)
class _Found:
    """What one row's trials have shown so far; later measurements build on earlier ones."""

    by_kind: dict[str, Measurement] = field(default_factory=dict)
    """By kind; a latency measurement also by its loads."""


class Session:
    """Measures on demand, remembers, stores. Close it to take everything down."""

    def __init__(self, settings: Settings, *, progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self.seed = settings.seed if settings.seed is not None else secrets.randbelow(2**31)
        self._plan = plan_for(quick=settings.quick, rfc2544=settings.rfc2544)
        self._store: RunStore | None = None
        self._rigs = Rigs(
            self._plan,
            tester_engine=settings.tester_engine,
            seed=settings.seed,
            progress=progress,
            on_change=self._record_environment,
        )
        self._found: dict[str, _Found] = {}
        self.attempts = Attempts()
        self._former: dict[tuple[str, str], int] = {}
        """How many attempts at a measurement (row, name) were invalid."""
        self._reservation = ExitStack()
        self._reserved = False
        self.usage: Usage | None = None
        """Who else used the machine when it was last listened to."""
        self._folder: Path | None = None
        self._finished: Run | None = None
        self._held: list[Verdict] | None = None

    # --- what can run here -------------------------------------------------------------------------------

    def lacking(self, datapath: Datapath) -> tuple[str, ...]:
        """What this machine lacks for a datapath, each with the command that mends it. Empty: it can run."""
        lab_file, engine = datapath.topology, self.settings.tester_engine
        if lab_file.tier is Tier.SIMULATED:
            return ()
        checks = ["cores", *datapath.mode.requires]
        if lab_file.links[0].kind is LinkKind.VETH:
            if engine == "af_xdp" and not self.lacking_checks(checks, lab_file.mtu_bytes):
                # The path itself can run: what is in its way is the engine that was asked for.
                return tuple(
                    f"the tester engine af_xdp was asked for: {reason.partition(' (fix: ')[0]} "
                    "(fix: leave --labkit-tester out)"
                    for reason in self.lacking_checks(AF_XDP_TESTER, lab_file.mtu_bytes)
                )
            if engine == "af_packet" and datapath.backend.name == "xdp":
                return (
                    "the xdp backend on veth needs a tester with an XDP program of its own, which the engine "
                    "af_packet does not have (fix: leave --labkit-tester out)",
                )
        return self.lacking_checks(checks, lab_file.mtu_bytes)

    def lacking_checks(self, checks: Sequence[str], mtu_bytes: int = 1500) -> tuple[str, ...]:
        """The same of the doctor's checks of these ids, on links of this MTU. What has one cause is said once."""
        from labkit import doctor

        lacking: dict[str, list[str]] = {}
        for finding in doctor.run(checks, mtu_bytes=mtu_bytes) if checks else ():
            if not finding.ok:
                why = f"{finding.error or finding.detail} (fix: {finding.fix or 'none known'})"
                lacking.setdefault(why, []).append(finding.id)
        return tuple(f"{', '.join(ids)}: {why}" for why, ids in lacking.items())

    def use(self, lab: Lab) -> None:
        """Measure on this lab, which is up already and stays up."""
        self._rigs.use(lab)

    def reserve(self, *, using: str | None = None) -> None:
        """Have this machine until `close`; free where it is had already. `using`: id of a lab that is up.

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
            )
        )
        self._reserved = True
        if self.usage is not None and self.usage.busy:
            self.progress.say(
                f"the machine is busy: {self.usage.describe()}. What that disturbs comes out invalid: end it, or wait"
            )

    def listen(self, seconds: float) -> None:
        """Do nothing for so long but listen to the machine."""
        self.usage = usage.listen(seconds)

    # --- measuring ---------------------------------------------------------------------------------------

    def mrr(self, datapath: Datapath, frames: FrameSpec) -> Measurement:
        """Maximum receive rate."""

        def body(rig: Rig, notes: _Notes) -> dict[str, object]:
            result = measure_mrr(
                _Lean(rig),
                max_load_pps=None,
                duration_s=self._plan.mrr_duration_s,
                trials=self._plan.mrr_trials,
                on_trial=notes.count,
            )
            if result.silent:
                notes.deviations.append(self._livelock(rig, datapath, frames, notes, result.silent))
            notes.deciding = result.trials
            notes.limited_by = mrr_limited_by(result, ceiling_pps=notes.ceiling_pps)
            return {"mrr": result}

        return self._measurement("mrr", datapath, frames, body)

    def _livelock(self, rig: Rig, datapath: Datapath, frames: FrameSpec, notes: _Notes, silent: int) -> str:
        """Say what a path does that is silent under overload. Raises ToolFailed where it is silent at any load."""
        for _ in range(LIVELOCK_ATTEMPTS):
            low = _Lean(rig).measure(load_pps=IDLE_LOAD_PPS, duration_s=self._plan.mrr_duration_s)
            notes.count(low)
            if low.received:
                break
        trials = f"nothing came back in {silent} of {self._plan.mrr_trials} trials at full rate"
        if not low.received:
            where = datapath.key(frame=str(frames.size)).id
            raise ToolFailed(f"{where}: {trials}, nor at {IDLE_LOAD_PPS:.0f} pps")
        return (
            f"{trials}, but {low.received} of {low.sent} frames did at {IDLE_LOAD_PPS:.0f} pps: overload silences this "
            "path (receive livelock, or a core that is taken away)"
        )

    def throughput(self, datapath: Datapath, frames: FrameSpec) -> Measurement:
        """NDR and PDR; MRR comes first, to know where to search."""
        mrr = self.mrr(datapath, frames).mrr
        if mrr is None:
            raise LabkitBug("a measurement of kind mrr without its payload")
        offered_pps = max(trial.offered_pps for trial in mrr.trials)
        # Under overload some paths forward far less than they can; the offered rate is no such underestimate.
        max_load_pps = max(SEARCH_ABOVE_MRR * min(offered_pps, 2 * mrr.max_pps), 2 * MIN_LOAD_PPS)
        highest_load_pps = max(SEARCH_ABOVE_MRR * offered_pps, max_load_pps)

        def body(rig: Rig, notes: _Notes) -> dict[str, object]:
            stability = noise.measure_stability(
                _Lean(rig),
                load_pps=0.1 * (mrr.median_pps or IDLE_LOAD_PPS),
                ndr=self._plan.ndr,
                pdr=self._plan.pdr,
                trials=self._plan.stability_trials,
            )
            notes.gates += stability.gates()
            result = search_upwards(
                _Lean(rig),
                ndr=self._plan.ndr,
                pdr=self._plan.pdr,
                min_load_pps=min(MIN_LOAD_PPS, max_load_pps / 2),
                max_load_pps=max_load_pps,
                highest_load_pps=highest_load_pps,
                max_search_s=self._plan.max_search_s,
                clock=rig.clock,
                on_progress=lambda state: self.progress.update(_search_line(state)),
                on_trial=notes.count,
            )
            notes.deciding = tuple(result.deciding_trials())
            notes.limited_by = search_limited_by(result, ceiling_pps=notes.ceiling_pps)
            return {"throughput": result}

        return self._measurement("throughput", datapath, frames, body)

    def latency(self, datapath: Datapath, frames: FrameSpec, loads: Sequence[Load]) -> Measurement:
        """Round trips at these loads; one measurement for each set of loads that was asked for."""
        rates_pps = self._rates_pps(datapath, frames, {load.of for load in loads if load.of is not None})
        ladder = [rung for load in loads if (rung := rung_for(load, rates_pps)) is not None]
        key = datapath.key(frame=str(frames.size), ip_version=frames.ip_version, flows=frames.flows)

        def body(rig: Rig, notes: _Notes) -> dict[str, object]:
            result = measure_latency(
                rig,
                pdr_pps=rates_pps.get("PDR"),
                ladder=ladder,
                min_duration_s=self._plan.latency_min_duration_s,
                on_trial=notes.count,
            )
            notes.deciding = [point.trial for point in result.points]
            notes.deviations += result.deviations
            notes.deviations += self._doubtful_rates(key, rates_pps)
            for name, rate_pps in rates_pps.items():
                if not rate_pps:
                    notes.deviations.append(f"no {name} was found, so loads relative to it were not measured")
            return {"latency": result}

        return self._measurement(
            "latency", datapath, frames, body, variant=",".join(load.text for load in loads)
        )

    def loss_curve(self, datapath: Datapath, frames: FrameSpec) -> Measurement:
        """Loss from the highest load that the tester offers down."""
        mrr = self.mrr(datapath, frames).mrr
        if mrr is None:
            raise LabkitBug("a measurement of kind mrr without its payload")

        def body(rig: Rig, notes: _Notes) -> dict[str, object]:
            result = measure_loss_curve(
                _Lean(rig),
                max_load_pps=max(trial.offered_pps for trial in mrr.trials),
                duration_s=self._plan.loss_duration_s,
                on_trial=notes.count,
            )
            notes.deciding = [point.trial for point in result.points if point.percent_of_max <= 10]
            notes.deviations += result.deviations
            return {"loss_curve": result}

        return self._measurement("loss_curve", datapath, frames, body)

    def back_to_back(self, datapath: Datapath, frames: FrameSpec) -> Measurement:
        """Longest burst that comes back whole."""
        throughput_pps = self._rates_pps(datapath, frames, ("PDR",))["PDR"]

        def body(rig: Rig, notes: _Notes) -> dict[str, object]:
            result = measure_back_to_back(
                rig,
                throughput_pps=throughput_pps,
                repeats=self._plan.burst_repeats,
                max_burst_s=self._plan.burst_max_s,
                on_trial=notes.count,
            )
            notes.deviations += result.deviations
            return {"back_to_back": result}

        return self._measurement("back_to_back", datapath, frames, body)

    def host(
        self,
        kind: str,
        lab_file: Topology,
        *,
        duration_s: int | None = None,
        interval_us: int | None = None,
        cores: tuple[int, ...] | None = None,
    ) -> Measurement:
        """Measure the host itself (one of hostlatency.KINDS); durations and intervals left out are the plan's."""
        sampled = kind in ("wakeup", "timerlat")
        planned_s = self._plan.wakeup_duration_s if sampled else self._plan.host_duration_s
        request = hostlatency.Request(
            kind=kind,
            duration_s=planned_s if duration_s is None else duration_s,
            interval_us=self._plan.wakeup_interval_us if interval_us is None else interval_us,
            cores=cores,
        )
        key = Key.of_host(lab_file.name, kind)
        found = self._found.setdefault(key.id, _Found())
        name = str(request)
        if name in found.by_kind:
            return found.by_kind[name]
        self.reserve()
        self._rigs.close_rig()  # a datapath that polls would be measured with the host
        self._rigs.topologies.setdefault(lab_file.name, lab_file)
        self._record_environment()
        self.progress.phase(key.id)
        started, began = datetime.now(UTC), time.monotonic()
        result = hostlatency.measure(
            request,
            guest=environment.is_guest(),
            on_second=lambda passed_s: self.progress.update(f"{passed_s:.0f} of {request.duration_s} s"),
        )
        measurement = Measurement(
            key=key,
            kind=kind,
            started=_utc(started),
            duration_s=time.monotonic() - began,
            tester=result.tester,
            proof=result.proof,
            gates=(noise.proof_gate(proven=result.proof.proven, claim=result.proof.claim), *result.gates),
            limited_by="none",
            deviations=result.deviations,
            variant=name,
            attempt=self._attempt(key, name),
            **result.payload,  # type: ignore[arg-type]  # the one payload of its kind
        )
        found.by_kind[name] = measurement
        if (store := self.store) is not None:
            store.add_measurement(measurement)
        self.progress.done()
        return measurement

    def one_trial(
        self, datapath: Datapath, frames: FrameSpec, *, load_pps: float | None, duration_s: float
    ) -> tuple[TrialResult, Proof, Mapping[str, object]]:
        """A single trial, with the proof of its path and the tester's facts."""
        if datapath.topology.tier is not Tier.SIMULATED:
            self.reserve()
        rig = self._rigs.rig(datapath, frames.ip_version)
        rig.set_frames(frames)
        self.progress.phase(f"{datapath.key(frame=str(frames.size)).id}: one trial of {duration_s:g} s")
        trial = rig.measure(load_pps=load_pps, duration_s=duration_s)
        self.progress.done()
        return trial, rig.proof(), rig.tester()

    def _rates_pps(
        self, datapath: Datapath, frames: FrameSpec, names: Collection[str]
    ) -> dict[str, float | None]:
        """The row's NDR, PDR or MRR by name, measured where they are not known. None: an irregular result."""
        found: dict[str, float | None] = {}
        if "MRR" in names:
            mrr = self.mrr(datapath, frames).mrr
            found["MRR"] = mrr.median_pps if mrr is not None else None
        if {"NDR", "PDR"} & set(names):
            result = self.throughput(datapath, frames).throughput
            for name, goal in (("NDR", result.ndr), ("PDR", result.pdr)) if result is not None else ():
                if name in names:
                    found[name] = goal.conditional_throughput_pps or goal.at_least_pps
        return found

    def _doubtful_rates(self, key: Key, rates: Collection[str]) -> list[str]:
        """Say which of these rates come from measurements that were invalid themselves."""
        sources = {"MRR": "mrr", "NDR": "throughput", "PDR": "throughput"}
        found = {name: self._found[key.id].by_kind.get(sources[name]) for name in rates}
        failing = {
            name: [g.name for g in m.gates if g.state == "invalid"]
            for name, m in found.items()
            if m is not None
        }
        return [
            f"the {name} that loads are shares of was invalid itself ({', '.join(gates)})"
            for name, gates in failing.items()
            if gates
        ]

    def _measurement(
        self,
        kind: str,
        datapath: Datapath,
        frames: FrameSpec,
        body: Callable[[Rig, _Notes], dict[str, object]],
        *,
        variant: str = "",
    ) -> Measurement:
        key = datapath.key(frame=str(frames.size), ip_version=frames.ip_version, flows=frames.flows)
        found = self._found.setdefault(key.id, _Found())
        name = f"{kind}:{variant}" if variant else kind
        if name in found.by_kind:
            return found.by_kind[name]
        if datapath.topology.tier is not Tier.SIMULATED:
            self.reserve()
        ceiling_pps = self._rigs.ceiling_pps(datapath, frames)
        rig = self._rigs.rig(datapath, frames.ip_version)
        rig.set_frames(frames)
        self.progress.phase(f"{key.id}: {kind.replace('_', ' ')}")
        notes = _Notes(progress=self.progress, ceiling_pps=ceiling_pps)
        started, began = datetime.now(UTC), time.monotonic()
        before = readings.read(rig.workers())
        try:
            payload = body(rig, notes)
        except BaseException:
            self._rigs.close_rig()  # whatever state it is in: the next measurement starts anew
            raise
        after = readings.read(rig.workers())
        proof, tester = rig.proof(), rig.tester()
        if "engine_note" in tester:
            notes.deviations.append(str(tester["engine_note"]))
        gates = noise.gates(
            before=before,
            after=after,
            intended_cores={role: core for role, (_, core) in rig.workers().items()},
            deciding=notes.deciding,
            proven=proof.proven,
            claim=proof.claim,
        )
        measurement = Measurement(
            key=key,
            kind=kind,
            started=_utc(started),
            duration_s=time.monotonic() - began,
            tester={**tester, "ceiling_pps": ceiling_pps},
            proof=proof,
            gates=(*gates, *notes.gates),
            limited_by=notes.limited_by,
            deviations=(*self._plan.deviations, *notes.deviations),
            variant=variant,
            attempt=self._attempt(key, name),
            **payload,  # type: ignore[arg-type]  # each body returns the one payload of its kind
        )
        found.by_kind[name] = measurement
        if (store := self.store) is not None:
            store.add_measurement(measurement)
        self.progress.done()
        return measurement

    def _attempt(self, key: Key, name: str) -> int:
        return self._former.get((key.id, name), 0) + 1

    # --- judging and storing -----------------------------------------------------------------------------

    def judge(self, test: str, measurement: Measurement, bounds: Mapping[str, str]) -> tuple[Verdict, ...]:
        """Hold a measurement to targets; other measurements of its row serve the metrics that it does not have."""
        row = [measurement, *(m for m in self._row(measurement.key) if m is not measurement)]
        return self._judged(test, measurement.key, parse_targets(bounds), row)

    def judge_declared(
        self, test: str, lab_file: Topology, measurements: Sequence[Measurement]
    ) -> tuple[Verdict, ...]:
        """Hold measurements to what the topology's files of targets declare for them."""
        key = measurements[0].key
        targets = declared_targets(lab_file, key, [m.kind for m in measurements])
        if not targets:
            return self._ended(test, key, (judge.without_target(measurements),))
        return self._judged(test, key, targets, measurements)

    def _judged(
        self, test: str, key: Key, targets: Sequence[Target], measurements: Sequence[Measurement]
    ) -> tuple[Verdict, ...]:
        if any(target.metric.relative for target in targets):
            self._measure_kernel_baseline(key)
        strict = self.attempts.strict(test)
        ends = judge.by_targets(targets, measurements, kernel=self._everything(), strict=strict)
        return self._ended(test, key, ends)

    def record_skip(self, test: str, key: Key, reason: str) -> None:
        """Leave a verdict for what could not run here."""
        self._ended(test, key, (judge.skipped(reason),))

    def _ended(self, test: str, key: Key, ends: Sequence[Evaluation]) -> tuple[Verdict, ...]:
        """Store how a test's targets ended, and remember what is worth another attempt."""
        for end in ends:
            self.attempts.blame(test, end.blamed, stood_still=end.stood_still)
        verdicts = judge.verdicts(test, key, ends, attempt=self.attempts.number(test))
        if self._held is not None:
            self._held += verdicts
        else:
            self.store_verdicts(verdicts)
        return verdicts

    def hold_verdicts(self) -> None:
        """Keep the verdicts that follow until `take_verdicts`: a test's own end, which comes last, counts with them."""
        self._held = []

    def take_verdicts(self) -> tuple[Verdict, ...]:
        """What was held back; verdicts are stored as they come from here on."""
        held, self._held = self._held or [], None
        return tuple(held)

    def store_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Store the verdicts of a test that has ended."""
        if verdicts and (store := self.store) is not None:
            for verdict in verdicts:
                store.add_verdict(verdict)

    def forget(self, keys: Collection[Key]) -> None:
        """Measure these rows anew when they are asked for again; what was stored of them stays."""
        for key in keys:
            self._found.pop(key.id, None)

    def repeat(self, test: str) -> None:
        """The next attempt of a test begins: what made it invalid is forgotten, and measured again when asked for."""
        for measurement in self.attempts.begin(test):
            known = self._found.setdefault(measurement.key.id, _Found()).by_kind
            for name in [name for name, m in known.items() if m is measurement]:
                del known[name]
                self._former[measurement.key.id, name] = measurement.attempt

    def _everything(self) -> list[Measurement]:
        return [m for found in self._found.values() for m in found.by_kind.values()]

    def _measure_kernel_baseline(self, key: Key) -> None:
        """Measure the kernel's MRR on veth with the same frames, where a ratio needs it and nothing has measured it."""
        row = self._row(key)
        engine = engine_of(row[0]) if row else None
        if key.link == LinkKind.SIM or kernel_baseline(
            self._everything(), key=key, kind="mrr", engine=engine
        ):
            return
        backend = registry.load("kernel")
        # On the row's own links where they reach the kernel: with their MTU, and with the same tester.
        own = self._rigs.topologies.get(key.topology)
        lab_file = own if own is not None and backend.modes(own) else topology.load("veth")
        datapath = Datapath(topology=lab_file, backend=backend, mode=find_mode(backend, lab_file, ""))
        frames = frame_spec(key.frame, ip_version=key.ip_version, flows=key.flows)
        try:
            datapath.check_frames(frames)
        except ConfigInvalid:
            return  # too large for the link of that lab: then the ratio has nothing to be taken to, and says so
        if not self.lacking(datapath):
            self.mrr(datapath, frames)

    def _row(self, key: Key) -> list[Measurement]:
        found = self._found.get(key.id)
        return list(found.by_kind.values()) if found is not None else []

    def summary(self, *, width: int | None, encoding: str | None) -> str:
        """The table of what was measured, as text for a terminal of that width (None: for what is no terminal)."""
        if self._folder is None or self._finished is None:
            return ""
        from labkit.results.table import as_text

        table = as_text(self._finished, width=width, encoding=encoding)
        return f"{table}report: {self._folder / 'report.html'}\n"

    @property
    def finished(self) -> Run | None:
        """The run as it was stored, once it is closed. None where nothing was stored."""
        return self._finished

    @property
    def folder(self) -> Path | None:
        """Where the run is stored, once there is something."""
        return self._folder

    @property
    def store(self) -> RunStore | None:
        """The run's folder, made when the first thing is to be stored. None where nothing is."""
        if self._store is None and self.settings.store:
            from labkit.record.store import RunStore

            self._store = RunStore.create(
                self.settings.results,
                command=list(self.settings.command),
                quick=self.settings.quick,
                seed=self.seed,
            )
            self._folder = self._store.folder
            self._record_environment()
        return self._store

    def _record_environment(self) -> None:
        """Record what the machine is. Again when a lab has come up, for its links' facts belong to the record."""
        if self._store is None:
            return
        from labkit.probe.build import built_executables

        self._store.set_environment(
            environment.collect(
                topologies=list(self._rigs.topologies.values()),
                links=self._rigs.links,
                tools=built_executables(),
                seed=self.seed,
                parameters={**asdict(self._plan), "retry_budget_s": self.settings.retry_s},
            )
        )

    def close(self, *, interrupted: bool = False) -> None:
        """Take the lab down, end the run, write the report."""
        try:
            self._rigs.close()
        finally:
            self._reservation.close()
            self.progress.done()
            self.store_verdicts(self.take_verdicts())  # of a test that was interrupted
            if self._store is not None:
                from labkit.results import report

                store, self._store = self._store, None
                store.finish("interrupted" if interrupted else "finished")
                self._finished = store.run  # as it was read back from disk and found equal
                report.render(self._finished, store.folder / "report.html")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(interrupted=error is not None)


class _Lean:
    """A measurer whose trials keep one histogram, of the round trips.

    A search makes some hundred trials a row; with the departures' and the service times' histograms as well, which
    belong to latency, a run would take three times the memory and the disk.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """One trial of the rig's."""
        return replace(self._rig.measure(load_pps=load_pps, duration_s=duration_s), service=None, lag=None)


@dataclass(slots=True)
class _Notes:
    """What a measurement's body tells besides its payload."""

    progress: Progress
    ceiling_pps: float
    deciding: Sequence[TrialResult] = ()
    limited_by: str = "dut"
    gates: list[Gate] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    trials: int = 0

    def count(self, trial: TrialResult) -> None:
        """A trial is over."""
        self.trials += 1
        self.progress.update(f"trial {self.trials}, {trial.forwarding_rate_pps / 1e3:.0f} kpps forwarded")


def _utc(time_: datetime) -> str:
    return time_.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _search_line(state: SearchProgress) -> str:
    def bounds(pair: tuple[float | None, float | None]) -> str:
        low, high = (("?" if value is None else f"{value / 1e3:.0f}") for value in pair)
        return f"{low}..{high}"

    return (
        f"{state.phase}, NDR {bounds(state.ndr_bounds_pps)}, PDR {bounds(state.pdr_bounds_pps)} kpps, "
        f"trial {state.trials} at {state.load_pps / 1e3:.0f} kpps, about {state.remaining_s:.0f} s left"
    )
