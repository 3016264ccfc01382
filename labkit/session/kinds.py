"""The kinds of measurement that a session makes, of a datapath and of the host."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from labkit import format as fmt
from labkit.backends import registry
from labkit.errors import LabkitBug
from labkit.lab.topology import Topology
from labkit.lowlatency import hostlatency
from labkit.measure import noise
from labkit.measure.back_to_back import measure_back_to_back
from labkit.measure.gate import invalid_for, limit_is_unsure
from labkit.measure.latency import IDLE_LOAD_PPS, load_rates, measure_latency
from labkit.measure.limits import NONE, search_limited_by
from labkit.measure.rates import Mrr, measure_loss_curve, measure_mrr
from labkit.measure.search import SearchProgress, search_upwards, with_pdr_of
from labkit.measure.stability import measure_stability
from labkit.progress import Progress
from labkit.record import environment
from labkit.record.model import MESSAGES, DatapathKey, HostKey, Key, Measurement
from labkit.session import livelock
from labkit.session.datapaths import Datapath, find_mode
from labkit.session.frame import Body, Frame, Measured
from labkit.session.neighbour import Neighbour
from labkit.session.on_testbed import (
    Notes,
    RoundTripsOnly,
    TestbedBody,
    measure_on,
    with_later_limit,
    with_limit,
)
from labkit.session.plan import Plan
from labkit.session.recorder import Recorder
from labkit.session.rounds import Conditions, measure_rounds
from labkit.session.testbed import Testbed
from labkit.session.testbeds import Testbeds
from labkit.targets.rates import KINDS
from labkit.testers.frames import FrameSpec, frame_spec
from labkit.units import Load

MIN_LOAD_PPS = 9001.0  # CSIT's: below it a trial has too few frames to say anything
SEARCH_ABOVE_MRR = 1.1


class Kinds:
    """Makes measurements on demand, each of them once."""

    def __init__(
        self,
        recorder: Recorder,
        frame: Frame,
        testbeds: Testbeds,
        *,
        plan: Plan,
        on_this_machine: Callable[[Topology], bool],
        progress: Progress,
        watched: Callable[[Topology], AbstractContextManager[None]],
    ) -> None:
        """`watched`: see `Machines.watched`."""
        self._recorder = recorder
        self._frame = frame
        self._testbeds = testbeds
        self._plan = plan
        self._on_this_machine = on_this_machine
        self._progress = progress
        self._watched = watched

    def mrr(self, datapath: Datapath, frames: FrameSpec) -> Measurement:
        """Maximum receive rate."""

        def body(testbed: Testbed, notes: Notes) -> Mapping[str, object]:
            plan = self._plan.lengthened(testbed.shortest_trial_s)
            result = measure_mrr(
                RoundTripsOnly(testbed),
                max_load_pps=None,
                duration_s=plan.mrr_duration_s,
                trials=plan.mrr_trials,
                on_trial=notes.count,
            )
            if result.silent:
                notes.deviations.append(
                    livelock.describe(
                        testbed,
                        notes,
                        of=_key(datapath, frames).id,
                        silent=result.silent,
                        trials=plan.mrr_trials,
                        duration_s=plan.mrr_duration_s,
                    )
                )
            notes.deciding = result.trials
            notes.rates = result
            notes.deviations += _goodput(datapath, frames, "MRR", result.median_pps)
            return {"mrr": result}

        return self._datapath("mrr", datapath, frames, body)

    def throughput(self, datapath: Datapath, frames: FrameSpec) -> Measurement:
        """NDR and PDR; MRR comes first, to know where to search."""
        full_rate = self.mrr(datapath, frames)
        mrr = _mrr(full_rate)
        offered_pps = max(trial.offered_pps for trial in mrr.trials)
        # Under overload some paths forward far less than they can; the offered rate does not underestimate them.
        max_load_pps = max(SEARCH_ABOVE_MRR * min(offered_pps, 2 * mrr.max_pps), 2 * MIN_LOAD_PPS)
        highest_load_pps = max(SEARCH_ABOVE_MRR * offered_pps, max_load_pps)

        def body(testbed: Testbed, notes: Notes) -> Mapping[str, object]:
            plan = self._plan.lengthened(testbed.shortest_trial_s)
            stability = measure_stability(
                RoundTripsOnly(testbed),
                load_pps=0.1 * (mrr.median_pps or IDLE_LOAD_PPS),
                ndr=plan.ndr,
                pdr=plan.pdr,
                trials=plan.stability_trials,
            )
            notes.gates += stability.gates()
            result = search_upwards(
                RoundTripsOnly(testbed),
                ndr=plan.ndr,
                pdr=plan.pdr,
                min_load_pps=min(MIN_LOAD_PPS, max_load_pps / 2),
                max_load_pps=max_load_pps,
                highest_load_pps=highest_load_pps,
                max_search_s=plan.max_search_s,
                clock=testbed.clock,
                on_progress=lambda state: self._progress.update(_search_line(state)),
                on_trial=notes.count,
            )
            for former in self._recorder.former(_key(datapath, frames), "throughput"):
                if former.throughput is not None and not invalid_for(former.gates, "pdr"):
                    # Only its NDR was invalid. Others may have been judged by its PDR, or measured relative to it.
                    result = with_pdr_of(former.throughput, result)
                    notes.deviations.append(
                        f"PDR is that of attempt {former.attempt}: only its NDR was invalid"
                    )
                    break
            notes.deciding = tuple(result.deciding_trials())
            notes.rates = result
            if search_limited_by(result, max_offered_load_pps=None) == NONE:
                notes.rest_on(full_rate, "mrr")  # it may have begun, and ended, too low
            pdr_pps = result.pdr.conditional_throughput_pps or result.pdr.at_least_pps
            notes.deviations += _goodput(datapath, frames, "PDR", pdr_pps)
            return {"throughput": result}

        return self._datapath("throughput", datapath, frames, body)

    def latency(self, datapath: Datapath, frames: FrameSpec, loads: Sequence[Load]) -> Measurement:
        """Round trips at these loads; one measurement for each set of loads."""
        rates_pps = self._rates_pps(datapath, frames, {load.of for load in loads if load.of is not None})
        ladder = load_rates(loads, rates_pps)

        def body(testbed: Testbed, notes: Notes) -> Mapping[str, object]:
            plan = self._plan.lengthened(testbed.shortest_trial_s)
            result = measure_latency(
                testbed,
                pdr_pps=rates_pps.get("PDR"),
                ladder=ladder,
                min_duration_s=plan.latency_min_duration_s,
                on_trial=notes.count,
            )
            notes.deciding = [point.trial for point in result.points]
            notes.deviations += result.deviations
            for name in rates_pps:
                notes.rest_on(self._recorder.find(_key(datapath, frames), KINDS[name.lower()]), name.lower())
            for name, rate_pps in rates_pps.items():
                if not rate_pps:
                    notes.deviations.append(f"no {name} was found, so loads relative to it were not measured")
            return {"latency": result}

        variant = ",".join(load.text for load in loads)
        return self._datapath("latency", datapath, frames, body, variant=variant)

    def predictability(
        self,
        datapath: Datapath,
        frames: FrameSpec,
        loads: Sequence[Load],
        *,
        against: Datapath | None,
        limit_us: float | None = None,
        neighbour: Neighbour | None = None,
    ) -> Measurement:
        """The spread of the round trips at these loads beside that of another datapath, in rounds in random order.

        `limit_us`, `neighbour`: see Conditions.
        """
        both = [datapath, *([against] if against is not None else [])]
        names = {load.of for load in loads if load.of is not None}
        rates = [self._rates_pps(one, frames, names) for one in both]
        # What both can do: the same load for both.
        lower = {name: min(rate.get(name) or 0.0 for rate in rates) or None for name in names}
        conditions = Conditions(ladder=load_rates(loads, lower), limit_us=limit_us, neighbour=neighbour)
        notes = Notes(progress=self._progress)
        for name, rate_pps in lower.items():
            if rate_pps is None:
                notes.deviations.append(
                    f"no {name} was found of both, so loads relative to it were not measured"
                )
            for one in both:
                notes.rest_on(self._recorder.find(_key(one, frames), KINDS[name.lower()]), name.lower())
        key = _key(datapath, frames)

        def prepare() -> Body:
            return lambda: measure_rounds(
                self._testbeds,
                both,
                frames,
                conditions,
                plan=self._plan,
                order=random.Random(f"{self._recorder.seed}-{key.id}"),  # noqa: S311 - an order, no secret
                against="" if against is None else _key(against, frames).id,
                notes=notes,
                progress=self._progress,
            )

        with self._watched(datapath.topology):
            return self._frame.measure(
                key,
                "predictability",
                ",".join([*(load.text for load in loads), *_further(limit_us, neighbour)]),
                prepare,
                phase=f"{key.id}: predictability",
                on_machine=self._on_this_machine(datapath.topology),
            )

    def loss_curve(self, datapath: Datapath, frames: FrameSpec) -> Measurement:
        """Loss from the highest load that the tester offers down."""
        full_rate = self.mrr(datapath, frames)
        mrr = _mrr(full_rate)

        def body(testbed: Testbed, notes: Notes) -> Mapping[str, object]:
            plan = self._plan.lengthened(testbed.shortest_trial_s)
            result = measure_loss_curve(
                RoundTripsOnly(testbed),
                max_load_pps=max(trial.offered_pps for trial in mrr.trials),
                duration_s=plan.loss_duration_s,
                on_trial=notes.count,
            )
            notes.deciding = [point.trial for point in result.points if point.percent_of_max <= 10]
            notes.rest_on(full_rate, "mrr")
            notes.deviations += result.deviations
            return {"loss_curve": result}

        return self._datapath("loss_curve", datapath, frames, body)

    def back_to_back(self, datapath: Datapath, frames: FrameSpec) -> Measurement:
        """Longest burst without loss."""
        throughput_pps = self._rates_pps(datapath, frames, ("PDR",))["PDR"]

        def body(testbed: Testbed, notes: Notes) -> Mapping[str, object]:
            plan = self._plan.lengthened(testbed.shortest_trial_s)
            result = measure_back_to_back(
                testbed,
                throughput_pps=throughput_pps,
                repeats=plan.burst_repeats,
                max_burst_s=plan.burst_max_s,
                on_trial=notes.count,
            )
            notes.deviations += result.deviations
            notes.rest_on(self._recorder.find(_key(datapath, frames), "throughput"), "pdr")
            return {"back_to_back": result}

        return self._datapath("back_to_back", datapath, frames, body)

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

        def prepare() -> Body:
            self._testbeds.close_testbed()  # a datapath that polls would be measured with the host
            self._recorder.note_topology(lab_file)
            return lambda: _host(request, self._progress)

        key = HostKey(topology=lab_file.name, kind=kind)
        return self._frame.measure(key, kind, str(request), prepare, phase=key.id)

    def _datapath(
        self, kind: str, datapath: Datapath, frames: FrameSpec, body: TestbedBody, *, variant: str = ""
    ) -> Measurement:
        """A measurement on the datapath's testbed."""
        key = _key(datapath, frames)

        def prepare() -> Body:
            load = self._testbeds.max_offered_load(datapath, frames, again=False)
            testbed = self._testbeds.testbed(datapath, frames.ip_version)
            testbed.set_frames(frames)
            notes = Notes(progress=self._progress)

            def on_testbed() -> Measured:
                try:
                    plan = self._plan.lengthened(testbed.shortest_trial_s)
                    measured = measure_on(testbed, body, notes, deviations=plan.deviations)
                except BaseException:
                    self._testbeds.close_testbed()  # its state is unknown: the next measurement starts a new one
                    raise
                found = load
                if notes.rates is not None and load is not None and load.gate(notes.rates).state != "ok":
                    found = self._testbeds.max_offered_load(datapath, frames, again=True)
                return with_limit(measured, notes.rates, found)

            return on_testbed

        with self._watched(datapath.topology):
            return self._frame.measure(
                key,
                kind,
                variant,
                prepare,
                phase=f"{key.id}: {kind.replace('_', ' ')}",
                on_machine=self._on_this_machine(datapath.topology),
            )

    def again(self, former: Measurement) -> Measurement:
        """Make an MRR or throughput measurement, which was forgotten, again."""
        datapath, frames = self._of(former)
        return {"mrr": self.mrr, "throughput": self.throughput}[former.kind](datapath, frames)

    def decide_limit(self, unsure: Measurement) -> None:
        """Measure the maximum offered load again that makes a rate "at least", and decide whose limit it is by that.

        The rates stay what they are. If the maximum is disturbed again, nothing changes.
        """
        if self._recorder.find(unsure.key, unsure.kind, unsure.variant) is not unsure:
            return  # decided meanwhile
        load = self._testbeds.max_offered_load(*self._of(unsure), again=True)
        if load is None:
            raise LabkitBug(f"{unsure.key.id} has no maximum offered load")
        for known in self._recorder.everything():
            rates = known.mrr or known.throughput
            same_link = _link(known.key) == _link(unsure.key)
            if (
                same_link
                and rates is not None
                and limit_is_unsure(known.gates)
                and load.gate(rates).state == "ok"
            ):
                self._recorder.replace(known, with_later_limit(known, rates, load))

    def _of(self, measurement: Measurement) -> tuple[Datapath, FrameSpec]:
        """What it was measured on, and with."""
        key = measurement.key
        if not isinstance(key, DatapathKey):
            raise LabkitBug(f"{key.id} has no datapath")
        topology, backend = self._recorder.topologies[key.topology], registry.load(key.backend)
        datapath = Datapath(topology=topology, backend=backend, mode=find_mode(backend, topology, key.mode))
        return datapath, frame_spec(key.frame, ip_version=key.ip_version, flows=key.flows)

    def _rates_pps(
        self, datapath: Datapath, frames: FrameSpec, names: Collection[str]
    ) -> dict[str, float | None]:
        """The row's NDR, PDR or MRR by name, measured unless they are known. None: an irregular result."""
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


