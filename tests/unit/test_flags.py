"""The flags of a run: `labkit run` and pytest have the same, with the same default and help."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from labkit import plugin
from labkit.cli import build_parser
from labkit.harness import flags
from labkit.harness.commandline import joined
from labkit.harness.spelling import LabkitRun, spelt

ONLY_RUN = {"help", "slow"}
"""pytest selects tests by its own -m."""
ONLY_PYTEST = {"junit"}
"""`labkit run` always writes junit.xml."""


def of_run() -> dict[str, argparse.Action]:
    parser = build_parser()
    (verbs,) = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {
        option.removeprefix("--"): action
        for action in verbs.choices["run"]._actions
        for option in action.option_strings
        if option.startswith("--")
    }


def of_pytest() -> dict[str, argparse.Action]:
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser)
    return {
        option.removeprefix(flags.PREFIX): action
        for action in parser.optparser._actions
        for option in action.option_strings
        if option.startswith(flags.PREFIX)
    }


def test_each_flag_of_one_is_in_the_other() -> None:
    assert set(of_run()) - ONLY_RUN == set(of_pytest()) - ONLY_PYTEST


@pytest.mark.parametrize("name", sorted(set(of_run()) - ONLY_RUN))
def test_a_flag_has_the_same_default_and_help_in_both(name: str) -> None:
    run, of_plugin = of_run()[name], of_pytest()[name]
    assert (run.default or None) == (of_plugin.default or None)
    assert run.help == of_plugin.help
    assert run.metavar == of_plugin.metavar
    assert run.type is of_plugin.type


def test_what_labkit_run_is_given_reaches_pytest() -> None:
    given = [
        "run",
        "--quick",
        "--topology=a",
        "--topology=b",
        "--seed=7",
        "--retry=5min",
        "--wait",
        "--allow-invalid",
    ]
    arguments = build_parser().parse_args(given)
    passed = [word for flag in flags.of_run().values() for word in flag.as_pytest(arguments)]
    assert passed == [
        "--labkit-topology=a",
        "--labkit-topology=b",
        "--labkit-quick",
        "--labkit-results=results",
        "--labkit-seed=7",
        "--labkit-retry=5min",
        "--labkit-wait=forever",
        "--labkit-allow-invalid",
    ]


@pytest.mark.parametrize("name", sorted(flag.name for flag in flags.TABLE if flag.takes != "nothing"))
def test_an_empty_value_is_refused_by_pytest_too(name: str) -> None:
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser)
    with pytest.raises(pytest.UsageError, match=r"expected a value, got ''|invalid int value: ''"):
        parser.parse([f"{flags.PREFIX}{name}="])


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        (None, "--labkit-retry"),
        ([], "--labkit-retry"),
        ([LabkitRun()], "--retry"),
        ([LabkitRun(["--labkit-retry", "5min"])], "--labkit-retry"),
        ([LabkitRun(["--labkit-retry=5min"])], "--labkit-retry"),
        ([LabkitRun(["--labkit-wait=5min"])], "--retry"),
    ],
)
def test_an_option_is_named_as_the_user_spelt_it(plugins: list[object] | None, expected: str) -> None:
    class Config:
        invocation_params = pytest.Config.InvocationParams(args=(), plugins=plugins, dir=Path())

    assert spelt(Config(), "retry") == expected  # type: ignore[arg-type]


def test_topology_has_two_names_in_pytest() -> None:
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser)
    found = parser.parse(["--topology", "a", "--labkit-topology", "b"])
    assert found.labkit_topology == ["a", "b"]


@pytest.mark.parametrize("option", ["--topology", "--labkit-topology", "--labkit-results"])
def test_the_value_of_an_option_is_not_taken_for_the_path_of_a_test(option: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yml").touch()
    assert joined([option, "lab.yml", "-q"], tmp_path) == [f"{option}=lab.yml", "-q"]
    long = "a" * 300
    assert joined([option, long, "-q"], tmp_path) == [option, long, "-q"]
