"""`labkit doctor --host`: what is reported of all host checks, and the exit code."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
from cases import CASES
from fakes import FakeReader, desired

from labkit.cli import main
from labkit.doctor.host import HOST_CHECKS, Failed, NotApplicable, Passed, doctor
from labkit.doctor.host.model import HostCheck
from labkit.errors import ConfigInvalid, EnvironmentBroken

PASSED, FAILED, LEFT = Passed("as wanted"), Failed("1", "2"), NotApplicable("left alone")
INTERRUPTS = next(one for one in HOST_CHECKS if one.id == "cpu_isolation.interrupts")
RCU = next(one for one in HOST_CHECKS if one.id == "cpu_isolation.rcu_nocbs")
JOURNAL = "/run/labkit-host/irqs.json"


def check(outcome) -> HostCheck:
    """One whose check finds this, or raises it."""

    def read(reader, desired):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return HostCheck(id="hugepages.granted", text="they are there", check=read)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `labkit doctor --host` with host checks of these outcomes: exit code and output."""

    def ask(*checks, reader=None, wanted=None, options=()):
        @contextmanager
        def opened(where):
            yield reader or FakeReader(), desired(**(wanted or {}))

        monkeypatch.setattr(doctor, "opened", opened)
        monkeypatch.setattr(doctor, "HOST_CHECKS", checks)
        code = main(["doctor", "--host", "localhost", *options])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return ask


@pytest.mark.parametrize(
    ("outcomes", "code", "words"),
    [
        ([PASSED, LEFT], 0, "all 1 checks passed"),
        ([PASSED, FAILED, LEFT], 3, "1 of 2 checks failed"),
        ([LEFT, LEFT], 1, "no check applies"),
        ([PASSED, ConfigInvalid("no cores")], 3, "1 of 2 could not be completed"),
        ([ConfigInvalid("no cores"), FAILED], 3, "1 of 2 checks failed, 1 of 2 could not be completed"),
    ],
)
def test_exit_code_and_last_line_say_what_was_found(run, outcomes, code, words):
    found, printed = run(*map(check, outcomes))

    assert found == code
    assert words in printed.splitlines()[-1]


def test_words_are_explained_and_a_reason_that_repeats_is_printed_once(run):
    def named(name, outcome):
        return replace(check(outcome), id=name)

    _, printed = run(named("a.one", LEFT), named("a.two", LEFT), named("a.three", FAILED))

    assert printed.count("left alone") == 1
    assert "for the same reason as a.one" in printed
    assert "FAILED: the value in effect is not the configured one" in printed
    assert "-: not applicable to this host" in printed
    assert "UNKNOWN" not in printed


def test_check_that_cannot_be_completed_leaves_the_others(run):
    error = ConfigInvalid("dut: hugepages_count can't be worked out", hint="set it")
    code, printed = run(check(error), check(FAILED), check(PASSED))

    assert code == 3
    assert "UNKNOWN" in printed
    assert "hugepages_count can't be worked out\n  hint: set it" in printed
    assert "FAILED" in printed
    assert "as wanted" in printed

    _, printed = run(check(error), check(PASSED), options=["--json"])
    assert '"state": "unknown"' in printed
    assert '"state": "kept"' in printed


@pytest.mark.parametrize(
    "error", [ValueError("no list"), KeyError("group"), IndexError("0"), TypeError("None")]
)
def test_answer_that_nobody_expected_leaves_the_other_checks(run, error):
    code, printed = run(check(error), check(PASSED))

    assert code == 3
    assert "UNKNOWN hugepages.granted" in printed
    assert f"hugepages.granted: what was found can't be read ({type(error).__name__}: " in printed
    assert "as wanted" in printed
    assert "Traceback" not in printed


def test_host_that_cannot_be_reached_is_reported_once(run):
    code, printed = run(check(EnvironmentBroken("dut cannot be reached")), check(PASSED))

    assert code == 3
    assert printed.count("cannot be reached") == 1
    assert "as wanted" not in printed


@pytest.mark.parametrize("text", ["{", "[]", '{"old": {}}', '{"fixed": 3}'])
def test_damaged_journal_of_interrupts_is_named_and_leaves_the_other_checks(run, text):
    case = CASES[INTERRUPTS.id]
    code, printed = run(
        INTERRUPTS, check(PASSED), reader=case.passing.but(files={JOURNAL: text}), wanted=case.wanted
    )

    assert code == 3
    assert f"{JOURNAL}: not what labkit writes" in printed
    assert "as wanted" in printed


@pytest.mark.parametrize("log", ["", "rcu: INFO: rcu_preempt self-detected stall on CPU"])
def test_kernel_whose_log_of_the_boot_is_lost_is_taken_for_neither_good_nor_bad(run, log):
    case = CASES[RCU.id]
    code, printed = run(
        RCU, check(PASSED), reader=case.passing.but(commands={"rcu": log}), wanted=case.wanted
    )

    assert code == 3
    assert "UNKNOWN" in printed
    assert "reboot and check again" in printed


def test_interrupt_that_moves_later_is_not_counted_as_on_other_cores():
    case = CASES[INTERRUPTS.id]
    outcome = INTERRUPTS.check(case.passing, desired(**case.wanted))

    assert outcome == Passed(
        "3 interrupts on other cores, 1 fixed by the kernel, 1 to move with the next interrupt (25 on 2)"
    )
    assert INTERRUPTS.check(
        case.passing.but(files={"/proc/irq/25/effective_affinity_list": "0"}), desired(**case.wanted)
    ) == Passed("4 interrupts on other cores, 1 fixed by the kernel")