def _goodput(datapath: Datapath, frames: FrameSpec, name: str, rate_pps: float | None) -> list[str]:
    """Of messages over TCP, a rate as bits."""
    if not datapath.mode.tcp or not rate_pps:
        return []
    return [f"goodput at {name}: {fmt.bits_per_s(rate_pps * int(frames.size) * 8)}, one way"]


def _mrr(measurement: Measurement) -> Mrr:
    if measurement.mrr is None:
        raise LabkitBug("a measurement of kind mrr without its payload")
    return measurement.mrr


def _further(limit_us: float | None, neighbour: Neighbour | None) -> list[str]:
    """What makes a predictability another one beside its loads."""
    found = [] if limit_us is None else [f"above {limit_us:g} us"]
    if neighbour is not None:
        cores = "" if neighbour.cores is None else f" on {','.join(map(str, sorted(neighbour.cores)))}"
        found.append(f"beside {neighbour.words}{cores}")
    return found


def _key(datapath: Datapath, frames: FrameSpec) -> DatapathKey:
    return datapath.key(frame=str(frames.size), ip_version=frames.ip_version, flows=frames.flows)


def _link(key: Key) -> tuple[str, str, bool]:
    """What a maximum offered load belongs to."""
    if not isinstance(key, DatapathKey):
        return key.topology, "", False
    return key.topology, key.frame, key.traffic == MESSAGES


def _host(request: hostlatency.Request, progress: Progress) -> Measured:
    result = hostlatency.measure(
        request,
        guest=environment.is_guest(),
        on_second=lambda passed_s: progress.update(f"{passed_s:.0f} of {request.duration_s} s"),
    )
    return Measured(
        payload=result.payload,
        tester=result.tester,
        proof=result.proof,
        gates=(noise.proof_gate(proven=result.proof.proven, claim=result.proof.claim), *result.gates),
        limited_by="none",
        deviations=result.deviations,
    )


def _search_line(state: SearchProgress) -> str:
    def bounds(pair: tuple[float | None, float | None]) -> str:
        low, high = (("?" if value is None else f"{value / 1e3:.0f}") for value in pair)
        return f"{low}..{high}"

    return (
        f"{state.phase}, NDR {bounds(state.ndr_bounds_pps)}, PDR {bounds(state.pdr_bounds_pps)} kpps, "
        f"trial {state.trials} at {state.load_pps / 1e3:.0f} kpps, about {state.remaining_s:.0f} s left"
    )
