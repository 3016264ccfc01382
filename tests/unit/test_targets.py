"""Targets: pass, fail or invalid by the conservative side; files with line numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.backends import registry
from labkit.backends.base import Backend
from labkit.errors import ConfigInvalid
from labkit.lab.simulation import SimulatedSpec
from labkit.lab.topology import Tier
from labkit.lab.topology_file import directories
from labkit.measure.gate import Gate
from labkit.measure.hosttimes import HardwareTimes, HostTimes, core_times, guest_gate
from labkit.measure.latency import measure_latency
from labkit.measure.proof import Proof
from labkit.measure.rates import measure_loss_curve, measure_mrr
from labkit.measure.search import search, software_goals
from labkit.record.model import DatapathKey, HostKey, Measurement, Outcome
from labkit.session.preflight import load_checked
from labkit.targets.evaluation import Evaluation, kernel_baseline, parse_targets
from labkit.targets.file import declared, load_targets
from labkit.targets.metrics import METRICS
from labkit.testers.simulated import SimulatedTester

KEY = DatapathKey(backend="dpdk", mode="", topology="vhost", link="vhost", frame="64")
KERNEL = DatapathKey(backend="kernel", mode="", topology="veth", link="veth", frame="64")
TOPOLOGIES = Path(__file__).parents[2] / "topologies"


def measured(kind: str, spec: SimulatedSpec | None = None, **changes: object) -> Measurement:
    """Measure a simulated DUT; `changes` go into the Measurement (key, gates, limited_by)."""
    max_load_pps = float(changes.pop("max_load_pps", 1.2e6))  # type: ignore[arg-type]
    spec = spec or SimulatedSpec(noise=0.01)
    tester = SimulatedTester(spec, record_rtt=kind == "latency")
    ndr, pdr = software_goals()
    payload: dict[str, object] = {}
    if kind == "throughput":
        payload["throughput"] = search(
            tester, ndr=ndr, pdr=pdr, min_load_pps=9e3, max_load_pps=max_load_pps, clock=tester.clock
        )
    elif kind == "mrr":
        payload["mrr"] = measure_mrr(tester, max_load_pps=None, duration_s=0.1)
    elif kind == "latency":
        payload["latency"] = measure_latency(tester, pdr_pps=spec.capacity_pps)
    else:
        payload["loss_curve"] = measure_loss_curve(tester, max_load_pps=max_load_pps, duration_s=0.1)
    fields: dict[str, object] = {
        "key": KEY,
        "kind": kind,
        "started": "2026-01-01T00:00:00Z",
        "duration_s": tester.clock(),
        "tester": {},
        "proof": Proof(proven=True, claim="simulated", evidence={}),
        "gates": (Gate(name="steal", state="warn", value="0.5%", limit="1%", why=""),),
        "limited_by": "dut",
    }
    return Measurement(**{**fields, **payload, **changes})  # type: ignore[arg-type]


def check(measurement: Measurement | None, kernel: Measurement | None = None, /, **bounds: str) -> Evaluation:
    (target,) = parse_targets(bounds)
    return target.evaluate(
        () if measurement is None else (measurement,), kernel=() if kernel is None else (kernel,)
    )


THROUGHPUT = measured("throughput")
MRR = measured("mrr")
LATENCY = measured("latency")
CURVE = measured("loss_curve")


@pytest.mark.parametrize(
    ("measurement", "bounds", "outcome"),
    [
        (THROUGHPUT, {"pdr": ">= 0.9 Mpps"}, Outcome.PASS),
        (THROUGHPUT, {"pdr": ">= 1.1 Mpps"}, Outcome.FAIL),
        (THROUGHPUT, {"ndr": "<= 1.1 Mpps"}, Outcome.PASS),
        (THROUGHPUT, {"ndr": "<= 0.8 Mpps"}, Outcome.FAIL),
        (THROUGHPUT, {"offered_within": "<= 1 %"}, Outcome.PASS),
        (MRR, {"mrr": ">= 0.9 Mpps"}, Outcome.PASS),
        (MRR, {"mrr": ">= 1.1 Mpps"}, Outcome.FAIL),
        (LATENCY, {"p50": "<= 1 ms"}, Outcome.PASS),
        (LATENCY, {"p99": "<= 1 us"}, Outcome.FAIL),
        (LATENCY, {"max": "<= 10 ms"}, Outcome.PASS),
        (LATENCY, {"pdv": "<= 10 ns"}, Outcome.FAIL),
        (CURVE, {"loss_at_10_percent": "<= 0.1 %"}, Outcome.PASS),
    ],
)
def test_a_target_ends_as_the_measurement_says(
    measurement: Measurement, bounds: dict[str, str], outcome: Outcome
) -> None:
    found = check(measurement, **bounds)
    assert found.outcome is outcome, found.reason
    assert found.value is not None
    (name,) = bounds
    assert found.unit == {"pps": "pps", "s": "us", "ratio": "1"}[METRICS[name].unit]


def test_loss_at_next_to_no_load_fails() -> None:
    lossy = measured("loss_curve", SimulatedSpec(drop_one_in=100))
    found = check(lossy, loss_at_10_percent="<= 0.1 %")
    assert found.outcome is Outcome.FAIL
    assert found.value == pytest.approx(0.01, rel=0.01)


@given(share=st.floats(0.5, 1.5))
@settings(max_examples=60, deadline=None)
def test_throughput_passes_only_below_the_lower_bound_and_fails_only_above_it(share: float) -> None:
    assert THROUGHPUT.throughput is not None
    pdr = THROUGHPUT.throughput.pdr
    assert pdr.conditional_throughput_pps is not None
    bound_pps = round(pdr.conditional_throughput_pps * share)
    found = check(THROUGHPUT, pdr=f">= {bound_pps} pps")
    assert (found.outcome is Outcome.PASS) is (pdr.conditional_throughput_pps >= bound_pps)
    # The quoted figure is what decides: a pass is never shown beside a figure below its bound.
    assert found.value == pdr.conditional_throughput_pps


def test_mrr_is_held_by_the_low_end_of_its_interval() -> None:
    assert MRR.mrr is not None
    low, middle = MRR.mrr.ci95_low_pps, MRR.mrr.median_pps
    assert low < middle
    found = check(MRR, mrr=f">= {(low + middle) / 2:.0f} pps")
    assert found.outcome is Outcome.FAIL
    assert "and at most" in found.reason


def test_an_invalid_gate_is_neither_pass_nor_fail_and_is_named() -> None:
    gate = Gate(name="steal", state="invalid", value="3% on CPU 1", limit="1%", why="")
    for bound in (">= 1 kpps", ">= 100 Mpps"):
        found = check(dataclasses.replace(THROUGHPUT, gates=(gate,)), pdr=bound)
        assert found.outcome is Outcome.INVALID
        assert "gate steal: 3% on CPU 1" in found.reason
        assert found.value is None


def test_an_unstable_machine_takes_ndr_away_and_leaves_pdr() -> None:
    gate = Gate(name="stability-ndr", state="invalid", value="NDR not measurable here", limit="", why="")
    noisy = dataclasses.replace(THROUGHPUT, gates=(gate,))
    assert check(noisy, ndr=">= 1 kpps").outcome is Outcome.INVALID
    assert check(noisy, pdr=">= 1 kpps").outcome is Outcome.PASS


def test_a_warning_gate_lets_the_target_stand() -> None:
    assert any(gate.state == "warn" for gate in THROUGHPUT.gates)
    assert check(THROUGHPUT, pdr=">= 1 kpps").outcome is Outcome.PASS


@pytest.mark.parametrize("kind", ["throughput", "mrr"])
def test_a_tester_limited_result_can_pass_but_never_fail_a_floor(kind: str) -> None:
    limited = dataclasses.replace(THROUGHPUT if kind == "throughput" else MRR, limited_by="tester")
    name = "pdr" if kind == "throughput" else "mrr"
    passed = check(limited, **{name: ">= 0.9 Mpps"})
    assert passed.outcome is Outcome.PASS
    assert "at least" in passed.reason
    missed = check(limited, **{name: ">= 5 Mpps"})
    assert missed.outcome is Outcome.INVALID
    assert "tester-limited" in missed.reason
    # And no upper bound can be shown either: what the DUT could do beyond was never asked of it.
    assert check(limited, **{name: "<= 5 Mpps"}).outcome is Outcome.INVALID
    assert check(limited, **{name: "<= 0.5 Mpps"}).outcome is Outcome.FAIL


def test_a_maximum_load_without_loss_is_at_least_that() -> None:
    result = measured("throughput", SimulatedSpec(capacity_pps=5e6), max_load_pps=1e6, limited_by="none")
    assert check(result, ndr=">= 0.9 Mpps").outcome is Outcome.PASS
    assert check(result, ndr=">= 2 Mpps").outcome is Outcome.INVALID


def test_a_minimum_load_with_loss_fails_a_floor_and_claims_no_figure() -> None:
    result = measured("throughput", SimulatedSpec(drop_one_in=50))
    found = check(result, ndr=">= 1 Mpps")
    assert found.outcome is Outcome.FAIL
    assert found.value is None
    assert "minimum load" in found.reason


def test_a_search_out_of_time_decides_nothing() -> None:
    tester = SimulatedTester(SimulatedSpec(noise=0.05), record_rtt=False)
    ndr, pdr = software_goals()
    result = search(
        tester, ndr=ndr, pdr=pdr, min_load_pps=9e3, max_load_pps=2e6, clock=tester.clock, max_search_s=1
    )
    found = check(dataclasses.replace(THROUGHPUT, throughput=result), pdr=">= 1 kpps")
    assert found.outcome is Outcome.INVALID
    assert "stopped after 1 s" in found.reason


def test_a_percentile_with_too_few_samples_is_invalid() -> None:
    found = check(LATENCY, p9999="<= 1 s")
    assert found.outcome is Outcome.INVALID
    assert "needs 100000" in found.reason


def test_the_slowest_load_decides_unless_one_is_named() -> None:
    assert LATENCY.latency is not None
    idle, loaded = LATENCY.latency.points[0], LATENCY.latency.points[-1]
    assert idle.p50_us < loaded.p50_us
    between = f"<= {(idle.p50_us + loaded.p50_us) / 2} us"
    assert check(LATENCY, p50=between).outcome is Outcome.FAIL
    at_idle = check(LATENCY, p50=between, load="idle")
    assert at_idle.outcome is Outcome.PASS
    assert at_idle.value == pytest.approx(idle.p50_us)
    assert check(LATENCY, p50=between, load="70% PDR").outcome is Outcome.INVALID


def test_what_was_not_measured_is_invalid_and_not_a_pass() -> None:
    found = check(None, pdr="<= 100 Mpps")
    assert found.outcome is Outcome.INVALID
    assert "not measured" in found.reason
    assert check(LATENCY, mrr=">= 1 pps").outcome is Outcome.INVALID


def test_a_ratio_is_taken_between_conservative_sides() -> None:
    kernel = measured("mrr", SimulatedSpec(capacity_pps=2e5, noise=0.02), key=KERNEL)
    assert kernel.mrr is not None
    assert MRR.mrr is not None
    found = check(MRR, kernel, ratio_to_kernel=">= 4x")
    assert found.outcome is Outcome.PASS
    assert found.unit == "x"
    assert found.value == pytest.approx(MRR.mrr.median_pps / kernel.mrr.median_pps)
    tight = MRR.mrr.ci95_low_pps / kernel.mrr.ci95_high_pps
    assert check(MRR, kernel, ratio_to_kernel=f">= {tight * 1.001}x").outcome is Outcome.FAIL
    assert check(MRR, kernel, ratio_to_kernel=f">= {tight * 0.999}x").outcome is Outcome.PASS
    of_pdr = check(
        THROUGHPUT,
        measured("throughput", SimulatedSpec(capacity_pps=2e5), key=KERNEL),
        ratio_to_kernel=">= 4x",
    )
    assert of_pdr.outcome is Outcome.PASS
    assert "pdr" in of_pdr.reason


def test_no_ratio_is_taken_to_a_kernel_that_was_silent_under_overload() -> None:
    kernel = measured("mrr", SimulatedSpec(capacity_pps=2e5), key=KERNEL)
    assert kernel.mrr is not None
    trials = (dataclasses.replace(kernel.mrr.trials[0], received=0), *kernel.mrr.trials[1:])
    silent = dataclasses.replace(
        kernel, mrr=dataclasses.replace(kernel.mrr, trials=trials, ci95_low_pps=0.0, min_pps=0.0)
    )
    assert check(MRR, kernel, ratio_to_kernel=">= 4x").outcome is Outcome.PASS
    found = check(MRR, silent, ratio_to_kernel=">= 4x")
    assert found.outcome is Outcome.INVALID
    assert "silent in 1 trials" in found.reason


def test_a_ratio_needs_a_trustworthy_kernel_measurement() -> None:
    kernel = measured("mrr", SimulatedSpec(capacity_pps=2e5), key=KERNEL)
    assert check(MRR, ratio_to_kernel=">= 1x").outcome is Outcome.INVALID
    bad = Gate(name="proof", state="invalid", value="", limit="", why="")
    found = check(MRR, dataclasses.replace(kernel, gates=(bad,)), ratio_to_kernel=">= 1x")
    assert found.outcome is Outcome.INVALID
    assert "the kernel's measurement: gate proof" in found.reason
    capped = check(MRR, dataclasses.replace(kernel, limited_by="tester"), ratio_to_kernel=">= 1x")
    assert capped.outcome is Outcome.INVALID


def test_a_ratio_to_a_kernel_that_another_engine_was_sent_to_is_not_judged() -> None:
    """A link too large for AF_XDP has the tester send through AF_PACKET: half of a ratio would be the tester's."""
    other = dataclasses.replace(KEY, backend="af_packet", topology="jumbo", link="veth")
    mine = dataclasses.replace(MRR, key=other, tester={"engine": "af_packet"})
    kernel = measured("mrr", key=KERNEL, tester={"engine": "af_xdp"})
    found = check(mine, kernel, ratio_to_kernel=">= 0.1x")
    assert found.outcome is Outcome.INVALID
    assert found.reason == "not comparable: the tester's engine was af_packet here, af_xdp with the kernel"
    same = dataclasses.replace(kernel, tester={"engine": "af_packet"})
    assert check(mine, same, ratio_to_kernel=">= 0.1x").outcome is Outcome.PASS
    in_kernel = dataclasses.replace(mine, tester={"engine": "xdp"})
    assert "af_xdp with the kernel" in check(in_kernel, kernel, ratio_to_kernel=">= 0.1x").reason
    with_gro = dataclasses.replace(
        kernel, key=dataclasses.replace(KERNEL, mode="gro"), tester={"engine": "xdp"}
    )
    assert check(in_kernel, with_gro, ratio_to_kernel=">= 0.1x").outcome is Outcome.PASS
    # Shared memory has no such engine: its ratio is to another kind of link in any case, and is said to be.
    memory = dataclasses.replace(MRR, tester={"engine": "dpdk"})
    assert check(memory, kernel, ratio_to_kernel=">= 0.1x").outcome is Outcome.PASS


