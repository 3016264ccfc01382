"""What a test holds in its hands: `measure` and `target`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.frames import FrameSpec, frame_spec
from labkit.results.model import Measurement, Outcome, Verdict
from labkit.units import parse_load
from labkit.verdicts import InvalidMeasurement, TargetMissed

if TYPE_CHECKING:
    from labkit.datapaths import Datapath
    from labkit.session import Session

LADDER = ("idle", "10% PDR", "50% PDR", "90% PDR")


class Measure:
    """Measures one datapath. Each figure is measured once a run and then remembered."""

    def __init__(self, session: Session, datapath: Datapath, frame: str) -> None:
        self._session = session
        self.datapath = datapath
        self._frame = frame

    def _spec(self, frame_size_bytes: int | str | None, ip_version: int, flows: int) -> FrameSpec:
        frames = frame_spec(
            self._frame if frame_size_bytes is None else frame_size_bytes, ip_version=ip_version, flows=flows
        )
        self.datapath.check_frames(frames)
        return frames

    def throughput(
        self, *, frame_size_bytes: int | str | None = None, ip_version: int = 4, flows: int = 1
    ) -> Measurement:
        """NDR and PDR by one search (RFC 9971).

        `frame_size_bytes` counts the FCS (64 to the link's MTU + 18) or is "imix". Raises EnvironmentBroken or
        ToolFailed when tester or DUT cannot run or die.
        """
        return self._session.throughput(self.datapath, self._spec(frame_size_bytes, ip_version, flows))

    def mrr(
        self, *, frame_size_bytes: int | str | None = None, ip_version: int = 4, flows: int = 1
    ) -> Measurement:
        """Maximum receive rate: what comes back while the tester sends as fast as it can."""
        return self._session.mrr(self.datapath, self._spec(frame_size_bytes, ip_version, flows))

    def latency(
        self,
        load: str | Sequence[str] | None = None,
        *,
        frame_size_bytes: int | str | None = None,
        ip_version: int = 4,
        flows: int = 1,
    ) -> Measurement:
        """Round-trip times at a load: "idle", "50% PDR", "100 kpps", or several; default the ladder idle/10/50/90 %.

        Shares may be of PDR, NDR or MRR; where that rate is not known yet, it is measured first.
        """
        asked = LADDER if load is None else (load,) if isinstance(load, str) else tuple(load)
        loads = [parse_load(one) for one in asked]
        return self._session.latency(self.datapath, self._spec(frame_size_bytes, ip_version, flows), loads)

    def loss_curve(
        self, *, frame_size_bytes: int | str | None = None, ip_version: int = 4, flows: int = 1
    ) -> Measurement:
        """Frame loss from the maximum rate down (RFC 2544 26.3)."""
        return self._session.loss_curve(self.datapath, self._spec(frame_size_bytes, ip_version, flows))

    def back_to_back(
        self, *, frame_size_bytes: int | str | None = None, ip_version: int = 4, flows: int = 1
    ) -> Measurement:
        """Longest burst without loss (RFC 9004)."""
        return self._session.back_to_back(self.datapath, self._spec(frame_size_bytes, ip_version, flows))


class TargetCheck:
    """Holds measurements to targets; every check leaves a verdict in the results."""

    def __init__(self, session: Session, measure: Measure, test: str) -> None:
        self._session = session
        self._measure = measure
        self._test = test

    def __call__(self, measurement: Measurement, /, **bounds: str) -> None:
        """Check `metric="<comparison>"` pairs: `pdr=">= 10 Mpps"`, `p99="<= 100 us"`.

        Raises TargetMissed (the test fails), InvalidMeasurement (neither pass nor fail) or ConfigInvalid.
        """
        __tracebackhide__ = True  # pytest shows the user's line, not ours
        self._conclude(self._session.judge(self._test, measurement, bounds))

    def declared(self, *measurements: Measurement) -> None:
        """Check the targets that stand in the topology's YAML files for this row."""
        __tracebackhide__ = True
        self._conclude(self._session.judge_declared(self._test, self._measure.datapath, measurements))

    def _conclude(self, verdicts: Sequence[Verdict]) -> None:
        __tracebackhide__ = True
        failed = [v for v in verdicts if v.outcome is Outcome.FAIL]
        invalid = [v for v in verdicts if v.outcome is Outcome.INVALID]
        if failed:
            raise TargetMissed("\n".join(f"{v.target}: {v.reason}" for v in failed))
        if invalid:
            raise InvalidMeasurement("; ".join(f"{v.target}: {v.reason}" for v in invalid))
