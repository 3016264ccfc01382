"""Several testers in one run: each lab once for each of them, and their figures side by side."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from sample_run import DATAPATHS, sample_run

from labkit.harness.collecting import Subject, Topologies, _everywhere, _of_backend
from labkit.harness.selected import SelectedTest, Selection, read, write
from labkit.lab.topology import Topology
from labkit.lab.topology_file import load
from labkit.record.model import DatapathKey, Measurement
from labkit.record.run import Run
from labkit.results.report import html
from labkit.results.rows import rows
from labkit.results.side_by_side import side_by_side
from labkit.results.table import print_table
from labkit.session.capabilities import lacking
from labkit.session.datapaths import enumerate_datapaths
from labkit.targets.evaluation import kernel_baseline

TESTERS = ("probe", "trex")


def chosen(*names: str, testers: Sequence[str] = TESTERS) -> Topologies:
    return Topologies(names, testers, tester_option="--tester")


def test_each_lab_is_there_once_for_each_tester_one_after_the_other() -> None:
    found = chosen("veth", "memif").chosen
    assert [(one.name, one.tester) for one in found] == [
        ("veth", "probe"),
        ("veth+trex", "trex"),
        ("memif", "probe"),
        ("memif+trex", "trex"),
    ]
    assert chosen("veth", "memif").words == "--topology veth --topology memif"


def test_on_shared_memory_the_probe_is_one_tester_whatever_its_engine() -> None:
    found = chosen("veth", "memif", testers=["af_xdp", "af_packet", "trex"]).chosen
    assert [one.name for one in found] == ["veth", "veth+af_packet", "veth+trex", "memif", "memif+trex"]
    assert [one.name for one in chosen("memif", testers=["af_xdp", "af_packet"]).chosen] == ["memif"]


def test_one_tester_leaves_the_labs_as_they_are() -> None:
    assert [one.name for one in chosen("veth", testers=["trex"]).chosen] == ["veth"]


def test_a_simulated_lab_has_one_tester() -> None:
    assert [one.name for one in chosen("sim").chosen] == ["sim"]


def ids(parameters: Sequence[object]) -> list[str]:
    return [one.id for one in parameters]  # type: ignore[attr-defined]


def test_a_test_of_one_backend_runs_once_for_each_tester() -> None:
    labs = chosen("veth", "veth-forward")
    assert ids(_of_backend("kernel", {}, labs.chosen, labs)) == ["kernel-veth-64", "kernel-veth+trex-64"]


def test_a_test_of_all_datapaths_has_those_of_each_tester() -> None:
    labs = chosen("veth")
    found = ids(_everywhere({"modes": "default"}, labs.chosen, labs, quick=True))
    assert [name for name in found if name.startswith("xdp-")] == ["xdp-veth-64", "xdp-veth+trex-64"]


def test_a_test_that_names_its_lab_runs_there_with_each_tester() -> None:
    labs = chosen("veth")
    named = labs.named("veth", [])
    assert not isinstance(named, Topology)
    assert [one.name for one in named] == ["veth", "veth+trex"]  # type: ignore[union-attr]


def test_what_a_tester_lacks_is_named_by_the_option_that_chose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABKIT_TREX_DIR", raising=False)
    _, trex = (enumerate_datapaths([one])[0] for one in chosen("vhost").chosen)
    (reason,) = lacking(trex)
    assert reason.endswith("(fix: measure on memif, or leave --tester trex out)")


def test_a_worker_hands_over_which_tester_measures(tmp_path: Path) -> None:
    labs = {one.name: one for one in chosen("veth").chosen}
    (datapath,) = [d for d in enumerate_datapaths([labs["veth+trex"]]) if d.backend.name == "xdp"]
    subject = Subject(datapath.topology, datapath, "64")
    test = SelectedTest(id="t", function="t", topology="veth+trex", backend="xdp", key=subject.key)
    write(Selection(tests=[test], topologies=labs), tmp_path / "selected")
    found = read(tmp_path / "selected")
    assert [(name, one.tester) for name, one in found.topologies.items()] == [
        ("veth", "probe"),
        ("veth+trex", "trex"),
    ]
    assert found.topologies["veth+trex"].tester_option == "--tester trex"


def test_the_kernel_that_a_lab_without_one_is_compared_with_is_measured_by_the_same_tester() -> None:
    _, trex = chosen("memif").chosen
    base = load("veth").measured_as(trex)
    assert (base.name, base.tester, base.tester_option) == ("veth+trex", "trex", "--tester trex")
    assert load("veth").measured_as(load("memif")) == load("veth")


def by_trex(measurement: Measurement) -> Measurement:
    key = measurement.key
    assert isinstance(key, DatapathKey)
    return dataclasses.replace(
        measurement,
        key=dataclasses.replace(key, topology=f"{key.topology}+trex"),
        tester={
            **measurement.tester,
            "engine": "trex",
            "max_offered_load_pps": 331e3,
            "rtt_floor_us": {"p50": 480.0, "p99": 990.0},
        },
    )


@pytest.fixture(scope="module")
def both() -> Run:
    """The sample run, in which TRex measured what is on veth and memif, too."""
    run = sample_run()
    again = [
        by_trex(m)
        for m in run.measurements
        if isinstance(m.key, DatapathKey) and m.key.link in ("veth", "memif")
    ]
    return dataclasses.replace(run, measurements=(*run.measurements, *again))


def test_a_datapath_that_two_testers_measured_is_shown_with_what_each_adds(both: Run) -> None:
    found = side_by_side(both, rows(both))
    assert len(found) == sum(topology in ("veth", "memif") for _, _, topology, _ in DATAPATHS)
    probe, trex = found[0]
    assert (probe.engine, trex.engine) == ("af_xdp", "trex")
    assert (probe.own_p50_us, trex.own_p50_us, trex.own_p99_us) == (None, 480.0, 990.0)
    assert (probe.max_offered_load_pps, trex.max_offered_load_pps) == (1.31e6, 331e3)
    assert side_by_side(sample_run(), rows(sample_run())) == []


def test_report_and_table_have_the_testers_side_by_side(both: Run) -> None:
    page = html(both)
    assert "Testers side by side" in page
    assert "Testers side by side" not in html(sample_run())
    out = io.StringIO()
    print_table(both, file=out)
    (line,) = [one for one in out.getvalue().splitlines() if one.startswith("kernel on veth, 64 B ")]
    assert "af_xdp" in line
    below = out.getvalue().splitlines()[out.getvalue().splitlines().index(line) + 1]
    assert below.split()[0] == "trex"
    assert "480 / 990" in below
    assert "331 kpps" in below


def test_own_times_that_were_disturbed_are_marked_and_the_reason_stands_below(both: Run) -> None:
    noisy = {"rtt_floor_disturbed": "steal was 2.7%"}
    disturbed = dataclasses.replace(
        both,
        measurements=tuple(
            dataclasses.replace(m, tester={**m.tester, **noisy}) if m.tester["engine"] == "trex" else m
            for m in both.measurements
        ),
    )
    out = io.StringIO()
    print_table(disturbed, file=out)
    assert "480 / 990?" in out.getvalue()
    assert "? at a tester's own times: measured while steal was 2.7%: they may be too long" in out.getvalue()
    assert "measured while steal was 2.7%" in html(disturbed)
    print_table(both, file=(quiet := io.StringIO()))
    assert "990?" not in quiet.getvalue()


def test_a_ratio_is_to_the_kernel_that_the_same_tester_measured(both: Run) -> None:
    for row in rows(both):
        if row.ratio_base and isinstance(row.key, DatapathKey):
            assert ("+trex" in row.ratio_base) == bool(row.key.further_tester), row.key
    memif = next(row.key for row in rows(both) if row.topology == "memif+trex")
    found = kernel_baseline(both.measurements, key=memif, kind="mrr")
    assert found is not None
    assert found.key.topology == "veth+trex"
