"""What bypass buys, in words: like with like, valid rows only, never more than was shown."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from sample_run import DATAPATHS, host_measurements, sample_run

from labkit.measure.search import Irregularity
from labkit.record.model import DatapathKey, Outcome, Verdict
from labkit.results.answer import answer, times
from labkit.targets.observed import Observed

RUN = sample_run()
NOTHING = "Nothing can be said here about what kernel bypass buys: "


def where(run, wanted, change):
    """The run with the measurements changed that `wanted` picks."""
    return replace(run, measurements=tuple(change(m) if wanted(m) else m for m in run.measurements))


def invalid(m):
    return replace(m, gates=(replace(m.gates[0], state="invalid", value="3 %"), *m.gates[1:]))


def only(run, *datapaths):
    """The run with these datapaths (backend, topology) alone."""
    kept = tuple(m for m in run.measurements if (m.key.backend, m.key.topology) in datapaths)
    return replace(run, measurements=kept, verdicts=())


def searches(run):
    return replace(run, measurements=tuple(m for m in run.measurements if m.kind == "throughput"))


def by_the_tester(m):
    return replace(m, limited_by="tester")


def at_pps(m, low_pps):
    """The search with other bounds: 1 % apart, the lower one quoted."""
    found = {
        name: replace(
            getattr(m.throughput, name),
            relevant_lower_bound_pps=low_pps,
            relevant_upper_bound_pps=low_pps * 1.01,
            conditional_throughput_pps=low_pps,
        )
        for name in ("ndr", "pdr")
    }
    return replace(m, limited_by="dut", throughput=replace(m.throughput, **found))


def search_of(backend, mode=""):
    return lambda m: (m.key.backend, m.key.mode, m.kind) == (backend, mode, "throughput")


def test_it_names_the_fastest_bypass_datapath_with_lab_frames_figure_and_bound():
    found = answer(RUN)
    assert found.lead == (
        "Bypass bought throughput here: on veth with frames of 64 B, xdp, the fastest of 3 bypass datapaths, "
        "carried at least 3.08 times as many frames per second as the kernel (PDR)."
    )
    # Between the conservative sides of both, the kernel's row with the same frames on the same lab.
    veth = next(line for line in found.details if line.startswith("veth, 64 B: "))
    assert "af_xdp 2.1 to 2.15 times" in veth
    assert "unloaded round trip of xdp 5.47 µs (p50)" in veth


def test_like_is_compared_with_like_only():
    """The kernel was measured on veth; what DPDK does over shared memory is no multiple of that."""
    found = answer(RUN)
    for line in found.details:
        if line.startswith(("vhost", "memif")):
            assert "no ratio of dpdk" in line
            assert "the kernel's datapath was not measured on this lab" in line
    run = only(RUN, ("kernel", "veth"), ("dpdk", "vhost"))
    assert answer(run).lead.startswith(NOTHING + "no bypass datapath has a valid row on the same lab")


def test_what_is_invalid_is_left_out_and_counted():
    found = answer(RUN)
    assert "busy_poll" not in found.lead + " ".join(found.details)
    assert "1 of 10 measured rows is invalid and left out (af_xdp busy_poll on veth)" in found.trust


@pytest.mark.parametrize("backend", sorted({b for b, *_ in DATAPATHS}))
def test_no_figure_of_an_invalid_row_is_in_the_answer_whichever_it_is(backend):
    run = where(RUN, lambda m: m.key.backend == backend and m.kind == "latency", invalid)
    found = answer(run)
    said = re.sub(r"\(invalid: [^)]*\)", "", found.lead + " ".join(found.details))
    assert not re.search(rf"\b{backend}\b[^:;]* times", said)
    if backend == "kernel":
        assert found.lead.startswith(NOTHING)
        assert "the kernel's row is invalid" in said


def test_a_row_that_missed_a_target_counts_unless_it_is_invalid_as_well():
    key = next(m.key for m in RUN.measurements if m.key.backend == "xdp")
    failed = Verdict(test="t", key=key, target="x", outcome=Outcome.FAIL, value=1.0, unit=None, reason="slow")
    run = replace(RUN, verdicts=(failed,))
    assert "xdp, the fastest" in answer(run).lead
    doubtful = where(run, lambda m: m.key == key and m.kind == "mrr", invalid)
    assert "xdp, the fastest" not in answer(doubtful).lead.replace("af_xdp", "")


def test_two_lower_bounds_have_no_ratio():
    run = where(only(RUN, ("kernel", "veth"), ("xdp", "veth")), search_of("kernel"), by_the_tester)
    run = where(run, search_of("xdp"), by_the_tester)
    found = answer(run)
    assert found.lead == (
        f"{NOTHING}on veth, 64 B there is no ratio of xdp "
        "(its PDR and the kernel's are lower bounds, for the tester was the limit)."
    )
    assert "times" not in " ".join(found.details)


def test_to_a_kernel_that_is_a_lower_bound_the_ratio_is_at_most():
    run = where(only(RUN, ("kernel", "veth"), ("af_xdp", "veth")), search_of("kernel"), by_the_tester)
    run = replace(run, measurements=tuple(m for m in run.measurements if not m.key.mode))
    lead = answer(run).lead
    assert lead.startswith("A gain in throughput is not shown everywhere here:")
    assert re.search(r"af_xdp carried at most 2\.1\d? times", lead)


def test_a_load_that_was_never_too_much_is_at_least():
    def open_end(m):
        pdr = replace(
            m.throughput.pdr,
            regular=False,
            conditional_throughput_pps=None,
            relevant_upper_bound_pps=None,
            kind=Irregularity.MAX_LOAD_LOSSLESS,
        )
        return replace(m, limited_by="none", throughput=replace(m.throughput, pdr=pdr))

    run = only(RUN, ("kernel", "veth"), ("af_xdp", "veth"))
    run = where(run, search_of("af_xdp"), open_end)
    assert re.search(r"af_xdp,? .*carried at least 2\.\d+ times", answer(run).lead)


@pytest.mark.parametrize(
    ("share", "begins", "said"),
    [
        (0.5, "Bypass bought no throughput here:", "0.495 to 0.505 times"),
        (1.0, "A gain in throughput is not shown everywhere here:", "0.99 to 1.01 times"),
        (3.0, "Bypass bought throughput here:", "2.97 to 3.03 times"),
    ],
)
def test_a_loss_is_called_a_loss_and_a_draw_a_draw(share, begins, said):
    run = searches(only(RUN, ("kernel", "veth"), ("xdp", "veth")))
    run = where(run, search_of("kernel"), lambda m: at_pps(m, 4e5))
    run = where(run, search_of("xdp"), lambda m: at_pps(m, 4e5 * share))
    lead = answer(run).lead
    assert lead.startswith(begins)
    assert said in lead


def test_over_several_labs_the_least_gain_is_named():
    run = searches(only(RUN, ("kernel", "veth"), ("xdp", "veth")))
    other = [
        replace(m, key=replace(m.key, topology="cable")) for m in run.measurements if m.key.frame == "64"
    ]
    other = [at_pps(m, 3e5) if search_of("xdp")(m) else m for m in other]
    lead = answer(replace(run, measurements=(*run.measurements, *other))).lead
    assert lead.startswith("A gain in throughput is not shown everywhere here:")
    assert "(2 cases)" in lead
    assert lead.endswith("the least was xdp on cable, 64 B.")


def test_mrr_is_compared_with_mrr_and_named_where_there_is_no_search():
    run = only(RUN, ("kernel", "veth"), ("af_xdp", "veth"))
    run = replace(run, measurements=tuple(m for m in run.measurements if m.kind == "mrr"))
    assert answer(run).lead.endswith("as the kernel (MRR).")
    mixed = replace(
        run,
        measurements=(
            *(m for m in run.measurements if m.key.backend == "kernel"),
            *(m for m in RUN.measurements if search_of("af_xdp")(m)),
        ),
    )
    assert answer(mixed).lead.startswith(NOTHING)
    assert "no rate in common" in answer(mixed).lead


def test_packet_sockets_are_compared_but_are_no_bypass():
    run = only(RUN, ("kernel", "veth"), ("af_packet", "veth"))
    assert answer(run).lead == f"{NOTHING}no valid row is of a bypass datapath."
    assert any("af_packet 1.29 to 1.32 times" in line for line in answer(run).details)


def skipped(key):
    return Verdict(
        test="t", key=key, target="measured", outcome=Outcome.SKIP, value=None, unit=None, reason="no root"
    )


KEY = DatapathKey(backend="xdp", mode="", topology="veth", link="veth", frame="64")


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (replace(RUN, measurements=(), verdicts=()), "no datapath was measured"),
        (replace(RUN, measurements=(), verdicts=(skipped(KEY),)), "every datapath was skipped"),
        (replace(RUN, measurements=tuple(host_measurements()), verdicts=()), "no datapath was measured"),
        (where(RUN, lambda _: True, invalid), "every measured row is invalid"),
        (only(RUN, ("xdp", "veth")), "no valid row is of the kernel's own datapath"),
        (only(RUN, ("kernel", "veth")), "no valid row is of a bypass datapath"),
        (
            replace(
                only(RUN, ("kernel", "veth"), ("xdp", "veth")),
                environment=replace(
                    RUN.environment,
                    topologies=tuple(replace(t, tier="simulated") for t in RUN.environment.topologies),
                ),
            ),
            "every figure is of a model of a DUT",
        ),
    ],
    ids=["nothing", "skipped", "host only", "all invalid", "no kernel", "kernel only", "simulated"],
)
def test_where_nothing_can_be_said_that_is_said_and_why(run, why):
    found = answer(run)
    assert found.lead.startswith(NOTHING + why)
    assert "times" not in found.lead + " ".join(found.details)


def test_what_qualifies_it_is_said():
    run = sample_run(quick=True, ended=False)
    run = where(run, lambda m: m.key.backend == "xdp", lambda m: replace(m, attempt=2))
    said = "; ".join(answer(run).trust)
    for words in (
        "the run was interrupted",
        "a quick run",
        "1 row needed another attempt (xdp)",
        "links in software",
        "a virtual machine",
    ):
        assert words in said


@pytest.mark.parametrize("value", [0.0987654, 0.99951, 1.0, 1.9999, 12.3456, 99.96, 253.7])
def test_numbers_are_rounded_to_the_outside(value):
    low, high = map(float, re.findall(r"[\d.]+", times(Observed(low=value, high=value * 1.1, quoted=None))))
    assert low <= value + 1e-9
    assert high >= value * 1.1 - 1e-9
    assert low > value * 0.99
    assert times(Observed(low=value, high=None, quoted=None)).startswith("at least ")
