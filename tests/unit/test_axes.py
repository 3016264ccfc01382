"""Axes: there are ticks in any range, and their labels have room beside one another at any width."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path

import pytest

import labkit.results
from labkit.results.axes import (
    CHARACTER_PX,
    WIDTHS_PX,
    Axis,
    decades,
    labelled,
    loss_decades,
    percent,
    short,
    span,
    stacked,
)
from labkit.results.drawing import x_ticks
from labkit.results.percentile_plot import PERCENTILES

RNG = random.Random(20)
RANGES = [
    (RNG.uniform(-9, 9), RNG.choice([0.0, 0.01, 0.1, 0.3, 0.7, 1.0, 2.5, 5.0, 9.0])) for _ in range(300)
]


def axes() -> list[Axis]:
    found = [
        span("x", [10.0**at, 10.0 ** (at + wide)], unit=unit)
        for at, wide in RANGES
        for unit in ("pps", "us", "")
    ]
    found += [decades("x", [10.0**at, 10.0 ** (at + wide)]) for at, wide in RANGES]
    found += [loss_decades("x", [0.0, 10.0 ** min(at, 2.0)]) for at, _ in RANGES]
    found += [percent("x", high) for high in (1.0, 2.0, 4.0, 100.0)]
    found += [
        Axis("p", 1.0, 10.0**n, tuple((10.0**p, w) for p, w in PERCENTILES.items() if p <= n))
        for n in range(2, 9)
    ]
    return found


def test_every_range_has_ticks_enough_to_read_it_by():
    for at, wide in RANGES:
        axis = span("x", [10.0**at, 10.0 ** (at + wide)])
        assert len(axis.ticks) >= 3, axis
        assert all(axis.low * (1 - 1e-9) <= v <= axis.high * (1 + 1e-9) for v, _ in axis.ticks)
        assert len({label for _, label in axis.ticks}) == len(axis.ticks), axis


@pytest.mark.parametrize("inside", [False, True])
def test_labels_do_not_touch_at_any_width_from_which_they_are_shown(inside):
    for axis in axes():
        for width_px in WIDTHS_PX:
            shown = labelled(axis, width_px, inside=inside)
            assert shown, axis
            ends = {0: "start", len(axis.ticks) - 1: "end"} if inside else {}
            boxes = []
            for at, label in shown:
                index = next(
                    i for i, (v, text) in enumerate(axis.ticks) if text == label and axis.place(v) == at
                )
                wide = len(label) * CHARACTER_PX
                left = {"start": 0.0, "end": -wide}.get(ends.get(index, ""), -wide / 2) + at * width_px
                boxes.append((left, left + wide))
            assert all(b[0] >= a[1] for a, b in pairwise(boxes)), (axis, width_px)


def test_a_wider_chart_never_shows_fewer_labels():
    for axis in axes():
        counts = [len(labelled(axis, width)) for width in WIDTHS_PX]
        assert counts == sorted(counts), axis


def test_labels_above_one_another_have_room_in_the_lowest_chart():
    for axis in axes():
        places = [at for at, _ in stacked(axis)]
        assert len(places) >= 2 or len(axis.ticks) < 2, axis
        assert all(b - a >= 0.08 for a, b in pairwise(places))


def test_powers_of_ten_are_the_last_to_go():
    axis = span("load", [1e4, 1.5e6], unit="pps")
    narrow = [label for _, label in labelled(axis, WIDTHS_PX[0])]
    assert {"10 k", "100 k", "1 M"} <= set(narrow)


def test_the_style_sheet_knows_the_widths():
    style = (Path(labkit.results.__file__).parent / "templates/report.css").read_text()
    assert tuple(map(int, re.findall(r"\.x-ticks\.from-(\d+)", style))) == WIDTHS_PX
    assert [int(w) for w in re.findall(r"@container \(min-width: (\d+)px\)", style)] == list(WIDTHS_PX[1:])
    assert all(f"from-{w}" in x_ticks(percent("x")) for w in WIDTHS_PX)


@pytest.mark.parametrize(
    ("value", "unit", "label"),
    [
        (1e8, "", "100 M"),
        (1e4, "", "10 k"),
        (5e5, "pps", "500 k"),
        (2.0, "us", "2 µs"),
        (0.5, "us", "500 ns"),
        (2e6, "us", "2 s"),
    ],
)
def test_a_label_has_the_unit_that_fits(value, unit, label):
    assert short(value, unit) == label
