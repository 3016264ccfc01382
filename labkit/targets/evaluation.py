"""Targets: a metric, a bound, and how a measurement compares with it.

A target passes only if its bound holds for the conservative side of what was measured; it is invalid, neither pass
nor fail, where the measurement cannot be trusted or does not reach far enough. Files of targets are read in file.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from labkit.errors import ConfigInvalid
from labkit.lab.traffic import GRO as GRO  # results import it from here
from labkit.lab.traffic import TCP_ECHO, TCP_STREAM
from labkit.measure.gate import PASSING, Gate, concerns, invalid_for, limit_is_unsure
from labkit.record.model import MESSAGES, DatapathKey, HostKey, Key, Measurement, Outcome
from labkit.targets.metrics import METRICS, Metric
from labkit.targets.observed import Observed, Unknown
from labkit.units import Bound, Unit, parse_bound, parse_load
from labkit.yamlfile import suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How a measurement compares with a target."""

    target: str
    outcome: Outcome
    value: float | None
    """What was measured, in `unit`; None where there is no figure."""
    unit: str | None
    """pps, us, 1 (a share) or x (a ratio); None where there is no figure to have one."""
    reason: str
    blamed: tuple[Measurement, ...] = ()
    """The measurements that are worth another attempt: of an invalid outcome, where the reason is one that can pass.

    Also those in which the tester stalled by as much as matters, whether the bound was missed (invalid) or met: if only
    missed bounds had another chance, the choice would be by value.
    """
    unsure: tuple[Measurement, ...] = ()
    """Of an invalid outcome: the measurements whose rates stay, and whose limit is worth another look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One bound on one metric."""

    metric: Metric
    bound: Bound
    load: str | None = None
    """For metrics of latency: only at this load; None: at every load measured."""
    source: str | None = None
    """File and line, where it is from a file."""
    watch_s: float = 0.0
    """A maximum meets its bound only where it was measured for at least so long."""

    @property
    def text(self) -> str:
        """As people read it: "pdr >= 10 Mpps", "p99 <= 100 us at 50% PDR"."""
        return f"{self.metric.name} {self.bound.text}" + (f" at {self.load}" if self.load else "")

    def evaluate(
        self,
        measurements: Sequence[Measurement],
        *,
        kernel: Sequence[Measurement] = (),
    ) -> Evaluation:
        """Judge the measurements of one row; `kernel` are those that ratios are taken to."""
        measurement = self._pick(measurements)
        if measurement is None:
            return self._end(Outcome.INVALID, None, f"not measured: needs {' or '.join(self.metric.kinds)}")
        failing = self._invalid_gates(measurement)
        if failing:
            return self._distrusted(measurement, failing, "")
        engine = engine_of(measurement)
        baseline = kernel_baseline(kernel, key=measurement.key, kind=measurement.kind, engine=engine)
        if self.metric.relative:
            if baseline is None:
                other = kernel_baseline(kernel, key=measurement.key, kind=measurement.kind)
                return self._end(
                    Outcome.INVALID,
                    None,
                    f"no {measurement.kind} of the kernel was measured to compare with"
                    if other is None
                    else f"not comparable: the tester's engine was {engine} here, {engine_of(other)} with the kernel",
                )
            failing = self._invalid_gates(baseline)
            if failing:
                return self._distrusted(baseline, failing, "the kernel's measurement: ")
        observed = self.metric.read(measurement, self.load, baseline)
        if isinstance(observed, Unknown):
            end = self._end(Outcome.INVALID, None, observed.reason)
            return _with_unsure_limits(end, measurement, baseline)
        end = _with_unsure_limits(self._judge(observed), measurement, baseline)
        if observed.doubt and observed.doubt_passes and end.outcome is not Outcome.FAIL:
            return replace(end, blamed=(measurement,))
        return end

    def _pick(self, measurements: Sequence[Measurement]) -> Measurement | None:
        return next(
            (m for kind in self.metric.kinds for m in measurements if m.kind == kind),
            None,
        )

    def _invalid_gates(self, measurement: Measurement) -> list[Gate]:
        """Those that concern this metric at this load."""
        found = invalid_for(measurement.gates, self.metric.name)
        return [g for g in found if self.load is None or concerns(g, self.load)]

    def _distrusted(self, measurement: Measurement, failing: Sequence[Gate], whose: str) -> Evaluation:
        end = self._end(Outcome.INVALID, None, f"{whose}{gate_words(failing[0])}")
        return replace(end, blamed=worth_another((measurement,), failing))

    def _judge(self, seen: Observed) -> Evaluation:
        """Compare the conservative side with the bound."""
        bound = self.bound
        low, high = self.metric.format(seen.low), self.metric.format(seen.high)
        note = f" ({seen.note})" if seen.note else ""
        if bound.at_least:
            if bound.holds(seen.low):
                words = "at least " if seen.high is None and seen.low > 0 else ""
                return self._end(Outcome.PASS, seen.quoted, f"{words}{low}{note}")
            if seen.high is None:
                shown = f"at least {low}, more" if seen.low > 0 else "nothing was forwarded, a rate above 0"
                return self._end(
                    Outcome.INVALID, seen.quoted, f"tester-limited: {shown} cannot be shown here{note}"
                )
            between = f", and at most {high}" if bound.holds(seen.high) else ""
            return self._end(Outcome.FAIL, seen.quoted, f"{low}{between}{note}")
        if seen.high is not None and bound.holds(seen.high):
            if seen.watched_s is not None and seen.watched_s < self.watch_s:
                short = f"too short to bound a maximum: needs {self.watch_s:g} s"
                return self._end(Outcome.INVALID, seen.quoted, f"{high}{note}; {short}")
            return self._end(Outcome.PASS, seen.quoted, f"{high}{note}")
        if seen.high is None and bound.holds(seen.low):
            return self._end(
                Outcome.INVALID,
                seen.quoted,
                f"tester-limited: {f'at least {low}, ' if seen.low > 0 else ''}no upper limit was found{note}",
            )
        outcome = Outcome.INVALID if seen.doubt else Outcome.FAIL
        doubt = f"; {seen.doubt}" if seen.doubt else ""
        return self._end(outcome, seen.quoted, f"{low if seen.high is None else high}{note}{doubt}")

    def _end(self, outcome: Outcome, value: float | None, reason: str) -> Evaluation:
        scale, unit = {
            Unit.SECONDS: (1e6, "us"),
            Unit.PPS: (1.0, "pps"),
            Unit.RATIO: (1.0, "x" if self.metric.relative else "1"),
            Unit.BYTES: (1.0, "B"),
        }[self.metric.unit]
        return Evaluation(
            target=self.text,
            outcome=outcome,
            value=None if value is None else value * scale,
            unit=unit,
            reason=reason,
        )