def test_the_kernel_of_the_same_topology_and_frames_is_the_baseline() -> None:
    near = dataclasses.replace(MRR, key=dataclasses.replace(KERNEL, topology="vhost"))
    far = dataclasses.replace(MRR, key=KERNEL)
    large = dataclasses.replace(MRR, key=dataclasses.replace(KERNEL, frame="1518"))
    assert kernel_baseline((large, far, near), key=KEY, kind="mrr") is near
    assert kernel_baseline((large, far), key=KEY, kind="mrr") is far
    assert kernel_baseline((large,), key=KEY, kind="mrr") is None


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"pdr": ">= 10 us"}, "pdr: .*Mpps"),
        ({"p99": "100 us"}, "p99: .*comparison"),
        ({"p95": "<= 1 us"}, "unknown metric 'p95'"),
        ({}, "no target"),
        ({"load": "idle"}, "no target"),
        ({"pdr": ">= 1 pps", "load": "idle"}, "load"),
        ({"p50": "<= 1 us", "load": "half"}, "half"),
    ],
)
def test_a_wrong_target_is_refused_by_name(bounds: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        parse_targets(bounds)


def test_a_misspelt_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        parse_targets({"p99.9": "<= 1 us"})
    assert "did you mean 'p99" in str(caught.value)


def test_a_target_can_be_two_sided() -> None:
    low, high = parse_targets({"mrr": ">= 0.9 Mpps, <= 1.2 Mpps"})
    assert low.evaluate((MRR,)).outcome is high.evaluate((MRR,)).outcome is Outcome.PASS
    assert (low.text, high.text) == ("mrr >= 0.9 Mpps", "mrr <= 1.2 Mpps")


def test_every_metric_says_what_it_is() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name
        assert metric.better in ("high", "low")
        assert metric.comes_from


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lab.targets.yml"
    path.write_text(text)
    return path


def test_a_file_is_read_and_matched_by_row_and_kind(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
targets:
  - offered_within: "<= 1 %"
  - backend: [dpdk, xdp]
    frame: 64
    mode: ""
    pdr: ">= 10 Mpps"
    p99: "<= 20 us"
    load: 50% PDR
  - backend: kernel
    mrr: ">= 1 kpps"
""",
    )
    entries = load_targets(path, tier=Tier.HARDWARE)
    found = declared(entries, key=KEY, kinds=("throughput",))
    assert [t.text for t in found] == ["offered_within <= 1 %", "pdr >= 10 Mpps"]
    assert found[1].source == f"{path}:7"
    (p99,) = [t for t in declared(entries, key=KEY, kinds=("latency",)) if t.metric.name == "p99"]
    assert p99.text == "p99 <= 20 us at 50% PDR"
    assert [t.text for t in declared(entries, key=KERNEL, kinds=("mrr",))] == ["mrr >= 1 kpps"]
    other = dataclasses.replace(KEY, mode="net_memif")
    assert [t.text for t in declared(entries, key=other, kinds=("throughput",))] == ["offered_within <= 1 %"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("targets:\n  - backend: dpdk\n    pdrr: '>= 1 pps'\n", 3, "unknown key"),
        ("targets:\n  - pdr: '>= 1 us'\n", 2, "Mpps"),
        ("targets:\n  - backend: dpdk\n", 2, "at least one metric"),
        ("targets:\n  - p50: [1]\n", 2, "expected text"),
        ("targets:\n  - pdr: '>= 1 pps'\n    load: idle\n", 3, "only a metric of latency"),
        ("targets:\n  - p50: '<= 1 us'\n    load: often\n", 3, "often"),
        ("target: []\n", 1, "unknown key"),
        ("targets: 3\n", 1, "expected a list"),
        ("targets:\n  - {backend: {a: b}, p50: '<= 1 us'}\n", 2, "expected a word"),
        ("targets:\n  - backend: dpkd\n    pdr: '>= 1 pps'\n", 2, "did you mean 'dpdk'"),
        ("targets:\n  - backend: [xdp, afxdp]\n    pdr: '>= 1 pps'\n", 2, "unknown backend 'afxdp'"),
        ("targets:\n  - backend: []\n    pdr: '>= 1 pps'\n", 2, "expected a word"),
        (
            "targets:\n  - backend: [dpdk]\n    frame: 64 B\n    pdr: '>= 1 pps'\n",
            3,
            "frame size '64 B': expected bytes with FCS",
        ),
        ("targets:\n  - {frame: 063, pdr: '>= 1 pps'}\n", 2, "frame size 63: expected 64 to 9220 bytes"),
        ("targets:\n  - {frame: [64, 99999], pdr: '>= 1 pps'}\n", 2, "frame size 99999: expected 64 to"),
        ("targets:\n  - {frame: ٦٤, pdr: '>= 1 pps'}\n", 2, "frame size '٦٤': expected bytes"),
        (f"targets:\n  - {{frame: {'9' * 5000}, pdr: '>= 1 pps'}}\n", 2, "9': expected bytes"),
        ("targets:\n  - {frame: [{a: b}], pdr: '>= 1 pps'}\n", 2, "expected a word"),
        (
            "targets:\n  - backend: [dpdk, xdp]\n    wakeup_max: '<= 1 us'\n",
            3,
            "wakeup_max: only the host itself has it, not dpdk or xdp",
        ),
        ("targets:\n  - frame: 64\n    wakeup_max: '<= 1 us'\n", 3, "the host itself has it, without frames"),
        ("targets:\n  - {mode: wakeup, timerlat_max: '<= 1 us'}\n", 2, "no row of mode 'wakeup' has it"),
        ("targets:\n  - backend: lowlatency\n    pdr: '>= 1 pps'\n", 3, "not the host itself"),
        ("targets:\n  - mode: wakeup\n    pdr: '>= 1 pps'\n", 3, "no datapath has the mode 'wakeup'"),
        (
            "targets:\n  - {mode: nonesuch, pdr: '>= 1 pps'}\n",
            2,
            "unknown mode of dpdk or xdp or lowlatency: 'nonesuch'",
        ),
        ("targets:\n  - {backend: dpdk, mode: af_xdp, pdr: '>= 1 pps'}\n", 2, "did you mean 'net_af_xdp'"),
        ("", 1, "empty"),
    ],
)
def test_a_wrong_file_is_answered_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = write(tmp_path, text)
    modes = {"dpdk": {"", "net_af_xdp"}, "xdp": {""}, "lowlatency": {"wakeup", "timerlat"}}
    with pytest.raises(ConfigInvalid) as caught:
        load_targets(path, tier=Tier.HARDWARE, modes=modes)
    assert message in str(caught.value)
    assert f"{path}:{line}:" in str(caught.value)


def test_a_frame_size_is_compared_as_a_number(tmp_path: Path) -> None:
    entries = load_targets(
        write(tmp_path, "targets: [{frame: [064, imix], pdr: '>= 1 pps'}]\n"), tier=Tier.HARDWARE
    )
    for frame, found in (("64", 1), ("imix", 1), ("128", 0)):
        key = dataclasses.replace(KEY, frame=frame)
        assert len(declared(entries, key=key, kinds=("throughput",))) == found


def test_what_some_row_of_an_entry_has_is_no_mistake(tmp_path: Path) -> None:
    """An entry for all rows, or for rows of both sorts, may bound what only some of them have."""
    path = write(
        tmp_path,
        "targets:\n  - {wakeup_max: '<= 1 us', pdr: '>= 1 pps'}\n"
        "  - {backend: [lowlatency, dpdk], mode: [wakeup, ''], wakeup_max: '<= 1 us', pdr: '>= 1 pps'}\n",
    )
    assert load_targets(path, tier=Tier.HARDWARE, modes={"dpdk": {""}, "lowlatency": {"wakeup"}})


def test_a_backend_that_the_topology_does_not_have_is_for_others_that_share_the_file(tmp_path: Path) -> None:
    (tmp_path / "all.yml").write_text("targets: [{backend: dpdk, loss_at_10_percent: '<= 1 %'}]\n")
    veth = (directories()[0] / "veth.yml").read_text()
    for name, text in (
        ("mine", veth.replace("backends: [kernel, af_packet, xdp, af_xdp, dpdk]", "backends: [kernel]")),
        ("other", veth),
    ):
        (tmp_path / f"{name}.yml").write_text(f"{text}targets: [all.yml]\n")
        lab_file = load_checked(tmp_path / f"{name}.yml")
        assert lab_file.targets == (tmp_path / "all.yml",)
        assert ("dpdk" in lab_file.backends) is (name == "other")


def test_a_mode_of_another_topology_is_known_and_one_of_none_is_refused(tmp_path: Path) -> None:
    """A file is shared by topologies: memif has no net_af_xdp, veth has."""
    (tmp_path / "mine.yml").write_text((directories()[0] / "memif.yml").read_text())
    targets = tmp_path / "mine.targets.yml"
    targets.write_text("targets: [{mode: [net_af_xdp, busy_poll, wakeup, ''], offered_within: '<= 1 %'}]\n")
    assert load_checked(tmp_path / "mine.yml").targets == (targets,)
    targets.write_text("targets: [{mode: net_af_xpd, offered_within: '<= 1 %'}]\n")
    with pytest.raises(ConfigInvalid, match="did you mean 'net_af_xdp'"):
        load_checked(tmp_path / "mine.yml")


def test_a_wrong_backend_is_one_mistake_whatever_its_mode(tmp_path: Path) -> None:
    path = write(tmp_path, "targets:\n  - {backend: dpkd, mode: nonesuch, pdr: '>= 1 pps'}\n")
    with pytest.raises(ConfigInvalid) as caught:
        load_targets(path, tier=Tier.HARDWARE, modes={"dpdk": {""}})
    assert "did you mean 'dpdk'" in str(caught.value)
    assert "nonesuch" not in str(caught.value)
    path = write(tmp_path, "targets:\n  - {backend: lowlatancy, wakeup_max: '<= 1 us'}\n")
    with pytest.raises(ConfigInvalid) as caught:
        load_targets(path, tier=Tier.HARDWARE, modes={})
    assert str(caught.value).count(str(path)) == 1


def test_a_backend_that_cannot_be_imported_leaves_the_targets_of_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> Backend:
        if name == "dpdk":
            raise ImportError("libgone.so")
        return whole(name)

    whole = registry.load
    monkeypatch.setattr(registry, "load", load)
    (tmp_path / "mine.yml").write_text((directories()[0] / "veth.yml").read_text())
    targets = tmp_path / "mine.targets.yml"
    targets.write_text("targets: [{backend: xdp, mode: '', offered_within: '<= 1 %'}]\n")
    assert load_checked(tmp_path / "mine.yml").targets == (targets,)


@pytest.mark.parametrize("tier", [Tier.SOFTWARE, Tier.VM])
@pytest.mark.parametrize("text", ["pdr: '>= 1 Mpps'", "p99: '<= 1 ms'", "mrr: '>= 1 pps'"])
def test_absolute_targets_in_a_file_need_a_lab_of_hardware(tmp_path: Path, text: str, tier: Tier) -> None:
    path = write(tmp_path, f"targets:\n  - backend: dpdk\n    {text}\n")
    with pytest.raises(ConfigInvalid, match=rf":3: .*absolute target .*{tier}"):
        load_targets(path, tier=tier)
    assert load_targets(path, tier=Tier.HARDWARE)
    assert load_targets(path, tier=Tier.SIMULATED)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"none\.yml"):
        load_targets(tmp_path / "none.yml", tier=Tier.SOFTWARE)


TELCO = TOPOLOGIES / "telco.targets.yml"


@pytest.mark.parametrize(
    "path", sorted(set(TOPOLOGIES.glob("*.targets.yml")) - {TELCO}), ids=lambda p: p.name
)
def test_the_shipped_files_load_on_a_lab_in_software_and_belong_to_one(path: Path) -> None:
    assert load_targets(path, tier=Tier.SOFTWARE)
    assert (TOPOLOGIES / path.name.replace(".targets", "")).is_file()


def test_the_telco_bound_is_for_declared_hardware_and_for_the_host_alone() -> None:
    for tier in (Tier.SOFTWARE, Tier.VM):
        with pytest.raises(
            ConfigInvalid, match=r"absolute target .*any machine may run it.*\n.*tier: hardware"
        ):
            load_targets(TELCO, tier=tier)
    entries = load_targets(TELCO, tier=Tier.HARDWARE)
    found = {
        kind: [t.text for t in declared(entries, key=HostKey(topology="lab", kind=kind), kinds=(kind,))]
        for kind in ("hardware", "wakeup", "busy_loop", "timerlat")
    }
    assert found == {
        "hardware": ["hardware_max < 20 us"],
        "wakeup": ["wakeup_max < 20 us"],
        "busy_loop": ["busy_loop_max < 20 us"],
        "timerlat": [],
    }
    assert not declared(entries, key=KEY, kinds=("latency", "throughput"))


def wakeups(*, max_us: int, n: int = 20_000, guest: bool = False, resolution_us: float = 1.0) -> Measurement:
    """Two cores whose wake-ups all take 5 us but one, on core 3, that takes `max_us`."""
    cores = tuple(
        core_times(
            core=core,
            counted=n,
            bins_us={5: n - 1, worst: 1},
            max_us=worst,
            min_us=5,
            mean_us=5.0,
            interval_us=10**6,
        )
        for core, worst in ((1, 6), (3, max_us))
    )
    times = HostTimes(duration_s=10.0, interval_us=500.0, resolution_us=resolution_us, cores=cores)
    return dataclasses.replace(
        measured("mrr"),
        key=HostKey(topology="lab", kind="wakeup"),
        kind="wakeup",
        mrr=None,
        wakeup=times,
        gates=(guest_gate(guest),),
    )


@pytest.mark.parametrize(
    ("max_us", "bound", "outcome"),
    [
        (19, "< 20 us", Outcome.PASS),
        (20, "< 20 us", Outcome.FAIL),
        (19, "<= 20 us", Outcome.PASS),
        (20, "<= 20 us", Outcome.FAIL),  # 20 us cut off is up to 20.999
        (99, "<= 100 us", Outcome.PASS),
    ],
)
def test_the_latest_wakeup_is_held_by_what_the_tool_cut_off(
    max_us: int, bound: str, outcome: Outcome
) -> None:
    found = check(wakeups(max_us=max_us), wakeup_max=bound)
    assert found.outcome is outcome, found.reason
    assert found.value == pytest.approx(max_us)
    assert found.unit == "us"
    assert f"core 3, the slowest of 2; the tool says {max_us} us, truncated" in found.reason


@pytest.mark.parametrize(
    ("duration_s", "max_us", "outcome"),
    [(6.0, 10, Outcome.INVALID), (300.0, 10, Outcome.PASS), (6.0, 900, Outcome.FAIL)],
)
def test_a_longest_time_of_a_moment_holds_no_bound_of_a_file(
    tmp_path: Path, duration_s: float, max_us: int, outcome: Outcome
) -> None:
    file = tmp_path / "lab.targets.yml"
    file.write_text("targets:\n  - wakeup_max: < 20 us\n    wakeup_p50: < 20 us\n")
    (entry,) = load_targets(file, tier=Tier.HARDWARE)
    measurement = wakeups(max_us=max_us)
    assert measurement.wakeup is not None
    measurement = dataclasses.replace(
        measurement, wakeup=dataclasses.replace(measurement.wakeup, duration_s=duration_s)
    )
    longest, middle = (target.evaluate([measurement]) for target in entry.targets)
    assert longest.outcome is outcome, longest.reason
    assert f"in {duration_s:g} s" in longest.reason
    assert ("needs 300 s" in longest.reason) is (outcome is Outcome.INVALID)
    assert middle.outcome is Outcome.PASS


@pytest.mark.parametrize("metric", ["hardware_max", "wakeup_max", "timerlat_max", "busy_loop_max"])
def test_every_maximum_of_the_host_in_a_file_asks_for_a_long_watch(tmp_path: Path, metric: str) -> None:
    file = tmp_path / "lab.targets.yml"
    file.write_text(f"targets:\n  - {metric}: < 20 us\n")

    (entry,) = load_targets(file, tier=Tier.HARDWARE)
    assert [target.watch_s for target in entry.targets] == [300.0]

    with pytest.raises(ConfigInvalid, match="any machine may run it"):
        load_targets(file, tier=Tier.SOFTWARE)


def test_a_percentile_of_wakeups_needs_its_samples_on_every_core() -> None:
    assert check(wakeups(max_us=900), wakeup_p999="<= 6 us").outcome is Outcome.PASS
    few = check(wakeups(max_us=900, n=9_999), wakeup_p999="<= 1 s")
    assert few.outcome is Outcome.INVALID
    assert "too few samples on core 1: 9999, needs 10000" in few.reason
    assert check(wakeups(max_us=900, n=9_999), wakeup_max="<= 1 ms").outcome is Outcome.PASS


def test_what_the_kernels_own_tracer_saw_is_held_to_bounds_of_its_own() -> None:
    seen = wakeups(max_us=900)
    traced = dataclasses.replace(
        seen, key=HostKey(topology="lab", kind="timerlat"), kind="timerlat", wakeup=None, timerlat=seen.wakeup
    )
    assert check(traced, timerlat_p999="<= 6 us").outcome is Outcome.PASS
    assert check(traced, timerlat_max="<= 100 us").outcome is Outcome.FAIL
    assert check(traced, wakeup_max="<= 1 ms").outcome is Outcome.INVALID  # cyclictest did not run


def test_a_bound_that_a_virtual_machine_misses_says_nothing_of_its_kernel() -> None:
    assert check(wakeups(max_us=900, guest=True), wakeup_max="<= 1 ms").outcome is Outcome.PASS
    missed = check(wakeups(max_us=900, guest=True), wakeup_max="<= 100 us")
    assert missed.outcome is Outcome.INVALID
    assert "a virtual machine" in missed.reason


@pytest.mark.parametrize(
    ("max_us", "bound", "outcome"),
    [
        (None, "< 20 us", Outcome.PASS),
        (None, "< 5 us", Outcome.FAIL),  # what is shorter than the threshold of 10 us is not seen
        (16.0, "< 20 us", Outcome.PASS),
        (25.0, "< 20 us", Outcome.FAIL),
    ],
)
def test_gaps_of_the_hardware_are_held_by_the_longest_or_by_the_threshold(
    max_us: float | None, bound: str, outcome: Outcome
) -> None:
    gaps = HardwareTimes(
        duration_s=60.0,
        threshold_us=10.0,
        width_us=5e5,
        window_us=1e6,
        gaps=0 if max_us is None else 2,
        max_us=max_us,
    )
    measurement = dataclasses.replace(
        measured("mrr"),
        key=HostKey(topology="lab", kind="hardware"),
        kind="hardware",
        mrr=None,
        hardware=gaps,
    )
    found = check(measurement, hardware_max=bound)
    assert found.outcome is outcome, found.reason
    assert found.value == max_us


def stalled(share: float, longest_s: float) -> Measurement:
    """The latency measurement with a tester that stood still for a share of each trial."""
    assert LATENCY.latency is not None
    points = tuple(
        dataclasses.replace(
            point,
            trial=dataclasses.replace(
                point.trial, stall_total_s=share * point.trial.duration_s, stall_max_s=longest_s
            ),
        )
        for point in LATENCY.latency.points
    )
    return dataclasses.replace(LATENCY, latency=dataclasses.replace(LATENCY.latency, points=points))


@pytest.mark.parametrize(
    ("metric", "share", "longest_s", "outcome"),
    [
        ("p99", 0.0, 0.0, Outcome.FAIL),
        ("p99", 0.009, 0.003, Outcome.FAIL),
        ("p99", 0.02, 0.003, Outcome.INVALID),
        ("p999", 0.002, 0.003, Outcome.INVALID),
        ("max", 0.0001, 1e-9, Outcome.FAIL),
        ("max", 0.0001, 1.0, Outcome.INVALID),
    ],
)
def test_a_tail_that_the_tester_can_have_made_itself_is_not_a_failure(
    metric: str, share: float, longest_s: float, outcome: Outcome
) -> None:
    found = check(stalled(share, longest_s), **{metric: "<= 1 ns"})
    assert found.outcome is outcome
    assert ("stalled" in found.reason) is (outcome is Outcome.INVALID)


def test_a_bound_that_holds_in_spite_of_stalls_is_met() -> None:
    assert check(stalled(0.5, 1.0), p999="<= 1 s").outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("share", "outcome"), [(0.0, Outcome.FAIL), (0.001, Outcome.FAIL), (0.4, Outcome.INVALID)]
)
def test_loss_that_the_tester_can_have_made_itself_is_not_a_failure(share: float, outcome: Outcome) -> None:
    lossy = measured("loss_curve", SimulatedSpec(drop_one_in=100))
    assert lossy.loss_curve is not None
    points = tuple(
        dataclasses.replace(
            p, trial=dataclasses.replace(p.trial, stall_total_s=share * p.trial.duration_s, stall_max_s=0.01)
        )
        for p in lossy.loss_curve.points
    )
    lossy = dataclasses.replace(lossy, loss_curve=dataclasses.replace(lossy.loss_curve, points=points))
    assert check(lossy, loss_at_10_percent="<= 0.1 %").outcome is outcome


def test_a_file_of_targets_says_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.targets.yml"
    path.write_text(
        "targets:\n  - backend: {a: b}\n    pdr: '10 Mpps'\n    p99: '<= 100 foo'\n    load: fast\n"
        "  - banana: 3\n  - load: idle\n    mrr: '>= 1 pps'\n  - frame: 64\n"
    )
    with pytest.raises(ConfigInvalid) as caught:
        load_targets(path, tier=Tier.HARDWARE)
    said = [line for line in str(caught.value).splitlines() if line.startswith(f"{path}:")]
    assert [int(line.removeprefix(f"{path}:").split(":")[0]) for line in said] == [2, 3, 4, 5, 6, 7, 9]
    assert str(caught.value).endswith("7 mistakes in all")
