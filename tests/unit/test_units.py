"""Quantities, comparisons and loads as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import ConfigInvalid
from labkit.units import (
    Unit,
    format_quantity,
    parse_bound,
    parse_load,
    parse_quantity,
    parse_trial_load,
    parse_whole,
)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("10 Mpps", Unit.PPS, 1e7),
        ("1.5kpps", Unit.PPS, 1500.0),
        ("100 us", Unit.SECONDS, 1e-4),
        ("100 µs", Unit.SECONDS, 1e-4),
        ("2 MiB", Unit.BYTES, 2097152.0),
        ("0.5 %", Unit.RATIO, 0.005),
        ("5x", Unit.RATIO, 5.0),
        ("0.25", Unit.RATIO, 0.25),
    ],
)
def test_a_quantity_is_read_into_its_base_unit(text: str, unit: Unit, value: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("10 Mpps", Unit.SECONDS, "'us'"),
        ("10", Unit.PPS, "'Mpps'"),
        ("10 mpps", Unit.PPS, "'Mpps'"),
        ("ten us", Unit.SECONDS, "'us'"),
        ("-1 us", Unit.SECONDS, "'us'"),
        ("", Unit.BYTES, "'MiB'"),
    ],
)
def test_a_wrong_unit_is_refused_and_the_right_ones_are_named(text: str, unit: Unit, expected: str) -> None:
    with pytest.raises(ConfigInvalid, match=expected):
        parse_quantity(text, unit)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("064", 64),
        ("²", None),
        ("٦٤", None),
        ("-1", None),
        ("", None),
        ("64\n", None),
        ("1_0", None),
        ("9" * 5000, None),
    ],
)
def test_a_whole_number_has_digits_of_ascii_alone(text: str, value: int | None) -> None:
    assert parse_whole(text) == value


@given(
    value=st.floats(1e-9, 1e12),
    unit=st.sampled_from([Unit.PPS, Unit.SECONDS, Unit.RATIO]),
    digits=st.integers(2, 9),
)
def test_what_is_written_is_read_back(value: float, unit: Unit, digits: int) -> None:
    text = format_quantity(value, unit, digits=digits)
    assert parse_quantity(text, unit) == pytest.approx(value, rel=10.0 ** (1 - digits))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12_345_678.0, Unit.PPS, "12.35 Mpps"),
        (999_999.0, Unit.PPS, "1 Mpps"),
        (0.0, Unit.PPS, "0 pps"),
        (1.5e-5, Unit.SECONDS, "15 us"),
        (0.005, Unit.RATIO, "0.5 %"),
        (5.0, Unit.RATIO, "500 %"),
        (12345.0, Unit.RATIO, "1234000 %"),
        (1536.0, Unit.BYTES, "1.5 KiB"),
    ],
)
def test_a_quantity_is_written_in_its_largest_fitting_unit(value: float, unit: Unit, text: str) -> None:
    assert format_quantity(value, unit) == text


@pytest.mark.parametrize(
    ("text", "below", "at", "above"),
    [
        (">= 10 kpps", False, True, True),
        ("> 10 kpps", False, False, True),
        ("<= 10 kpps", True, True, False),
        ("<10 kpps", True, False, False),
    ],
)
def test_a_bound_holds_on_its_side(text: str, below: bool, at: bool, above: bool) -> None:
    bound = parse_bound(text, Unit.PPS)
    assert (bound.holds(9999.0), bound.holds(10000.0), bound.holds(10001.0)) == (below, at, above)


@pytest.mark.parametrize("text", ["10 kpps", "== 10 kpps", ">=", ">= 10 us"])
def test_a_bound_without_comparison_or_unit_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        parse_bound(text, Unit.PPS)


def test_a_load_is_idle_a_rate_or_a_share() -> None:
    assert parse_load(" Idle ").text == "idle"
    assert parse_load("100 kpps").pps == 1e5
    half = parse_load("50 % of pdr")
    assert (half.text, half.share, half.of) == ("50% PDR", 0.5, "PDR")
    assert parse_load("10% MRR").of == "MRR"


@pytest.mark.parametrize("text", ["", "50%", "half PDR", "0% PDR", "0 pps", "10 us", "5000% PDR", "max"])
def test_a_load_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="expected a"):
        parse_load(text)


def test_a_trials_load_is_a_rate_or_max() -> None:
    assert parse_trial_load("2 Mpps").pps == 2e6
    assert parse_trial_load(" Max ").pps is None


@pytest.mark.parametrize("text", ["", "10", "idle", "50% PDR", "10 us"])
def test_a_trials_load_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="expected a load such as '100 kpps' or 'max'"):
        parse_trial_load(text)
