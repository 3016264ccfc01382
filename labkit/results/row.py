"""One row of the table: everything that was measured of a datapath, or of the host itself, by column."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from labkit.measure.limits import DUT
from labkit.record.model import HostKey, Key
from labkit.targets import rates
from labkit.targets.rates import Rate, Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; None where it was not measured. Times without a load in their name are unloaded."""

    key: Key
    """What the row is about; the next nine fields are its columns."""
    backend: str
    """Of the host itself "lowlatency", with the kind of measurement as mode, and "host" as link."""
    mode: str
    topology: str
    link: str
    frame: str
    frame_size_bytes: int | None
    """On the wire, with FCS; None for a mix of sizes (then `frame` names it)."""
    ip_version: int
    flows: int
    traffic: str
    """What else the frames are, in words; empty: UDP of the lab's own addresses."""
    ndr_pps: float | None
    pdr_pps: float | None
    mrr_pps: float | None
    ndr_limited_by: str | None
    """dut, tester or none (no upper bound was found); see `at_least`. One for each rate: they may differ."""
    pdr_limited_by: str | None
    mrr_limited_by: str | None
    ratio_to_kernel: float | None
    """PDR to the kernel backend's PDR at the same frame and flows: on the same lab, else on another."""
    ratio_bound: str
    """ "at least" or "at most", where one of the two PDRs is a lower bound; else empty."""
    ratio_note: str
    """Why there is no ratio; empty where there is one."""
    ratio_base: str
    """The topology of the kernel's row that it is taken to."""
    mrr_ratio_to_kernel: float | None
    """The same of MRR."""
    mrr_ratio_bound: str
    mrr_ratio_note: str
    mrr_ratio_base: str
    ndr_invalid: bool
    """By a gate of the search, be it one of NDR alone."""
    rtt_50pdr_invalid: bool
    """By a gate of its measurement, or because that PDR is invalid."""
    rtt_p50_us: float | None
    rtt_p99_us: float | None
    rtt_p999_us: float | None
    rtt_max_us: float | None
    rtt_50pdr_p50_us: float | None
    rtt_50pdr_p99_us: float | None
    rtt_50pdr_p999_us: float | None
    rtt_50pdr_max_us: float | None
    limited_by: str | None
    """The worse of NDR's and PDR's, else MRR's: the only one before each rate had its own."""
    host_n: int | None
    """Of the host itself (link "host"): times counted, on all cores."""
    host_cores: str | None
    host_p50_us: float | None
    """On the slowest core, as each of the following."""
    host_p99_us: float | None
    host_p999_us: float | None
    host_max_us: float | None
    host_note: str
    """A note that the figures need."""
    doubt: str
    """Why a rate is not to be believed although no target failed for it."""
    quick: bool
    verdict: str | None
    reason: str

    def rate(self, name: str) -> Rate:
        """NDR, PDR or MRR with its own mark."""
        return Rate(
            name=name,
            pps=getattr(self, f"{name}_pps"),
            limited_by=getattr(self, f"{name}_limited_by") or DUT,
        )

    @property
    def rates(self) -> tuple[Rate, ...]:
        """All three."""
        return tuple(self.rate(name) for name in rates.KINDS)

    @property
    def is_host(self) -> bool:
        """Whether it is about the host itself, not about a datapath."""
        return isinstance(self.key, HostKey)

    def ratio(self, name: str) -> Ratio:
        """PDR's or MRR's ratio to the kernel's."""
        if name == "mrr":
            return Ratio(
                value=self.mrr_ratio_to_kernel,
                bound=self.mrr_ratio_bound,
                why=self.mrr_ratio_note,
                base=self.mrr_ratio_base,
            )
        return Ratio(
            value=self.ratio_to_kernel, bound=self.ratio_bound, why=self.ratio_note, base=self.ratio_base
        )

    def as_json(self) -> dict[str, Any]:
        """The row as a JSON object, keys as the fields are named, and for each rate whether it is a lower bound."""
        columns = {name: value for name, value in asdict(self).items() if name != "key"}
        return {**columns, **{f"{rate.name}_at_least": rate.at_least for rate in self.rates}}
