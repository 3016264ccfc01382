"""What a test works with: `measure` (of a datapath, or of the host itself) and `target`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from labkit.errors import ConfigInvalid
from labkit.harness.verdicts import InvalidMeasurement, TargetMissed
from labkit.lab.topology import Tier, Topology
from labkit.lowlatency.hostlatency import KINDS
from labkit.machine.cores import parse_list
from labkit.measure.histogram import HIGHEST_NS
from labkit.measure.latency import DEFAULT_LOADS, PREDICTABILITY_LOADS
from labkit.record.model import HostKey, Key, Measurement, Outcome, Verdict
from labkit.session.neighbour import wanted
from labkit.testers.frames import FrameSpec, frame_spec
from labkit.units import Load, Unit, parse_load, parse_quantity

if TYPE_CHECKING:
    from labkit.session.datapaths import Datapath
    from labkit.session.session import Session


Skip = Callable[["Key", str], NoReturn]
"""Leaves a skipped verdict for the row, with the reason, and ends the test."""


class HostMeasure:
    """Measures the host itself. Each figure is measured once a run and then remembered.

    Skips the test, with the reason and the fix, if this machine does not have the tool or tracer.
    """

    def __init__(self, session: Session, lab_file: Topology, *, skip: Skip) -> None:
        self._session = session
        self._skip = skip
        self.topology = lab_file
        """The topology that the host is part of: its tier decides which targets its files may have."""
        self.key: Key = HostKey(topology=lab_file.name)
        """The row of the results that was measured last, or will be measured next."""
        self.taken: list[Measurement] = []
        """All measurements that the test received: their verdicts include how the test ends."""

    def wakeup(
        self,
        *,
        duration: str | None = None,
        cores: str | Sequence[int] | None = None,
        interval: str | None = None,
    ) -> Measurement:
        """How late the kernel wakes a thread of high priority (cyclictest), on each core.

        `duration` "60 s" (left out: 30 s, 6 s in a quick run, 600 s with RFC 2544's durations); `cores` "1-3,5" or a
        list (left out: the isolated ones, or all if there are none); `interval` between wake-ups "500 us".
        Raises ConfigInvalid for a core that does not exist, ToolFailed if the tool fails.
        """
        return self._host("wakeup", duration, cores, interval)

    def timerlat(
        self,
        *,
        duration: str | None = None,
        cores: str | Sequence[int] | None = None,
        interval: str | None = None,
    ) -> Measurement:
        """The same, measured by the kernel's own tracer (rtla timerlat), if the kernel has it."""
        return self._host("timerlat", duration, cores, interval)

    def busy_loop(
        self, *, duration: str | None = None, cores: str | Sequence[int] | None = None
    ) -> Measurement:
        """How long a thread that never sleeps is kept from running (oslat), on each core; 10 s by default."""
        return self._host("busy_loop", duration, cores, None)

    def hardware(self, *, duration: str | None = None) -> Measurement:
        """Gaps caused by hardware and firmware (hwlatdetect), where the kernel has the hwlat tracer."""
        return self._host("hardware", duration, None, None)

    def _host(
        self, kind: str, duration: str | None, cores: str | Sequence[int] | None, interval: str | None
    ) -> Measurement:
        duration_s = None if duration is None else _whole("duration", duration, 1.0, "s")
        interval_us = None if interval is None else _whole("interval", interval, 1e-6, "us")
        chosen = _cores(cores)
        key = self.key = HostKey(topology=self.topology.name, kind=kind)
        if self.topology.tier is Tier.SIMULATED:
            self._skip(key, f"topology {self.topology.name} is simulated: it has no host to measure")
        if self.topology.elsewhere:
            # Measured here it would read as if it were of the DUT's host.
            names = ", ".join(self.topology.elsewhere)
            self._skip(
                key, f"topology {self.topology.name} is on {names}: only this machine itself can be measured"
            )
        lacking = self._session.lacking_checks(KINDS[kind])
        if lacking:
            self._skip(key, "; ".join(lacking))
        return self._take(
            self._session.measure.host(
                kind, self.topology, duration_s=duration_s, interval_us=interval_us, cores=chosen
            )
        )

    def _take(self, measurement: Measurement) -> Measurement:
        self.taken.append(measurement)
        return measurement


def _whole(name: str, text: str, unit_s: float, unit: str) -> int:
    """A time in whole units. Raises ConfigInvalid."""
    value = parse_quantity(text, Unit.SECONDS) / unit_s
    if abs(value - round(value)) > 1e-6 or round(value) < 1:
        raise ConfigInvalid(f"{name} {text!r}: expected a whole number of {unit}, 1 or more")
    return round(value)


def _cores(cores: str | Sequence[int] | None) -> tuple[int, ...] | None:
    """Read "1-3,5". Raises ConfigInvalid."""
    if not isinstance(cores, str):
        return None if cores is None else tuple(cores)
    try:
        found = tuple(sorted(parse_list(cores)))
    except ValueError:
        found = ()
    if not found:
        raise ConfigInvalid(f"cores {cores!r}: expected a list such as '1-3,5'")
    return found


def _loads(given: str | Sequence[str] | None, default: Sequence[Load]) -> Sequence[Load]:
    """One load or several as a user writes them. Raises ConfigInvalid."""
    if given is None:
        return default
    return [parse_load(one) for one in ([given] if isinstance(given, str) else given)]


def _limit_us(text: str) -> float:
    """A limit of round trips [us]. Raises ConfigInvalid."""
    try:
        limit_us = parse_quantity(text, Unit.SECONDS) * 1e6
    except ConfigInvalid as error:
        raise ConfigInvalid(f"limit: {error}") from None
    if not 0 < limit_us <= HIGHEST_NS / 1e3:
        raise ConfigInvalid(f"limit: expected a time above 0 and up to 10 s, got {text!r}")
    return limit_us


class Measure(HostMeasure):
    """Measures one datapath, and the host that it runs on."""

    def __init__(
        self,
        session: Session,
        datapath: Datapath,
        frame: str,
        *,
        skip: Skip,
        frame_may_not_fit: bool = False,
    ) -> None:
        super().__init__(session, datapath.topology, skip=skip)
        self._frame_may_not_fit = frame_may_not_fit
        self.datapath = datapath
        self._frame = frame
        self.key = datapath.key(frame=frame)

    def _spec(self, frame_size_bytes: int | str | None, ip_version: int, flows: int) -> FrameSpec:
        frames = frame_spec(
            self._frame if frame_size_bytes is None else frame_size_bytes, ip_version=ip_version, flows=flows
        )
        key = self.datapath.key(frame=str(frames.size), ip_version=frames.ip_version, flows=frames.flows)
        try:
            self.datapath.check_frames(frames)
        except ConfigInvalid as error:
            if not (self._frame_may_not_fit and frame_size_bytes is None):
                raise
            self._skip(key, f"{error.message} (fix: {error.hint})")
        self.key = key
        if reason := self._session.unfit(self.datapath, frames):
            self._skip(self.key, reason)
        return frames

    def _spec_of_round_trips(
        self, frame_size_bytes: int | str | None, ip_version: int, flows: int
    ) -> FrameSpec:
        frames = self._spec(frame_size_bytes, ip_version, flows)
        if reason := self._session.no_round_trips(self.datapath):
            self._skip(self.key, reason)
        return frames

    def throughput(
        self, *, frame_size_bytes: int | str | None = None, ip_version: int = 4, flows: int = 1
    ) -> Measurement:
        """NDR and PDR by one search (RFC 9971).

        `frame_size_bytes` counts the FCS (64 to the link's MTU + 18), or is "imix" or "pcap". Raises EnvironmentBroken
        or ToolFailed when tester or DUT cannot run or die.
        """
        return self._take(
            self._session.measure.throughput(self.datapath, self._spec(frame_size_bytes, ip_version, flows))
        )

    def mrr(
        self, *, frame_size_bytes: int | str | None = None, ip_version: int = 4, flows: int = 1
    ) -> Measurement:
        """Maximum receive rate: what comes back while the tester sends as fast as it can."""
        return self._take(
            self._session.measure.mrr(self.datapath, self._spec(frame_size_bytes, ip_version, flows))
        )

    def latency(
        self,
        load: str | Sequence[str] | None = None,
        *,
        frame_size_bytes: int | str | None = None,
        ip_version: int = 4,
        flows: int = 1,
    ) -> Measurement:
        """Round-trip times at a load: "idle", "50% PDR", "100 kpps", or several; default: idle, 10, 50 and 90 % of PDR.

        Shares may be of PDR, NDR or MRR; a rate that is not known yet is measured first.
        """
        loads = _loads(load, DEFAULT_LOADS)
        frames = self._spec_of_round_trips(frame_size_bytes, ip_version, flows)
        return self._take(self._session.measure.latency(self.datapath, frames, loads))

    def loss_curve(
        self, *, frame_size_bytes: int | str | None = None, ip_version: int = 4, flows: int = 1
    ) -> Measurement:
        """Frame loss from the maximum rate down (RFC 2544 26.3)."""
        return self._take(
            self._session.measure.loss_curve(self.datapath, self._spec(frame_size_bytes, ip_version, flows))
        )

    def back_to_back(
        self, *, frame_size_bytes: int | str | None = None, ip_version: int = 4, flows: int = 1
    ) -> Measurement:
        """Longest burst without loss (RFC 9004)."""
        frames = self._spec(frame_size_bytes, ip_version, flows)
        if reason := self._session.no_bursts(self.datapath):
            self._skip(self.key, reason)
        return self._take(self._session.measure.back_to_back(self.datapath, frames))

    def predictability(
        self,
        load: str | Sequence[str] | None = None,
        *,
        frame_size_bytes: int | str | None = None,
        ip_version: int = 4,
        flows: int = 1,
        limit: str | None = None,
        neighbour: str | None = None,
        neighbour_cores: str | None = None,
    ) -> Measurement:
        """The spread of the round trips beside the kernel's, at the same loads, in rounds in random order.

        Loads as for `latency`; shares are of the lower rate of the two. Default: idle, 10 and 50 % of PDR.
        `limit`: a time ("50 us"); counts for how long round trips are above it (metric `longest_above`).
        `neighbour`: stressors of stress-ng ("stream", "cache,switch"); the last load is measured once more while these
        run on the other cores of the DUT's machine, or on `neighbour_cores` ("0,2-3").
        Raises ConfigInvalid.
        """
        loads = _loads(load, PREDICTABILITY_LOADS)
        limit_us = None if limit is None else _limit_us(limit)
        if neighbour is None and neighbour_cores is not None:
            raise ConfigInvalid(f"neighbour_cores: {neighbour_cores!r} is nobody's: name a neighbour")
        beside = None if neighbour is None else wanted(neighbour, neighbour_cores)
        frames = self._spec_of_round_trips(frame_size_bytes, ip_version, flows)
        kernel = self._session.reference(self.datapath, frames)
        return self._take(
            self._session.measure.predictability(
                self.datapath, frames, loads, against=kernel, limit_us=limit_us, neighbour=beside
            )
        )


class TargetCheck:
    """Judges measurements by targets; every check leaves a verdict in the results."""

    def __init__(self, session: Session, measure: HostMeasure, test: str) -> None:
        self._session = session
        self._measure = measure
        self._test = test

    def __call__(self, measurement: Measurement, /, **bounds: str) -> None:
        """Check `metric="<comparison>"` pairs: `pdr=">= 10 Mpps"`, `p99="<= 100 us"`.

        Raises TargetMissed (the test fails), InvalidMeasurement (neither pass nor fail) or ConfigInvalid.
        """
        __tracebackhide__ = True  # pytest shows the user's line, not labkit's
        self._conclude(self._session.judge.by_bounds(self._test, measurement, bounds))

    def declared(self, *measurements: Measurement) -> None:
        """Check the targets that the topology's YAML files declare for this row."""
        __tracebackhide__ = True
        self._conclude(self._session.judge.by_declared(self._test, self._measure.topology, measurements))

    def _conclude(self, verdicts: Sequence[Verdict]) -> None:
        __tracebackhide__ = True
        failed = [v for v in verdicts if v.outcome is Outcome.FAIL]
        invalid = [v for v in verdicts if v.outcome is Outcome.INVALID]
        if failed:
            raise TargetMissed("\n".join(f"{v.target}: {v.reason}" for v in failed))
        if invalid:
            raise InvalidMeasurement("; ".join(f"{v.target}: {v.reason}" for v in invalid))
