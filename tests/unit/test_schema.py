from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_run import sample_run

from labkit.errors import ConfigInvalid
from labkit.measure.gate import Gate
from labkit.measure.trial import Histogram, TrialResult
from labkit.record import schema
from labkit.record.codec import CodecError, decode, encode
from labkit.record.model import DatapathKey, HostKey, Outcome, Verdict
from labkit.record.run import Run

number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(0, 2**63)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | number | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
keys = st.builds(DatapathKey) | st.builds(HostKey)
histograms = st.builds(Histogram, mean_ns=number)


@st.composite
def trials(draw):
    sent = draw(count)
    return draw(
        st.builds(
            TrialResult,
            intended_load_pps=st.none() | number,
            intended=count,
            sent=st.just(sent),
            received=st.integers(0, sent),
            rtt=st.none() | histograms,
            service=st.none() | histograms,
            tester_busy=st.none() | number,
            dut=st.dictionaries(st.text(), number),
            duration_s=number,
            tx_duration_s=number,
            overhead_s=number,
            stall_max_s=number,
            stall_total_s=number,
        )
    )


verdicts = st.builds(
    Verdict,
    key=st.none() | keys,
    value=st.none() | number,
    extra=st.dictionaries(st.text(), json_values),
)


@given(trials() | verdicts | st.builds(Gate) | keys)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_was_stored_is_what_is_read(value):
    text = json.dumps(encode(value))
    assert decode(type(value), json.loads(text)) == value


def test_a_whole_run_comes_back_equal():
    run = sample_run(host=True)
    assert decode(Run, json.loads(json.dumps(encode(run)))) == run


def test_the_schema_file_is_what_the_types_give():
    assert schema.FILE.read_text() == schema.render(), "run: python -m labkit.record.schema"


def test_the_schema_takes_a_whole_run():
    schema.validate(encode(sample_run(host=True)), "sample")


def test_every_object_of_the_schema_is_closed():
    definitions = schema.generate()["$defs"]
    assert {"Run", "Measurement", "TrialResult", "Environment"} <= definitions.keys()
    assert all(d["additionalProperties"] is False for d in definitions.values())


def _places(value, path=()):
    """Every dataclass in a run, with the way to its JSON object."""
    if is_dataclass(value):
        yield path, type(value)
        for f in fields(value):
            yield from _places(getattr(value, f.name), (*path, f.name))
    elif isinstance(value, tuple):
        for i, item in enumerate(value[:5]):  # the host's kinds stand first, then those of a datapath
            yield from _places(item, (*path, i))


PLACES = {cls: path for path, cls in _places(sample_run(host=True))}


@pytest.mark.parametrize("cls", PLACES, ids=lambda c: c.__name__)
def test_an_unknown_key_is_refused_by_schema_and_reader_alike(cls):
    document = json.loads(json.dumps(encode(sample_run(host=True))))
    target = document
    for step in PLACES[cls]:
        target = target[step]
    target["surprise"] = 1
    with pytest.raises(ConfigInvalid, match="surprise"):
        schema.validate(document, "it")
    with pytest.raises(CodecError, match="unknown key 'surprise'"):
        decode(Run, document)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda d: d["measurements"][0]["key"].update(ip_version="4"), "$.measurements[0].key.ip_version"),
        (lambda d: d["measurements"][0]["key"].update(ip_version=True), "$.measurements[0].key.ip_version"),
        (lambda d: d["verdicts"][1].update(outcome="maybe"), "$.verdicts[1].outcome"),
        (lambda d: d["verdicts"][1].update(test=None), "$.verdicts[1].test"),
        (lambda d: d.update(measurements={}), "$.measurements"),
        (lambda d: d["start"].update(quick=0), "$.start.quick"),
        (lambda d: d["measurements"][0].pop("key"), "$.measurements[0]"),
        (lambda d: d["environment"]["cpu"]["mitigations"].update(x=1), "$.environment.cpu.mitigations.x"),
    ],
)
def test_a_wrong_value_is_refused_with_its_json_path_by_schema_and_reader_alike(change, path):
    document = json.loads(json.dumps(encode(sample_run())))
    change(document)
    with pytest.raises(ConfigInvalid) as by_schema:
        schema.validate(document, "it")
    with pytest.raises(CodecError) as by_reader:
        decode(Run, document)
    assert f"it: {path}: " in str(by_schema.value)
    assert by_reader.value.path == path


def test_a_types_own_check_is_reported_with_its_path():
    document = encode(sample_run())
    document["measurements"][0]["throughput"]["trials"][3]["received"] = 10**12
    with pytest.raises(CodecError, match=r"^\$\.measurements\[0\]\.throughput\.trials\[3\]: negative loss"):
        decode(Run, document)


@pytest.mark.parametrize("bad", [math.nan, math.inf, {1: 2}, {"a": {3}}, {"a": [b"x"]}])
def test_what_json_cannot_hold_is_refused_with_its_path(bad):
    verdict = Verdict(
        test="t",
        key=None,
        target="t",
        outcome=Outcome.PASS,
        value=1.0,
        unit=None,
        reason="",
        extra={"k": bad},
    )
    with pytest.raises(CodecError, match=r"^\$\.extra\.k"):
        encode(verdict)


def test_a_field_with_a_default_may_be_missing():
    document = encode(DatapathKey(backend="b", mode="", topology="t", link="veth", frame="64"))
    del document["flows"]
    assert decode(DatapathKey, document).flows == 1
