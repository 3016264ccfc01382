"""Results of each older version are read: data/results holds a small stored run of each.

Each was measured and stored by that version; its environment record is replaced by that of a machine of test data.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import ConfigInvalid
from labkit.record import schema
from labkit.record.codec import encode
from labkit.record.load import load
from labkit.record.model import DatapathKey, HostKey
from labkit.record.run import SCHEMA_VERSION, Run
from labkit.record.upgrade import STEPS, upgrade_record, upgrade_run
from labkit.results.compare import compare

DATA = Path(__file__).parent / "data" / "results"
OLDER = range(1, SCHEMA_VERSION)


def stored(version: int) -> dict[str, object]:
    document: dict[str, object] = json.loads((DATA / f"version-{version}.results.json").read_text())
    return document


def read(version: int) -> Run:
    return load(DATA / f"version-{version}.results.json")


def test_there_is_a_step_from_each_older_version() -> None:
    assert set(STEPS) == set(OLDER)


@pytest.mark.parametrize("version", OLDER)
def test_an_older_run_is_read_as_the_present_version_and_fits_its_schema(version: int) -> None:
    run = read(version)
    assert run.schema_version == SCHEMA_VERSION
    schema.validate(json.loads(json.dumps(encode(run))), f"version {version}")


@pytest.mark.parametrize("version", OLDER)
def test_records_and_results_of_an_older_run_say_the_same(version: int) -> None:
    assert load(DATA / f"version-{version}.records.jsonl") == read(version)


@pytest.mark.parametrize("version", OLDER)
def test_an_upgrade_changes_nothing_of_what_it_is_given(version: int) -> None:
    document = stored(version)
    before = copy.deepcopy(document)
    upgrade_run(document, version)
    assert document == before


@pytest.mark.parametrize("version", OLDER)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measurements": {}}, r"\$\.measurements: expected an array"),
        ({"measurements": [7]}, r"\$\.measurements\[0\]: expected an object"),
        ({"measurements": [{"gates": 1, "wakeup": []}]}, r"\$\.measurements\[0\]: key 'key' is missing"),
        ({"verdicts": [None]}, r"\$\.verdicts\[0\]: expected an object"),
        ({"surprise": 1}, r"\$: unknown key 'surprise'"),
    ],
)
def test_what_is_wrong_in_an_older_file_is_refused_with_its_path(
    version: int, change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(stored(version) | change))
    with pytest.raises(ConfigInvalid, match=message):
        load(path)


def test_omitted_samples_of_version_1() -> None:
    wakeup = next(m for m in read(1).measurements if m.kind == "wakeup")
    assert wakeup.wakeup is not None
    (old,) = (m for m in stored(1)["measurements"] if m["kind"] == "wakeup")  # type: ignore[attr-defined]
    assert [c.omitted for c in wakeup.wakeup.cores] == [c["swallowed"] for c in old["wakeup"]["cores"]]
    assert "omitted" in {g.name for g in wakeup.gates}


@pytest.mark.parametrize(("old", "new"), [("xdp", "af_xdp"), ("packet", "af_packet"), ("dpdk", "dpdk")])
def test_engines_of_version_1_are_named_as_the_backends(old: str, new: str, tmp_path: Path) -> None:
    text = json.dumps(stored(1))
    assert '"engine": "xdp"' in text
    (path := tmp_path / "results.json").write_text(
        text.replace('"engine": "xdp"', f'"engine": "{old}"').replace(
            "labkit-probe-xdp", f"labkit-probe-{old}"
        )
    )
    run = load(path)
    assert [m.tester["engine"] for m in run.measurements if "engine" in m.tester] == [new]
    assert [tool.name for tool in run.environment.tools] == [f"labkit-probe-{new}"]


def test_the_maximum_offered_load_of_version_1() -> None:
    (new,) = (m.tester for m in read(1).measurements if m.kind == "mrr")
    (old,) = (m["tester"] for m in stored(1)["measurements"] if m["kind"] == "mrr")  # type: ignore[attr-defined]
    assert new["max_offered_load_pps"] == old["ceiling_pps"]
    assert "ceiling_pps" not in new


def test_a_run_of_version_1_is_compared_with_one_of_the_same_engine_of_today() -> None:
    old = read(1)
    (mrr,) = (m for m in old.measurements if m.kind == "mrr")
    for engine, same in (("af_xdp", True), ("af_packet", False)):
        today = replace(old, measurements=(replace(mrr, tester={**mrr.tester, "engine": engine}),))
        reasons = [d.reason for d in compare(replace(old, measurements=(mrr,)), today).differences]
        assert reasons
        assert any("the tester's engine was" in str(reason) for reason in reasons) is not same


def test_the_host_s_keys_of_version_1() -> None:
    run = read(1)
    assert [m.key for m in run.measurements] == [
        HostKey(topology="veth", kind="wakeup"),
        HostKey(topology="veth", kind="busy_loop"),
        DatapathKey(backend="kernel", mode="", topology="veth", link="veth", frame="64"),
    ]
    assert run.verdicts[0].key == HostKey(topology="veth", kind="hardware")
    assert run.verdicts[0].key.id == "lowlatency-hardware-veth"


def test_the_plans_parameters_of_version_1_have_their_new_names() -> None:
    old = {
        "parameters": {
            "name": "quick",
            "ceiling_trials": 3,
            "ceiling_duration_s": 0.2,
            "settle": {"quiet_ms": 20},
        }
    }
    new = upgrade_record("environment", old, 1)["parameters"]
    assert new == {
        "name": "quick",
        "offered_load_trials": 3,
        "offered_load_duration_s": 0.2,
        "drain": {"quiet_ms": 20},
    }
