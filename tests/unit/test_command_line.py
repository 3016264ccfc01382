"""What the command line answers to options that it does not have."""

from __future__ import annotations

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


def test_what_pytest_gets_is_passed_on() -> None:
    assert build_parser().parse_args(["run", "--", "--bogus"]).pytest_arguments == ["--bogus"]
