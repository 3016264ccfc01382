"""What the command line answers to options that it does not have."""

from __future__ import annotations

import re

import pytest

from labkit.cli import build_parser


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["trial", "--bogus"], "labkit trial --help"),
        (["run", "-m", "latency", "--bogus"], "labkit run --help"),
        (["compare", "a", "b", "c"], "labkit compare --help"),
        (["down", "--forc"], "labkit down --help"),
        (["--bogus", "down"], "labkit --help"),
        (["bogus"], "labkit --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_an_unknown_argument_hints_at_the_help_that_lists_what_there_is(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"usage: {hint.removesuffix(' --help')} ")
    assert said.endswith(f"  hint: {hint}\n")


EMPTY = [
    *(
        ["run", f"--{name}="]
        for name in ("topology", "results", "tester", "retry", "wait", "require", "seed")
    ),
    *(["trial", f"--{name}="] for name in ("topology", "backend", "wait", "flows")),
    ["up", "--topology="],
    *(["doctor", "--host=lab", f"--{name}="] for name in ("host", "inventory", "desired")),
    ["doctor", "--host", ""],
    ["doctor", "--host", " "],
    *(["report", argument] for argument in ("", "--results=", "--html=")),
    ["compare", "", "b"],
    ["compare", "a", ""],
]


@pytest.mark.parametrize("arguments", EMPTY, ids=" ".join)
def test_an_empty_value_is_not_taken_for_none(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A script's variable that is not set: the default would be measured, checked or overwritten instead."""
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(arguments)
    assert ended.value.code == 2
    assert re.search(
        r": (expected a value, got|invalid int value:) ' ?'$", capsys.readouterr().err, re.MULTILINE
    )


def test_an_empty_mode_and_no_markers_are_values_of_their_own() -> None:
    assert build_parser().parse_args(["trial", "--mode="]).mode == ""
    assert build_parser().parse_args(["run", "-m", ""]).markers == ""


def test_what_pytest_gets_is_passed_on() -> None:
    assert build_parser().parse_args(["run", "--", "--bogus"]).pytest_arguments == ["--bogus"]
