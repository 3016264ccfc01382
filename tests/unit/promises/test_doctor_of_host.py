"""`labkit doctor --host`: what is told of all promises together, and the exit code."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
from cases import CASES
from fakes import FakeReader, desired

from labkit.cli import main
from labkit.doctor.host import PROMISES, Broken, Kept, NotApplicable, doctor
from labkit.doctor.host.model import Promise
from labkit.errors import ConfigInvalid, EnvironmentBroken

KEPT, BROKEN, LEFT = Kept("as wanted"), Broken("1", "2"), NotApplicable("left alone")
INTERRUPTS = next(one for one in PROMISES if one.id == "cpu_isolation.interrupts")
RCU = next(one for one in PROMISES if one.id == "cpu_isolation.rcu_nocbs")
JOURNAL = "/run/labkit-host/irqs.json"


def promise(outcome) -> Promise:
    """One whose check finds this, or raises it."""

    def check(reader, desired):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Promise(id="hugepages.granted", text="they are there", check=check)


@pytest.fixture
def told(monkeypatch, capsys):
    """What `labkit doctor --host` comes to with promises that find this: exit code and output."""

    def ask(*promises, reader=None, wanted=None, options=()):
        @contextmanager
        def opened(where):
            yield reader or FakeReader(), desired(**(wanted or {}))

        monkeypatch.setattr(doctor, "opened", opened)
        monkeypatch.setattr(doctor, "PROMISES", promises)
        code = main(["doctor", "--host", "localhost", *options])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return ask


@pytest.mark.parametrize(
    ("outcomes", "code", "words"),
    [
        ([KEPT, LEFT], 0, "all 1 checks passed"),
        ([KEPT, BROKEN, LEFT], 3, "1 of 2 checks failed"),
        ([LEFT, LEFT], 1, "no check applies"),
        ([KEPT, ConfigInvalid("no cores")], 3, "1 of 2 could not be completed"),
        ([ConfigInvalid("no cores"), BROKEN], 3, "1 of 2 checks failed, 1 of 2 could not be completed"),
    ],
)
def test_exit_code_and_last_line_say_what_was_found(told, outcomes, code, words):
    found, printed = told(*map(promise, outcomes))

    assert found == code
    assert words in printed.splitlines()[-1]


def test_words_are_explained_and_a_reason_that_repeats_is_said_once(told):
    def named(name, outcome):
        return replace(promise(outcome), id=name)

    _, printed = told(named("a.one", LEFT), named("a.two", LEFT), named("a.three", BROKEN))

    assert printed.count("left alone") == 1
    assert "for the same reason as a.one" in printed
    assert "BROKEN: the value in effect is not the configured one" in printed
    assert "-: not applicable to this host" in printed
    assert "UNKNOWN" not in printed


def test_promise_that_cannot_be_told_leaves_the_others(told):
    error = ConfigInvalid("dut: hugepages_count can't be worked out", hint="set it")
    code, printed = told(promise(error), promise(BROKEN), promise(KEPT))

    assert code == 3
    assert "UNKNOWN" in printed
    assert "hugepages_count can't be worked out\n  hint: set it" in printed
    assert "BROKEN" in printed
    assert "as wanted" in printed

    _, printed = told(promise(error), promise(KEPT), options=["--json"])
    assert '"state": "unknown"' in printed
    assert '"state": "kept"' in printed


@pytest.mark.parametrize(
    "error", [ValueError("no list"), KeyError("group"), IndexError("0"), TypeError("None")]
)
def test_answer_that_nobody_expected_leaves_the_other_promises(told, error):
    code, printed = told(promise(error), promise(KEPT))

    assert code == 3
    assert "UNKNOWN hugepages.granted" in printed
    assert f"hugepages.granted: what was found can't be read ({type(error).__name__}: " in printed
    assert "as wanted" in printed
    assert "Traceback" not in printed


def test_host_that_cannot_be_reached_is_told_once(told):
    code, printed = told(promise(EnvironmentBroken("dut cannot be reached")), promise(KEPT))

    assert code == 3
    assert printed.count("cannot be reached") == 1
    assert "as wanted" not in printed


@pytest.mark.parametrize("text", ["{", "[]", '{"old": {}}', '{"fixed": 3}'])
def test_damaged_journal_of_interrupts_is_named_and_leaves_the_other_promises(told, text):
    case = CASES[INTERRUPTS.id]
    code, printed = told(
        INTERRUPTS, promise(KEPT), reader=case.kept.but(files={JOURNAL: text}), wanted=case.wanted
    )

    assert code == 3
    assert f"{JOURNAL}: not what labkit writes" in printed
    assert "as wanted" in printed


@pytest.mark.parametrize("log", ["", "rcu: INFO: rcu_preempt self-detected stall on CPU"])
def test_kernel_whose_log_of_the_boot_is_lost_is_taken_for_neither_good_nor_bad(told, log):
    case = CASES[RCU.id]
    code, printed = told(RCU, promise(KEPT), reader=case.kept.but(commands={"rcu": log}), wanted=case.wanted)

    assert code == 3
    assert "UNKNOWN" in printed
    assert "reboot to look" in printed


def test_interrupt_that_waits_to_leave_is_not_counted_as_elsewhere():
    case = CASES[INTERRUPTS.id]
    outcome = INTERRUPTS.check(case.kept, desired(**case.wanted))

    assert outcome == Kept(
        "3 interrupts elsewhere, 1 that the kernel lets nobody move, "
        "1 still there until the next interrupt (25 on 2)"
    )
    assert INTERRUPTS.check(
        case.kept.but(files={"/proc/irq/25/effective_affinity_list": "0"}), desired(**case.wanted)
    ) == Kept("4 interrupts elsewhere, 1 that the kernel lets nobody move")
