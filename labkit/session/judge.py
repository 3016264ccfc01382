"""Judges the measurements of a session by targets, and stores the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from labkit.backends import registry
from labkit.errors import ConfigInvalid
from labkit.lab import topology_file
from labkit.lab.topology import LinkKind, Topology
from labkit.record.model import MESSAGES, DatapathKey, Key, Measurement, Outcome, Verdict
from labkit.session.datapaths import Datapath, find_mode
from labkit.session.kinds import Kinds
from labkit.session.recorder import Recorder
from labkit.targets import judge
from labkit.targets.evaluation import (
    Evaluation,
    Target,
    engine_of,
    kernel_baseline,
    kernel_mode,
    parse_targets,
)
from labkit.targets.judge import declared_targets
from labkit.targets.rates import KINDS
from labkit.testers.frames import frame_spec


class Judge:
    """Judges measurements by targets. Measures the kernel's baseline where a ratio needs one."""

    def __init__(
        self, recorder: Recorder, kinds: Kinds, *, lacking: Callable[[Datapath], Sequence[str]]
    ) -> None:
        self._recorder = recorder
        self._kinds = kinds
        self._lacking = lacking
        self._held: list[Verdict] | None = None
        self._judged: list[Measurement] = []
        """Since verdicts are held."""

    def by_bounds(
        self, test: str, measurement: Measurement, bounds: Mapping[str, str]
    ) -> tuple[Verdict, ...]:
        """Judge a measurement; metrics that it does not have are taken from the other measurements of its row."""
        row = self._recorder.row(measurement.key)
        others = [known for known in row if known is not measurement]
        self._judged.append(measurement)
        return self._by_targets(test, measurement.key, parse_targets(bounds), [measurement, *others])

    def by_declared(
        self, test: str, lab_file: Topology, measurements: Sequence[Measurement]
    ) -> tuple[Verdict, ...]:
        """Judge measurements by what the topology's target files declare for them."""
        key = measurements[0].key
        self._judged += measurements
        targets = declared_targets(lab_file, key, [m.kind for m in measurements])
        if not targets:
            return self._ended(test, key, (judge.without_target(measurements),))
        return self._by_targets(test, key, targets, measurements)

    def without_targets(self, test: str, measurements: Sequence[Measurement]) -> tuple[Verdict, ...]:
        """Judge those measurements of a test that it did not: each row is invalid by their gates, or measured.

        A row that has a verdict already gets another one only if that is "invalid".
        """
        rest = [m for m in measurements if not any(m is judged for judged in self._judged)]
        judged = {verdict.key for verdict in self.held}
        found: tuple[Verdict, ...] = ()
        for key in dict.fromkeys(m.key for m in rest):
            end = judge.without_target([m for m in rest if m.key == key])
            if key not in judged or end.outcome is Outcome.INVALID:
                found += self._ended(test, key, (end,))
        return found

    @property
    def held(self) -> tuple[Verdict, ...]:
        """The verdicts that are held."""
        return tuple(self._held or ())

    def skip(self, test: str, key: Key, reason: str) -> None:
        """Store a verdict for a row that cannot run here."""
        self._ended(test, key, (judge.skipped(reason),))

    def hold(self) -> None:
        """Hold the following verdicts until `take`: how the test itself ends, which comes last, is stored with them."""
        self._held, self._judged = [], []

    def take(self) -> tuple[Verdict, ...]:
        """The verdicts that were held; from here on verdicts are stored at once."""
        held, self._held = self._held or [], None
        return tuple(held)

    def _by_targets(
        self, test: str, key: Key, targets: Sequence[Target], measurements: Sequence[Measurement]
    ) -> tuple[Verdict, ...]:
        if isinstance(key, DatapathKey) and any(target.metric.relative for target in targets):
            self._repeat_kernel_baseline(test, key)
            self._measure_kernel_baseline(key)
        ends = judge.by_targets(targets, measurements, kernel=self._recorder.everything())
        if isinstance(key, DatapathKey) and (reason := self._no_kernel(key)):
            ends = tuple(
                judge.skipped(f"{target.text}: {reason}") if target.metric.relative else end
                for target, end in zip(targets, ends, strict=True)
            )
        return self._ended(test, key, ends)

    def _no_kernel(self, key: DatapathKey) -> str:
        """Why there can be no ratio to the kernel: it does not move the frames of this lab. Empty: there can."""
        own, everything = self._recorder.topologies.get(key.topology), self._recorder.everything()
        if own is None or not key.traffic:
            return ""
        if any(kernel_baseline(everything, key=key, kind=kind) for kind in ("mrr", "throughput")):
            return ""  # of another lab with such frames
        backend = registry.load("kernel")
        if kernel_mode(key) not in {one.name for one in backend.modes(own)}:
            return (
                "the kernel is on no link of this lab, and was measured on no other one with such frames "
                "(fix: leave the target out)"
            )
        datapath = Datapath(topology=own, backend=backend, mode=find_mode(backend, own, kernel_mode(key)))
        return datapath.unfit(frame_spec(key.frame, ip_version=key.ip_version, flows=key.flows)) or ""

    def _ended(self, test: str, key: Key, ends: Sequence[Evaluation]) -> tuple[Verdict, ...]:
        """Store how a test's targets ended, and note what is worth another attempt."""
        attempts = self._recorder.attempts
        for end in ends:
            attempts.blame(test, end.blamed, unsure=end.unsure)
        verdicts = judge.verdicts(test, key, ends, attempt=attempts.number(test))
        if self._held is not None:
            self._held += verdicts
        else:
            self._recorder.store_verdicts(verdicts)
        return verdicts

    def _repeat_kernel_baseline(self, test: str, key: DatapathKey) -> None:
        """Measure again the baseline that made the last attempt invalid, so that no other one takes its place."""
        for former in self._recorder.attempts.begun(test):
            forgotten = self._recorder.find(former.key, former.kind, former.variant) is None
            if (
                forgotten
                and kernel_baseline([former], key=key, kind=former.kind)
                and former.kind in KINDS.values()
            ):
                self._kinds.again(former)

    def _measure_kernel_baseline(self, key: DatapathKey) -> None:
        """Measure the kernel's MRR with the same frames, unless there is one that fits."""
        row = self._recorder.row(key)
        engine = engine_of(row[0]) if row else None
        everything = self._recorder.everything()
        if key.link == LinkKind.SIM or kernel_baseline(everything, key=key, kind="mrr", engine=engine):
            return
        backend = registry.load("kernel")
        # On the row's own links where they reach the kernel: with their MTU, and with the same tester.
        own = self._recorder.topologies.get(key.topology)
        lab_file = topology_file.load("veth")
        if own is not None:
            lab_file = own if backend.modes(own) else lab_file.measured_as(own)
        mode = kernel_mode(key, engine)
        if mode not in {one.name for one in backend.modes(lab_file)}:
            return
        datapath = Datapath(topology=lab_file, backend=backend, mode=find_mode(backend, lab_file, mode))
        frames = frame_spec(key.frame, ip_version=key.ip_version, flows=key.flows)
        try:
            datapath.check_frames(frames)
        except ConfigInvalid:
            return  # too large for the link of that lab: the verdict says that the ratio has no baseline
        alike = key.traffic in ("", MESSAGES) or lab_file is own
        if alike and datapath.unfit(frames) is None and not self._lacking(datapath):
            self._kinds.mrr(datapath, frames)
