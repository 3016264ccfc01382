"""What a measurement of the host claims is what was read back: the tool's word alone proves nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit.errors import ConfigInvalid, ToolFailed
from labkit.lowlatency import hostcores, hostlatency
from labkit.lowlatency.hostcores import ThreadFacts
from labkit.lowlatency.hostlatency import Request
from labkit.lowlatency.tools import cyclictest, rtla
from labkit.lowlatency.tools.running import Finished
from labkit.measure.hosttimes import HostTimes

RECORDED = (Path(__file__).parent / "data" / "cyclictest" / "rt-tests-2.4.json").read_text()


@pytest.fixture(autouse=True)
def no_rtla(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version is asked of the program itself."""
    monkeypatch.setattr(hostlatency.rtla, "version", lambda: None)


def done(*, switches: int = 0) -> Finished:
    argv = ("/usr/bin/cyclictest", "--quiet", "--json=/dev/fd/3")
    return Finished(argv=argv, exit_code=0, stdout="", stderr="", involuntary_switches=switches)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A machine on which the recorded run has just taken place; what is read back of it can be changed."""
    facts: dict[str, object] = {
        "threads": tuple(ThreadFacts(tid=1, policy="SCHED_FIFO", priority=95) for _ in range(2)),
        "locked": 4096,
        "cores": (0, 1),
        "switches": 0,
    }

    def replay(tool, *, on_start, on_second):
        on_start(1)
        return cyclictest.parse(RECORDED), done(switches=facts["switches"])

    monkeypatch.setattr(hostlatency.cyclictest, "measure", replay)
    monkeypatch.setattr(hostlatency.hostcores, "choose", lambda asked: facts["cores"])
    monkeypatch.setattr(hostlatency.hostcores, "workers", lambda pid, count, policy: facts["threads"])
    monkeypatch.setattr(hostlatency.hostcores, "locked_kib", lambda pid: facts["locked"])
    return facts


def wakeup() -> hostlatency.HostResult:
    return hostlatency.measure(Request(kind="wakeup", duration_s=6, interval_us=500), guest=False)


def test_threads_that_are_as_they_should_be_prove_a_wakeup(host) -> None:
    found = wakeup()
    assert found.proof.proven
    assert found.tester["version"] == "2.40"
    assert found.tester["arguments"] == ["--quiet"]
    times = found.payload["wakeup"]
    assert isinstance(times, HostTimes)
    assert [core.core for core in times.cores] == [0, 1]
    assert any("/dev/cpu_dma_latency" in one for one in found.deviations)


@pytest.mark.parametrize(
    "changed",
    [
        {"threads": tuple(ThreadFacts(tid=1, policy="SCHED_OTHER", priority=0) for _ in range(2))},
        {"threads": tuple(ThreadFacts(tid=1, policy="SCHED_FIFO", priority=1) for _ in range(2))},
        {"threads": (ThreadFacts(tid=1, policy="SCHED_FIFO", priority=95),)},
        {"threads": tuple(ThreadFacts(tid=1, policy="SCHED_FIFO", priority=95) for _ in range(3))},
        {"threads": ()},
        {"locked": 0},
        {"cores": (0, 2)},
    ],
    ids=["ordinary", "priority", "one too few", "one too many", "none", "not locked", "another core"],
)
def test_threads_that_are_not_prove_nothing(host, changed) -> None:
    host.update(changed)
    assert not wakeup().proof.proven


def test_what_disturbed_the_measuring_threads_is_reported(host) -> None:
    host["switches"] = 600
    assert {g.name: g.state for g in wakeup().gates}["switches"] == "warn"


def test_timerlat_keeps_the_threads_and_tells_of_the_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    def column(context: str, max_us: int) -> rtla.TimerlatColumn:
        return rtla.TimerlatColumn(
            core=0,
            context=context,
            counted=1_001,
            beyond=1,
            min_us=1,
            mean_us=2.0,
            max_us=max_us,
            bins_us={2: 1_000},
        )

    columns = (column("irq", 20), column("thread", 300))
    monkeypatch.setattr(hostlatency.hostcores, "choose", lambda asked: (0,))
    monkeypatch.setattr(hostlatency.rtla, "measure", lambda tool, on_second: (columns, done()))
    found = hostlatency.measure(Request(kind="timerlat", duration_s=1, interval_us=500), guest=False)
    times = found.payload["timerlat"]
    assert isinstance(times, HostTimes)
    assert [(c.core, c.max_us, c.beyond) for c in times.cores] == [(0, 300, 1)]
    assert found.tester["irq_max_us_core_0"] == 20
    assert found.proof.proven


def _traced(core: int, counted: int) -> rtla.TimerlatColumn:
    figures = (
        {"min_us": 1, "mean_us": 2.0, "max_us": 2}
        if counted
        else dict.fromkeys(("min_us", "mean_us", "max_us"))
    )
    bins_us = {2: counted} if counted else {}
    return rtla.TimerlatColumn(
        core=core, context="thread", counted=counted, beyond=0, bins_us=bins_us, **figures
    )


@pytest.mark.parametrize(
    "columns", [(_traced(0, 1000), _traced(2, 0)), (_traced(0, 1000),)], ids=["-", "no column"]
)
def test_timerlat_that_saw_nothing_on_a_core_is_not_proven_and_names_it(
    monkeypatch: pytest.MonkeyPatch, columns: tuple[rtla.TimerlatColumn, ...]
) -> None:
    monkeypatch.setattr(hostlatency.hostcores, "choose", lambda asked: (0, 2))
    monkeypatch.setattr(hostlatency.rtla, "measure", lambda tool, on_second: (columns, done()))

    found = hostlatency.measure(Request(kind="timerlat", duration_s=1, interval_us=500), guest=False)

    times = found.payload["timerlat"]
    assert isinstance(times, HostTimes)
    assert [c.core for c in times.cores] == [0]
    assert not found.proof.proven
    assert found.proof.claim.endswith("cores 0; none on 2")
    assert found.proof.evidence["core 2"] == "no wake-up traced"


def test_timerlat_that_saw_nothing_at_all_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostlatency.hostcores, "choose", lambda asked: (2,))
    monkeypatch.setattr(hostlatency.rtla, "measure", lambda tool, on_second: ((_traced(2, 0),), done()))

    with pytest.raises(ToolFailed, match="no wake-up was traced on cores 2 in 1 s"):
        hostlatency.measure(Request(kind="timerlat", duration_s=1, interval_us=500), guest=False)


def test_timerlat_counts_the_periods_that_a_stall_omitted(monkeypatch: pytest.MonkeyPatch) -> None:
    stall = rtla.TimerlatColumn(
        core=0,
        context="thread",
        counted=1_001,
        beyond=1,
        min_us=1,
        mean_us=30.0,
        max_us=30_000,
        bins_us={2: 1_000},
    )
    monkeypatch.setattr(hostlatency.hostcores, "choose", lambda asked: (0,))
    monkeypatch.setattr(hostlatency.rtla, "measure", lambda tool, on_second: ((stall,), done()))
    found = hostlatency.measure(Request(kind="timerlat", duration_s=1, interval_us=500), guest=False)
    times = found.payload["timerlat"]
    assert isinstance(times, HostTimes)
    (core,) = times.cores
    assert core.omitted == 59  # 29 500 us down to 500 us
    assert core.p99_us == pytest.approx(25_000, abs=500)  # not 2 us
    assert {g.name: g.state for g in found.gates}["omitted"] == "warn"


# cores


def test_isolated_cores_are_measured_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.sched_getaffinity(0)
    monkeypatch.setattr(hostcores, "isolated", set)
    assert hostcores.choose() == tuple(sorted(own))
    monkeypatch.setattr(hostcores, "isolated", lambda: {max(own)})
    assert hostcores.choose() == (max(own),)
    assert hostcores.aside((max(own),)) == (min(own) if len(own) > 1 else None)
    assert hostcores.aside(own) is None


def test_trying_a_core_leaves_this_process_where_it_was() -> None:
    before = os.sched_getaffinity(0)
    assert hostcores.usable([min(before), 4095, -1]) == {min(before)}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("asked", [(), (0, 0), (4095,)])
def test_cores_that_cannot_be_measured_are_refused(asked: tuple[int, ...]) -> None:
    with pytest.raises(ConfigInvalid, match="cores"):
        hostcores.choose(asked)


def test_a_thread_is_read_back_of_the_thread_itself() -> None:
    (facts,) = [hostcores._facts(os.getpid(), str(os.getpid()))]
    assert facts is not None
    policies = {os.SCHED_OTHER: "SCHED_OTHER", os.SCHED_BATCH: "SCHED_BATCH", os.SCHED_IDLE: "SCHED_IDLE"}
    assert facts.policy == policies[os.sched_getscheduler(0)]
    assert facts.priority == 0
    assert hostcores._facts(os.getpid(), "1") is None or os.getpid() == 1


def test_policy_and_priority_are_those_two_fields_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [str(n) for n in range(1, 53)]  # every one holds its own number: proc_pid_stat(5)
    fields[1], fields[2] = "(odd) name 1)", "S"
    fields[40 - 1], fields[41 - 1] = "95", "1"
    monkeypatch.setattr(Path, "read_text", lambda self: " ".join(fields))
    assert hostcores._facts(1, "7") == ThreadFacts(tid=7, policy="SCHED_FIFO", priority=95)