def _with_unsure_limits(end: Evaluation, *measurements: Measurement | None) -> Evaluation:
    """An outcome that is invalid, perhaps for such a limit alone, is worth another look at that."""
    if end.outcome is not Outcome.INVALID:
        return end
    return replace(end, unsure=tuple(m for m in measurements if m is not None and limit_is_unsure(m.gates)))


def gate_words(gate: Gate) -> str:
    """A gate as the reason of a verdict."""
    return f"gate {gate.name}: {gate.value} ({gate.limit})"


def worth_another(measurements: Sequence[Measurement], failing: Sequence[Gate]) -> tuple[Measurement, ...]:
    """The measurements, where all that makes them invalid can pass by itself; else none."""
    return tuple(measurements) if all(gate.name in PASSING for gate in failing) else ()


def parse_targets(bounds: Mapping[str, str], *, source: str | None = None) -> tuple[Target, ...]:
    """Read `{"pdr": ">= 10 Mpps", "p99": "<= 100 us", "load": "50% PDR"}`.

    A value may hold several bounds, parted by commas (">= 1 Mpps, <= 20 Mpps"). `load` chooses among the loads of a
    latency measurement. Raises ConfigInvalid for an unknown metric, a wrong unit or a missing comparison.
    """
    load = parse_load(bounds["load"]).text if "load" in bounds else None
    found: list[Target] = []
    for name, text in bounds.items():
        if name == "load":
            continue
        metric = METRICS.get(name)
        if metric is None:
            raise ConfigInvalid(f"unknown metric {name!r}", hint=suggest(name, [*METRICS, "load"]))
        for part in text.split(","):
            try:
                bound = parse_bound(part, metric.unit)
            except ConfigInvalid as error:
                raise ConfigInvalid(f"{name}: {error.message}") from error
            found.append(
                Target(
                    metric=metric,
                    bound=bound,
                    load=load if metric.kinds == ("latency",) else None,
                    source=source,
                )
            )
    if not found:
        raise ConfigInvalid("no target given", hint=f"one or more of {', '.join(METRICS)}")
    if load is not None and all(target.load is None for target in found):
        raise ConfigInvalid("load: only a metric of latency has a load", hint="leave it out")
    return tuple(found)


def engine_of(measurement: Measurement) -> str | None:
    """The tester's engine: what it offers and adds to a round trip is its own. None: the probe's, on shared memory."""
    engine = measurement.tester.get("engine")
    return str(engine) if engine in ("xdp", "af_xdp", "af_packet", "trex") else None


def kernel_mode(key: DatapathKey, engine: str | None = None) -> str:
    """The mode of the kernel's that a row is compared with.

    Its own TCP where the row is of TCP messages; where the tester made frames in the kernel, the one that takes these.
    """
    if key.traffic == MESSAGES:
        return TCP_STREAM if key.mode == TCP_STREAM else TCP_ECHO
    return GRO if engine == "xdp" else ""


def kernel_baseline(
    measurements: Sequence[Measurement], *, key: Key, kind: str, engine: str | None = None
) -> Measurement | None:
    """Find what a row is compared with: the kernel's mode for it (`kernel_mode`) with the same frames.

    On the row's own topology where it was measured there, else on any: shared-memory links have no kernel on them.
    In a run of several testers only by the same one; with `engine`, only with that engine of the tester.
    The host itself has no such.
    """
    if isinstance(key, HostKey):
        return None
    fitting = [
        m
        for m in measurements
        if m.kind == kind
        and isinstance(m.key, DatapathKey)
        and (m.key.backend, m.key.mode) == ("kernel", kernel_mode(key, engine))
        and (m.key.frame, m.key.ip_version, m.key.flows, m.key.traffic)
        == (key.frame, key.ip_version, key.flows, key.traffic)
        and m.key.further_tester == key.further_tester
        and (engine is None or engine_of(m) in (engine, None))
    ]
    fitting.sort(key=lambda m: m.key.topology != key.topology)
    return fitting[0] if fitting else None
