from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import math
import re
import shlex
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest
from sample_run import DATAPATHS, sample_run

from labkit import format as fmt
from labkit.cli import main
from labkit.errors import EnvironmentBroken
from labkit.measure.gate import Gate
from labkit.measure.predictability import Predictability, Spread
from labkit.record.codec import encode
from labkit.record.model import DatapathKey, HostKey, Outcome, Verdict
from labkit.results import marks
from labkit.results import reference_claims as claims_module
from labkit.results.answer import answer
from labkit.results.names import frame_size, name
from labkit.results.outcomes import closing_lines
from labkit.results.percentile_plot import rarity
from labkit.results.plots import judge
from labkit.results.reference_claims import NOT_MEASURED, gap_ns, reference_claims
from labkit.results.report import html, notices, render
from labkit.results.row import Row
from labkit.results.rows import rows
from labkit.results.table import print_table
from labkit.results.to_kernel import ratio_basis
from labkit.results.trust import status
from labkit.targets.rates import FAR_BELOW

RUN = sample_run()
HOSTILE = "<script>alert(1)</script>'\"&{{7*7}}</style>"


def row(run, backend: str, link: str, frame: str = "64", mode: str = "") -> Row:
    return next(
        r for r in rows(run) if (r.backend, r.topology, r.frame, r.mode) == (backend, link, frame, mode)
    )


def without(run, **changes):
    return replace(run, measurements=tuple(replace(m, **changes) for m in run.measurements))


# rows


def test_every_datapath_and_every_skipped_backend_is_a_row():
    found = rows(RUN)
    assert [(r.backend, r.mode, r.topology, r.frame) for r in found] == [
        *DATAPATHS,
        ("onload", "", "nics", "64"),
    ]
    skipped = found[-1]
    assert skipped.verdict == "skip"
    assert "fix: none but by the role openonload" in skipped.reason
    assert skipped.pdr_pps is skipped.rtt_p50_us is skipped.limited_by is None


def test_the_json_rows_have_the_documented_keys():
    keys = "backend link frame_size_bytes ndr_pps pdr_pps mrr_pps rtt_p50_us rtt_p99_us rtt_p999_us verdict reason"
    assert set(keys.split()) <= row(RUN, "kernel", "veth").as_json().keys()


def test_a_rows_figures_are_those_of_its_measurements():
    r = row(RUN, "dpdk", "vhost")
    mine = {m.kind: m for m in RUN.measurements if m.key == r.key}
    assert r.ndr_pps == mine["throughput"].throughput.ndr.conditional_throughput_pps
    assert r.pdr_pps == mine["throughput"].throughput.pdr.conditional_throughput_pps
    assert r.mrr_pps == mine["mrr"].mrr.median_pps
    idle, _, half, _ = mine["latency"].latency.points
    assert (r.rtt_p50_us, r.rtt_p999_us, r.rtt_max_us) == (idle.p50_us, idle.p999_us, idle.max_us)
    assert (r.rtt_50pdr_p50_us, r.rtt_50pdr_max_us) == (half.p50_us, half.max_us)
    assert r.frame_size_bytes == 64


def test_a_frame_size_that_is_no_number_is_shown_as_it_is():
    """A file of results may come from elsewhere."""
    odd = replace(RUN, measurements=tuple(replace(m, key=odd_key(m.key)) for m in RUN.measurements))
    r = row(odd, "dpdk", "vhost", "²")
    assert r.frame_size_bytes is None
    assert fmt.frame(r.frame) == frame_size(r) == "²"


def odd_key(key):
    return replace(key, frame="²") if isinstance(key, DatapathKey) and key.frame == "64" else key


def test_the_ratio_is_to_the_kernel_with_the_same_frames():
    big = row(RUN, "dpdk", "vhost", "1518")
    kernel = row(RUN, "kernel", "veth", "1518")
    assert big.ratio_to_kernel == pytest.approx(big.pdr_pps / kernel.pdr_pps)
    assert big.mrr_ratio_to_kernel == pytest.approx(big.mrr_pps / kernel.mrr_pps)
    assert kernel.ratio_to_kernel == 1


def invalid(m):
    return replace(m, gates=tuple(replace(g, state="invalid") for g in m.gates))


def test_vs_kernel_is_like_to_like_or_nothing_and_says_why():
    """Without a PDR there is no ratio of MRRs in its place, and what is invalid has none and is no base of one."""
    no_pdr = replace(
        RUN,
        measurements=tuple(m for m in RUN.measurements if (m.key.backend, m.kind) != ("xdp", "throughput")),
    )
    r = row(no_pdr, "xdp", "veth")
    assert (r.ratio_to_kernel, r.ratio_note) == (None, "its PDR was not measured")
    line = next(line for line in printed(no_pdr).splitlines() if line.startswith("xdp"))
    assert "×" not in line  # noqa: RUF001

    own = with_row(RUN, "dpdk", "vhost", "throughput", invalid)
    assert row(own, "dpdk", "vhost").ratio_note == "invalid itself"
    other = with_row(RUN, "dpdk", "vhost", "latency", invalid)
    assert row(other, "dpdk", "vhost").ratio_to_kernel is None

    base = with_row(RUN, "kernel", "veth", "throughput", invalid)
    for link in ("vhost", "memif"):
        r = row(base, "dpdk", link)
        assert (r.ratio_to_kernel, r.ratio_note) == (None, "the kernel's PDR on veth is invalid")
    assert "no ratio to the kernel for af_packet on veth, 64 B; " in printed(base)
    assert "the kernel's PDR on veth is invalid" in Page(html(base)).text


def test_where_nothing_has_a_pdr_the_mrrs_are_compared_and_the_head_says_so():
    run = replace(RUN, measurements=tuple(m for m in RUN.measurements if m.kind == "mrr"))
    assert ratio_basis(rows(run)) == "mrr"
    heads, units, *lines = printed(run).splitlines()
    assert heads.split()[:2] == ["vs", "kernel"]
    assert units.split().count("MRR") == 2  # its own column, and what the ratio is of
    dpdk = next(line for line in lines if line.startswith("dpdk ") and " vhost " in line and " 64 " in line)
    assert "27.2×" in dpdk  # noqa: RUF001


def test_a_ratio_of_a_lower_bound_is_a_bound_that_holds_and_of_two_there_is_none():
    def capped(m):
        return replace(m, limited_by="tester")

    exact, kernel = row(RUN, "dpdk", "vhost"), row(RUN, "kernel", "veth")
    search = {
        m.key.backend: m.throughput.pdr for m in RUN.measurements if m.throughput and m.key.frame == "64"
    }
    own = row(with_row(RUN, "dpdk", "vhost", "throughput", capped), "dpdk", "vhost")
    assert own.ratio_bound == "at least"
    assert own.ratio_to_kernel == pytest.approx(exact.pdr_pps / search["kernel"].relevant_upper_bound_pps)
    base_capped = with_row(RUN, "kernel", "veth", "throughput", capped)
    base = row(base_capped, "dpdk", "vhost")
    assert base.ratio_bound == "at most"
    assert base.ratio_to_kernel > exact.ratio_to_kernel
    assert f"≤ {fmt.ratio(base.ratio_to_kernel, bound='at most')}" in printed(base_capped)
    both = row(with_row(base_capped, "dpdk", "vhost", "throughput", capped), "dpdk", "vhost")
    assert (both.ratio_to_kernel, both.ratio_note) == (
        None,
        "its PDR and the kernel's are both lower bounds (≥)",
    )
    assert kernel.ratio_to_kernel == 1


def test_a_ratio_to_the_kernel_on_another_kind_of_link_says_so_by_name():
    assert row(RUN, "dpdk", "vhost").ratio_base == "veth"
    (note,) = [line for line in printed(RUN).splitlines() if line.startswith("vs kernel for")]
    assert "dpdk on vhost, 64 B" in note
    assert "to the kernel on veth, which is another kind of link" in note
    assert "af_xdp" not in note


def test_a_pdr_far_below_the_mrr_is_doubted_in_words_and_makes_no_ratio():
    """At half of what it can forward, a queue of seven places would hold the loss: see rates.FAR_BELOW."""
    rho, room = FAR_BELOW, 7
    assert (1 - rho) * rho**room / (1 - rho ** (room + 1)) < 0.005  # M/M/1/7
    pdr = row(RUN, "kernel", "veth").pdr_pps
    near, far = (with_mrr(RUN, "kernel", "veth", pps) for pps in (1.9 * pdr, 2.1 * pdr))
    assert row(near, "kernel", "veth").doubt == ""
    assert row(near, "dpdk", "vhost").ratio_to_kernel is not None
    doubt = row(far, "kernel", "veth").doubt
    assert doubt.startswith("PDR is 48 % of MRR (")
    assert f"doubt kernel on veth, 64 B: {doubt}" in printed(far)
    assert doubt in Page(html(far)).text
    assert row(far, "dpdk", "vhost").ratio_note == "the kernel's PDR on veth is far below its MRR"
    assert row(far, "kernel", "veth").ratio_note == ""  # to itself


def test_a_figure_that_one_gate_makes_invalid_is_doubted_although_the_row_passes():
    gates = (replace(RUN.measurements[0].gates[0], name="stability-ndr", state="invalid"),)
    run = with_row(RUN, "kernel", "veth", "throughput", lambda m: replace(m, gates=gates))
    r = row(run, "kernel", "veth")
    assert r.verdict == "pass"
    assert r.doubt.startswith("NDR: gate stability-ndr: ")


def relative_to_an_invalid_pdr(m):
    base = Gate(name="base-pdr", state="invalid", value="PDR is invalid by stability", limit="valid", why="")
    return replace(m, gates=(*m.gates, base))


def test_a_load_relative_to_an_invalid_rate_is_doubted_alone():
    run = with_row(RUN, "dpdk", "vhost", "latency", relative_to_an_invalid_pdr)
    r = row(run, "dpdk", "vhost")
    assert (r.verdict, r.ratio_note) == (row(RUN, "dpdk", "vhost").verdict, "")
    assert r.verdict != "invalid"
    why = "round trips at loads relative to PDR: gate base-pdr: PDR is invalid by stability (valid)"
    assert r.doubt == why
    assert f"doubt dpdk on vhost, 64 B: {why}" in printed(run)
    assert [status(run, r, "latency", load=load) for load in ("idle", "50% PDR", "50% NDR", "10 kpps")] == [
        "",
        "invalid",
        "",
        "",
    ]
    (line,) = [line for line in printed(run).splitlines() if re.search(r" / [\d.]+\?", line)]
    assert line.split()[:3] == ["dpdk", "vhost", "64"]
    assert "?: invalid by itself; the reason is above" in printed(run)
    assert (r.as_json()["rtt_50pdr_invalid"], r.as_json()["ndr_invalid"]) == (True, False)
    page = Page(html(run)).text
    assert page.count("invalid") > Page(html(RUN)).text.count("invalid")
    assert why in page
    assert "at 50% PDR: p50 1.48" not in reference_claims(run)[-1].measured
    assert "memif" in reference_claims(run)[-1].measured  # the next best
    assert "dpdk on vhost" not in reference_claims(run)[-2].measured


def single_load(run):
    """The run with a latency at one load besides, made after the ladder."""
    ladder = next(
        m for m in run.measurements if (m.key.backend, m.key.topology, m.kind) == ("xdp", "veth", "latency")
    )
    one = replace(ladder.latency.points[1], load="10 kpps", load_pps=1e4)
    later = replace(ladder, latency=replace(ladder.latency, points=(one,)), variant="10 kpps")
    return replace(run, measurements=(*run.measurements, later))


def test_a_latency_at_one_load_hides_no_other_of_its_row():
    run = single_load(RUN)
    assert row(run, "xdp", "veth") == row(RUN, "xdp", "veth")
    assert row(run, "xdp", "veth").rtt_50pdr_p50_us is not None
    page, before = Page(html(run)).text, Page(html(RUN)).text
    assert page.count("10 kpps") > before.count("10 kpps")
    assert page.count("90% PDR") == before.count("90% PDR")
    last_first = replace(run, measurements=tuple(reversed(run.measurements)))
    assert row(last_first, "xdp", "veth").rtt_p50_us == row(run, "xdp", "veth").rtt_p50_us


def test_a_row_that_fails_says_too_what_of_it_cannot_be_trusted():
    run = with_row(RUN, "dpdk", "veth", "latency", invalid, mode="net_af_xdp")
    r = row(run, "dpdk", "veth", mode="net_af_xdp")
    assert r.verdict == "fail"
    assert "besides, not to be trusted: latency: steal" in r.reason


def test_a_kernel_that_overload_silences_is_neither_a_base_nor_slower_than_it_is():
    def silenced(m):
        if (m.key.backend, m.kind) != ("kernel", "mrr"):
            return m
        trials = (replace(m.mrr.trials[0], received=0), *m.mrr.trials[1:])
        return replace(m, mrr=replace(m.mrr, trials=trials, median_pps=170.0, ci95_low_pps=0.0))

    run = replace(RUN, measurements=tuple(map(silenced, RUN.measurements)))

    assert row(run, "dpdk", "vhost").mrr_ratio_to_kernel is None
    assert row(RUN, "dpdk", "vhost").mrr_ratio_to_kernel is not None
    kernel = reference_claims(run)[0]
    assert fmt.pps(row(run, "kernel", "veth").pdr_pps) in kernel.measured


def test_without_a_kernel_row_there_is_no_ratio():
    run = replace(RUN, measurements=tuple(m for m in RUN.measurements if m.key.backend != "kernel"))
    assert row(run, "dpdk", "vhost").ratio_to_kernel is None


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        (["pass", "skip"], "skip"),
        (["skip", "invalid", "pass"], "invalid"),
        (["invalid", "fail", "pass"], "fail"),
        (["pass"], "pass"),
    ],
)
def test_a_rows_verdict_is_the_worst_of_its_targets(outcomes, worst):
    key = RUN.measurements[0].key
    verdicts = tuple(
        Verdict(
            test="t", key=key, target="x", outcome=Outcome(o), value=1.0, unit=None, reason=f"because {o}"
        )
        for o in outcomes
    )
    r = row(replace(RUN, verdicts=verdicts), "kernel", "veth")
    assert (r.verdict, r.reason) == (worst, f"x: because {worst}")


def test_a_measurement_that_cannot_be_trusted_is_never_a_pass():
    run = replace(RUN, verdicts=tuple(v for v in RUN.verdicts if v.outcome is Outcome.PASS))
    r = row(run, "af_xdp", "veth", mode="busy_poll")
    assert r.verdict == "invalid"
    assert "steal" in r.reason
    unproven = without(RUN, proof=replace(RUN.measurements[0].proof, proven=False))
    assert {r.verdict for r in rows(unproven)} == {"invalid", "fail", "skip"}


def test_a_gate_of_one_metric_does_not_take_the_others_down():
    gates = (replace(RUN.measurements[0].gates[0], name="stability-ndr", state="invalid"),)
    assert row(without(RUN, gates=gates), "kernel", "veth").verdict == "pass"


def test_what_the_search_found_no_upper_bound_for_is_at_least():
    m = RUN.measurements[0]
    from labkit.measure.search import Irregularity

    open_end = replace(
        m.throughput.pdr,
        regular=False,
        conditional_throughput_pps=None,
        relevant_upper_bound_pps=None,
        relevant_lower_bound_pps=5e5,
        kind=Irregularity.MAX_LOAD_LOSSLESS,
    )
    changed = replace(m, limited_by="none", throughput=replace(m.throughput, pdr=open_end))
    r = row(replace(RUN, measurements=(changed, *RUN.measurements[1:])), "kernel", "veth")
    assert r.pdr_pps == 5e5
    assert [rate.at_least for rate in r.rates] == [False, True, False]
    assert marks.limits(r) == "dut (NDR, MRR), none (PDR)"


def long_names(run):
    """The run with names as long as they come."""

    def key(k):
        more = {} if isinstance(k, HostKey) else {"ip_version": 6, "flows": 1024}
        return replace(k, topology=f"{k.topology}-through-the-rack", **more)

    hosts = [
        Verdict(test="h", key=m.key, target="x", outcome=Outcome.PASS, value=None, unit=None, reason="")
        for m in run.measurements
        if isinstance(m.key, HostKey)
    ]
    return replace(
        run,
        measurements=tuple(replace(m, key=key(m.key)) for m in run.measurements),
        verdicts=tuple(replace(v, key=key(v.key)) if v.key else v for v in (*hosts, *run.verdicts)),
    )


WIDE = long_names(sample_run(host=True))


@cache
def wide_lines() -> str:
    return printed(WIDE, 100_000)


def with_row(run, backend: str, link: str, kind: str, change, frame: str = "64", mode: str = ""):
    """The run with the measurements of one kind of one row changed."""
    wanted = (backend, mode, link, frame, kind)
    return replace(
        run,
        measurements=tuple(
            change(m) if (m.key.backend, m.key.mode, m.key.topology, m.key.frame, m.kind) == wanted else m
            for m in run.measurements
        ),
    )


def with_mrr(run, backend: str, link: str, pps: float, limited_by: str = "dut"):
    def change(m):
        mrr = replace(m.mrr, median_pps=pps, min_pps=pps, max_pps=pps, ci95_low_pps=pps, ci95_high_pps=pps)
        return replace(m, mrr=mrr, limited_by=limited_by)

    return with_row(run, backend, link, "mrr", change)


def printed(run, width: int = 100_000) -> str:
    out = io.StringIO()
    print_table(run, file=out, width=width)
    return out.getvalue()


def test_each_rate_has_a_mark_of_its_own_in_table_page_and_json():
    """The tester was the limit of the search, and the DUT of the MRR: it went silent."""
    run = with_row(RUN, "af_packet", "veth", "throughput", lambda m: replace(m, limited_by="tester"))
    run = with_mrr(run, "af_packet", "veth", 0.0)
    r = row(run, "af_packet", "veth")
    assert [(rate.limited_by, rate.at_least) for rate in r.rates] == [
        ("tester", True),
        ("tester", True),
        ("dut", False),
    ]
    found = r.as_json()
    assert (found["ndr_at_least"], found["pdr_at_least"], found["mrr_at_least"]) == (True, True, False)
    assert found["limited_by"] == "tester"
    line = next(line for line in printed(run).splitlines() if line.startswith("af_packet"))
    assert re.search(r"≥ \S+ kpps +≥ \S+ kpps +0 pps", line)
    assert "tester (NDR, PDR), dut (MRR)" in line
    for text in (printed(run), Page(html(run)).text, str(reference_claims(run))):
        assert not re.search(r"(≥|at least|≤) 0\b(?![.])", text)


def test_nothing_is_at_least_zero_even_where_the_tester_was_the_limit():
    run = with_mrr(RUN, "af_packet", "veth", 0.0, limited_by="tester")
    assert not row(run, "af_packet", "veth").rate("mrr").at_least
    assert "≥ 0" not in printed(run)


def test_the_tester_may_be_the_limit_of_one_goal_only():
    """What is missing at the PDR's upper bound was never sent; at the NDR's it was sent and lost."""

    def change(m):
        ndr, pdr = m.throughput.ndr, m.throughput.pdr
        ndr = replace(ndr, relevant_upper_bound_pps=2e5)
        pdr = replace(pdr, relevant_upper_bound_pps=3e5)
        lost = replace(m.throughput.trials[1], intended_load_pps=2e5, intended=1000, sent=1000, received=900)
        unsent = replace(lost, intended_load_pps=3e5, sent=900, received=900)
        trials = (m.throughput.trials[0], lost, unsent)
        return replace(
            m, limited_by="tester", throughput=replace(m.throughput, ndr=ndr, pdr=pdr, trials=trials)
        )

    r = row(with_row(RUN, "kernel", "veth", "throughput", change), "kernel", "veth")
    assert [rate.limited_by for rate in r.rates] == ["dut", "tester", "dut"]


def test_the_closing_line_counts_all_four_even_where_none_is():
    assert closing_lines(RUN)[0] == "targets: 8 passed, 1 failed, 2 skipped, 1 invalid"
    none = "0 passed, 0 failed, 0 skipped, 0 invalid"
    assert closing_lines(replace(RUN, verdicts=())) == (f"targets: {none}", f"tests:   {none}")


def test_targets_and_tests_are_counted_apart_and_each_line_says_which_it_counts():
    """Three targets of one test, and one without any, which is no target that was met."""
    key = RUN.measurements[0].key

    def verdict(test: str, target: str, outcome: str) -> Verdict:
        return Verdict(
            test=test, key=key, target=target, outcome=Outcome(outcome), value=1.0, unit=None, reason="so"
        )

    ends = [("a", "pdr >= 1 pps", "pass"), ("a", "ndr >= 1 pps", "pass"), ("a", "p99 <= 1 us", "fail")]
    run = replace(RUN, verdicts=tuple(verdict(*end) for end in [*ends, ("b", "measured", "pass")]))
    targets, tests = closing_lines(run)
    assert targets.startswith(
        "targets: 3 passed, 1 failed, 0 skipped, 0 invalid (1 of the passed had no target"
    )
    assert tests == "tests:   1 passed, 1 failed, 0 skipped, 0 invalid"
    assert printed(run).rstrip().endswith(f"{targets}\n{tests}")
    assert targets in Page(html(run)).text
    assert tests in Page(html(run)).text


def test_a_reason_names_the_targets_that_it_belongs_to_and_is_said_once():
    key = RUN.measurements[0].key
    verdicts = tuple(
        Verdict(test="t", key=key, target=t, outcome=Outcome.FAIL, value=1.0, unit=None, reason=why)
        for t, why in [("pdr >= 1 Mpps", "416 kpps"), ("ndr >= 1 Mpps", "416 kpps"), ("p99 <= 1 us", "9 us")]
    )
    expected = "pdr >= 1 Mpps, ndr >= 1 Mpps: 416 kpps; p99 <= 1 us: 9 us"
    assert row(replace(RUN, verdicts=verdicts), "kernel", "veth").reason == expected
    # What could not run had no target.
    assert row(RUN, "onload", "nics").reason.startswith("onload: no program onload")


# the terminal


@pytest.mark.parametrize("width", [80, 100, 149, 150, 200])
def test_the_table_fits_and_says_what_must_be_known(width):
    out = io.StringIO()
    print_table(sample_run(quick=True, ended=False), file=out, width=width)
    text = out.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    for word in ("11.2 Mpps", "≥ 1.28 Mpps", "27.2×", "QUICK", "INTERRUPTED", "steal", "p99.9"):  # noqa: RUF001
        assert word in text
    assert "targets: 8 passed, 1 failed, 2 skipped, 1 invalid" in text
    assert answer(sample_run(quick=True, ended=False)).lead in " ".join(text.split())


FIGURE = re.compile(r"[≥≤]? ?[0-9][0-9.,]* ?(?:[GMk]?pps|×)|[0-9.]+(?: / [0-9.]+){3}")  # noqa: RUF001


@pytest.mark.parametrize("width", [50, 60, 70, 79, 80, 100, 120, 160])
def test_every_figure_is_whole_at_every_width(width):
    """Long names too: they go on in the next line, and the figures beside them do not."""
    wanted = sorted(FIGURE.findall(wide_lines().split("skip onload")[0]))
    text = printed(WIDE, width)
    table = text.split("skip onload")[0]
    assert sorted(FIGURE.findall(table)) == wanted
    for verdict in ("pass", "fail", "invalid"):
        whole = [r for r in rows(WIDE) if r.verdict == verdict]
        assert len(re.findall(rf"\b{verdict}\b", table.split("\ninvalid ")[0])) >= len(whole)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    for word in ("pass", "fail", "skip", "invalid"):
        assert re.search(rf"\b{word}\b", text)


def test_off_a_terminal_nothing_is_cut_or_broken():
    """Neither by a width that nobody has, nor by that of another (COLUMNS)."""
    out = io.StringIO()
    print_table(WIDE, file=out)
    lines = out.getvalue().splitlines()
    assert out.getvalue() == wide_lines()
    assert max(map(len, lines)) > 150
    for r in rows(WIDE):
        assert any(line.startswith(name(r)) for line in lines)
        assert r.verdict == "pass" or any(r.reason in line for line in lines)


@pytest.mark.parametrize(
    ("encoding", "mark", "times"),
    [("ascii", ">= 1.28 Mpps", "27.2x"), ("latin-1", ">= 1.28 Mpps", "27.2×")],  # noqa: RUF001
)
def test_a_terminal_without_utf8_gets_plain_letters_and_a_table_that_is_still_one(encoding, mark, times):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    print_table(RUN, file=out, width=200)
    out.flush()
    text = raw.getvalue().decode(encoding)
    assert mark in text
    assert times in text
    heads = next(line for line in text.splitlines() if line.startswith("backend"))
    table = [line for line in text.splitlines() if " veth " in line and re.search(r"\bpass\b", line)]
    assert len(table) > 3
    assert {line.rindex("pass") for line in table} == {heads.rindex("verdict")}


def test_the_table_takes_markup_as_text():
    out = io.StringIO()
    print_table(sample_run(hostile="[red]x[/red]"), file=out, width=200)
    assert "kernel[red]x[/red]" in out.getvalue()


# the page


class Page(HTMLParser):
    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.script = self.text = ""
        self.feed(text)
        assert not self.stack, f"left open: {self.stack}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in ("p", "li") and self.stack[-1] != tag:
            raise AssertionError(f"</{tag}> in {self.stack}")
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.script += data
        elif self.stack and self.stack[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    return html(RUN)


def test_the_page_is_well_formed_and_fetches_nothing(page):
    tags = Page(page).tags
    for tag, attrs in tags:
        assert "src" not in attrs
        assert not attrs.get("href", "#").startswith(("http", "//"))
        assert tag not in ("link", "img", "iframe", "object", "base")
    assert not re.search(r"@import|url\(", page)
    assert "default-src 'none'" in page


def test_the_policy_lets_only_our_script_run(page):
    digest = base64.b64encode(hashlib.sha256(Page(page).script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_every_text_of_the_run_is_escaped():
    run = sample_run(hostile=HOSTILE)
    run = without(run, deviations=(HOSTILE,), limited_by=HOSTILE, tester={HOSTILE: HOSTILE})
    gates = tuple(replace(g, name=HOSTILE, value=HOSTILE, why=HOSTILE) for g in run.measurements[0].gates)
    run = without(
        run, gates=gates, proof=replace(run.measurements[0].proof, claim=HOSTILE, evidence={HOSTILE: HOSTILE})
    )
    run = replace(run, environment=replace(run.environment, python=HOSTILE, parameters={HOSTILE: [HOSTILE]}))
    text = html(run)
    parsed = Page(text)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1
    assert "alert" not in parsed.script
    assert "<script>alert" not in text
    assert HOSTILE in parsed.text  # shown as it is, {{7*7}} included
    assert all("alert" not in (attrs.get("class") or "") for _, attrs in parsed.tags)


def test_the_headline_table_holds_every_row_and_figure(page):
    text = Page(page).text
    for r in rows(RUN):
        for v in (r.ndr_pps, r.pdr_pps, r.mrr_pps):
            assert v is None or fmt.pps(v).removesuffix("pps") in text
        assert fmt.us(r.rtt_p50_us) in text
        assert r.reason in text or r.verdict == "pass"


def test_every_trial_is_behind_its_bar(page):
    trials = [t for m in RUN.measurements if m.throughput for t in m.throughput.trials]
    dots = [
        a
        for tag, a in Page(page).tags
        if tag == "path" and re.fullmatch(r"dot (good|fair|bad)", a.get("class", ""))
    ]
    assert len(dots) == len(trials)
    assert sum(a["class"] == "dot bad" for a in dots) == sum(judge(t, 0.005) == "bad" for t in trials)


def test_every_chart_is_named_and_has_a_table_beside_it(page):
    tags = Page(page).tags
    plots = [a for tag, a in tags if tag == "svg" and a.get("role") == "img"]
    assert plots
    assert all(a["aria-label"] for a in plots)
    # A search, a latency ladder and the frame loss rate each: a table of their figures.
    assert page.count('<details class="data">') == len(DATAPATHS) * 2 + 1


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (sample_run(quick=True), "Quick run"),
        (sample_run(ended=False), "Interrupted"),
        (sample_run(), "Software links"),
        (replace(RUN, environment=None), "No environment record"),
    ],
)
def test_what_qualifies_the_figures_stands_at_the_top(run, words):
    assert words in [short for short, _ in notices(run)]
    assert html(run).index(f"<b>{words}.</b>") < html(run).index('id="results"')


def test_a_full_run_says_neither_quick_nor_interrupted():
    assert {short for short, _ in notices(RUN)} == {"Software links"}


@pytest.mark.parametrize(
    "run",
    [
        replace(RUN, measurements=()),
        replace(RUN, measurements=(), verdicts=(), environment=None, end=None),
        *(
            replace(RUN, measurements=tuple(m for m in RUN.measurements if m.kind == k))
            for k in ("mrr", "latency")
        ),
    ],
    ids=["skips only", "nothing", "mrr only", "latency only"],
)
def test_a_run_with_little_in_it_still_makes_a_page(run):
    Page(html(run))


def test_the_page_is_put_in_place_whole(tmp_path, monkeypatch):
    assert render(RUN, tmp_path) == tmp_path / "report.html"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    before = (tmp_path / "report.html").read_text()
    monkeypatch.setattr(
        "labkit.results.report.Path.replace",
        lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")),
    )
    with pytest.raises(EnvironmentBroken, match=r"report\.html can't be written: No space left"):
        render(sample_run(quick=True), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def stored(folder):
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(encode(RUN)))
    return folder


def test_a_report_is_shown_where_its_page_cannot_be_written(tmp_path, capsys, monkeypatch):
    """As in a folder of root's, or on a disk that is read-only: here a folder stands in its way."""
    folder = stored(tmp_path / "run")
    page = folder / "report.html" / "report.html"
    page.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "11.2 Mpps" in out
    assert "report:" not in out
    (line,) = err.splitlines()
    assert line.startswith(f"report.html was not written: {page} can't be written: Is a directory")
    words = shlex.split(line.partition("fix: ")[2])
    at = words.index("report")
    assert main(words[at:]) == 0  # what it says works
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert f"report: {tmp_path / 'report.html'}" in capsys.readouterr().out


def test_a_page_that_was_asked_for_elsewhere_and_cannot_be_written_is_an_error(tmp_path, capsys):
    folder = stored(tmp_path / "run")
    assert main(["report", str(folder), "--html", str(tmp_path / "none" / "x.html")]) == 3
    assert "x.html can't be written: No such file or directory" in capsys.readouterr().err
    assert not (folder / "report.html").exists()


# the host itself


def test_the_host_itself_stands_first_in_table_and_page():
    run = sample_run(host=True)
    assert [r.mode for r in rows(run)[:3]] == ["hardware", "wakeup", "busy_loop"]
    wakeup = rows(run)[1]
    times = run.measurements[1].wakeup
    assert wakeup.host_max_us == max(core.max_us for core in times.cores)
    assert wakeup.host_n == sum(core.counted for core in times.cores)
    assert wakeup.host_cores == "0-1"
    out = io.StringIO()
    print_table(run, file=out, width=100)
    assert out.getvalue().index("wake-up") < out.getvalue().index("af_packet")
    assert "isolated cores none" in out.getvalue().replace("\n", " ")
    page = Page(html(run))
    assert "The host itself" in page.text
    plots = [a["aria-label"] for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    assert sum(label.startswith("wake-up") for label in plots) == 2
    assert sum("histogram" in label for label in plots) == 2
    dots = [a["data-tip"] for tag, a in page.tags if a.get("data-tip", "").startswith("core 1 ·")]
    assert any(dot.endswith("· 1 times") for dot in dots)  # the rarest are drawn too


def test_a_host_alone_makes_a_page_and_a_table():
    run = sample_run(host=True)
    run = replace(run, measurements=run.measurements[:3], verdicts=())
    page = Page(html(run))
    assert "Can it be trusted?" in page.text
    assert "2 gaps above 10 µs" in page.text
    out = io.StringIO()
    print_table(run, file=out, width=100)
    assert "NDR" not in out.getvalue()
    assert "hardware gaps" in out.getvalue()


def test_every_text_of_the_host_is_escaped():
    run = sample_run(host=True)
    hosts = [
        replace(m, tester={HOSTILE: HOSTILE}, deviations=(HOSTILE,), key=replace(m.key, topology=HOSTILE))
        for m in run.measurements[:3]
    ]
    page = Page(html(replace(run, measurements=tuple(hosts))))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert HOSTILE in page.text


def test_the_claim_of_a_tenth_of_a_millisecond_is_compared_with_the_wakeups():
    run = sample_run(host=True)
    wake = reference_claims(run)[3]
    assert wake.measured.startswith("wake-ups (cyclictest, cores 0-1): 12 µs (p50)")
    assert "in this run beyond 0.1 ms" in wake.measured
    assert "a round trip through kernel sockets took" in wake.measured
    quiet = tuple(
        replace(m, wakeup=replace(m.wakeup, cores=tuple(replace(c, max_us=99.0) for c in m.wakeup.cores)))
        if m.wakeup
        else m
        for m in run.measurements
    )
    assert "in this run within 0.1 ms" in reference_claims(replace(run, measurements=quiet))[3].measured


# reference claims


def test_the_arithmetic_of_the_claims():
    assert gap_ns(64, 10e9) == pytest.approx(67.2)
    assert 1e9 / gap_ns(64, 10e9) == pytest.approx(14.88e6, rel=1e-3)
    assert gap_ns(64, 200e9) == pytest.approx(3.36)
    assert gap_ns(1518, 200e9) == pytest.approx(61.52)


def test_claims_answer_whether_a_datapath_is_more_predictable_than_the_kernel():
    latency = next(
        m
        for m in RUN.measurements
        if m.key.id == "xdp-veth-64" and m.latency is not None and len(m.latency.points) > 1
    )
    point = latency.latency.points[0]
    own, kernel = (tuple(replace(point, pdv_us=pdv + n) for n in range(6)) for pdv in (10.0, 40.0))
    spreads = (
        Spread(load="idle", load_pps=9000.0, own=own, reference=kernel),
        Spread(load="50% PDR", load_pps=9000.0, own=own, reference=own),
    )
    payload = Predictability(against="kernel-veth-64", spreads=spreads, rounds=6, disturbed=0)
    made = replace(
        latency, kind="predictability", latency=None, predictability=payload, variant="idle,50% PDR"
    )
    onload = reference_claims(replace(RUN, measurements=(*RUN.measurements, made)))[4].measured
    assert onload.startswith(f"Onload: {NOT_MEASURED}; is xdp on veth more predictable than the kernel here")
    assert "yes at idle (12.5 µs against 42.5 µs, ratio 0.294 from 0.25 to 0.333)" in onload
    assert "undecided at 50% PDR" in onload
    lossy = replace(point, trial=replace(point.trial, received=point.trial.sent // 2, late=0), pdv_us=1.0)
    half = replace(payload, spreads=(replace(spreads[0], own=(lossy,) * 6),))
    lost = replace(RUN, measurements=(*RUN.measurements, replace(made, predictability=half)))
    assert (
        "no answer at idle (too few samples, or more than 0.1 % of the frames lost)"
        in reference_claims(lost)[4].measured
    )
    invalid = replace(made, proof=replace(made.proof, proven=False))
    assert (
        "predictable"
        not in reference_claims(replace(RUN, measurements=(*RUN.measurements, invalid)))[4].measured
    )


def test_the_report_draws_every_round_and_says_who_is_more_predictable():
    latency = next(m for m in RUN.measurements if m.key.id == "xdp-veth-64" and m.latency is not None)
    point = latency.latency.points[0]

    def rounds(pdv_us: float, longest_above: int | None):
        trial = replace(point.trial, longest_above=longest_above)
        return tuple(
            replace(point, pdv_us=pdv_us + n, p50_us=10.0, p999_us=50.0, load_pps=9000.0, trial=trial)
            for n in range(6)
        )

    spreads = tuple(
        Spread(load=load, load_pps=9000.0, own=rounds(10.0, 9), reference=rounds(40.0, None))
        for load in ("50% PDR", "50% PDR beside stress-ng stream")
    )
    payload = Predictability(against="kernel-veth-64", spreads=spreads, rounds=6, disturbed=0, limit_us=50.0)
    made = replace(latency, kind="predictability", latency=None, predictability=payload, variant="50% PDR")
    page = html(replace(RUN, measurements=(*RUN.measurements, made)))
    section = page[page.index('<section id="predictability">') : page.index('<section id="loss">')]
    assert section.count("· round 6 ·") == 4
    assert section.count("<b>yes</b> (ratio of the PDV 0.294, 0.25 to 0.333)") == 2
    assert "50% PDR beside stress-ng stream" in section
    assert "12.5 (10 to 15)" in section
    assert "longest above 50 µs, µs" in section
    assert section.count('<td class="n">1000</td>') == 2, "9 frames at 9 kpps; of the kernel it is not known"
    doubted = replace(made, proof=replace(made.proof, proven=False))
    section = html(replace(RUN, measurements=(*RUN.measurements, doubted)))
    section = section[section.index('<section id="predictability">') : section.index('<section id="loss">')]
    assert "<b>yes</b>" not in section, "what can't be trusted answers nothing"
    assert 'href="#predictability"' in page
    assert 'href="#predictability"' not in html(RUN)


def test_claims_quote_what_was_measured_and_mark_lower_bounds():
    kernel, line, gap, wake, onload, dpdk = reference_claims(RUN)
    assert kernel.measured.startswith("416 kpps at 64 B, kernel on veth")
    assert line.measured == "11.3 Mpps at 64 B, dpdk on vhost: 76 % of that rate"
    assert "88.6 ns a frame at 64 B" in gap.measured
    assert "164 ns a frame at 1518 B" in gap.measured
    assert wake.measured.startswith(f"wake-up latency: {NOT_MEASURED}")
    assert onload.measured.startswith(f"Onload: {NOT_MEASURED}")
    assert "p50 1.48 µs" in dpdk.measured
    only_xdp = replace(RUN, measurements=tuple(m for m in RUN.measurements if m.key.backend == "xdp"))
    assert reference_claims(only_xdp)[1].measured.startswith(
        "at least 1.28 Mpps"
    )  # of 1.289: a bound holds as it is written


def test_an_invalid_row_proves_no_claim():
    run = without(RUN, gates=tuple(replace(g, state="invalid") for g in RUN.measurements[0].gates))
    assert [c.measured for c in reference_claims(run)[:3]] == [NOT_MEASURED] * 3


def test_a_model_proves_no_claim_and_is_named_at_the_top():
    refs = tuple(replace(t, tier="simulated") for t in RUN.environment.topologies)
    run = replace(RUN, environment=replace(RUN.environment, topologies=refs))
    assert "memif" in reference_claims(run)[1].measured
    assert reference_claims(run)[0].measured == NOT_MEASURED
    assert notices(run)[0][0] == "Simulated"
    out = io.StringIO()
    print_table(run, file=out, width=100)
    assert "SIMULATED: veth, vhost" in out.getvalue()


def test_emulated_links_are_named_wherever_figures_are_read():
    refs = tuple(replace(t, tier="vm") for t in RUN.environment.topologies)
    run = replace(RUN, environment=replace(RUN.environment, topologies=refs))
    assert notices(run)[0] == (
        "Emulated links",
        "veth, vhost: the NICs and the cables between them are emulated. Its figures show that a datapath works there, "
        "not what a NIC carries.",
    )
    out = io.StringIO()
    print_table(run, file=out, width=120)
    assert "EMULATED: veth, vhost: emulated NICs and cables; not what a NIC carries" in out.getvalue()
    assert "emulated NICs and cables" in answer(run).trust


def test_without_measurements_every_claim_says_so():
    for claim in reference_claims(replace(RUN, measurements=(), verdicts=())):
        assert NOT_MEASURED in claim.measured
    assert claims_module.GAP_BYTES == 20


# plots


def test_the_maximum_stands_at_one_in_n_and_percentiles_at_their_rarity():
    assert [rarity(p, 5000) for p in (0, 90, 99, 100)] == [1, pytest.approx(10), pytest.approx(100), 5000]


def test_a_curve_is_drawn_only_as_far_as_ten_samples_reach_and_dotted_to_the_maximum(page):
    lines = re.findall(r'<path class="line( thin)?" d="M([0-9. L]+)"/>', page)
    ladders = [m.latency.points for m in RUN.measurements if m.latency]
    overlaid = 2 * len(ladders)
    assert sum(bool(thin) for thin, _ in lines) == sum(map(len, ladders)) + overlaid
    n = ladders[0][0].n
    full = math.log(n / 10) / math.log(n * 1.3) * 1000
    ends = [float(d.split("L")[-1].split()[0]) for thin, d in lines if not thin and d.count("L") > 20]
    assert len(ends) == sum(map(len, ladders)) + overlaid
    assert all(full * 0.97 < end <= full + 1 for end in ends)


# format


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),  # noqa: RUF001
        (0.0, "0 pps"),
        (999.0, "999 pps"),
        (999_600.0, "1 Mpps"),
        (11_234_567.0, "11.2 Mpps"),
        (1.2345e9, "1.23 Gpps"),
    ],
)
def test_rates_are_written_with_three_digits_and_the_unit_that_fits(value, text):
    assert fmt.pps(value) == text


@pytest.mark.parametrize(
    ("value", "bound", "text"),
    [
        (466_595.0, "at least", "466 kpps"),
        (466_595.0, "", "467 kpps"),
        (466_100.0, "at most", "467 kpps"),
        (999_700.0, "at least", "999 kpps"),
        (1_000_000.0, "at least", "1 Mpps"),
        (1_000_000.0, "at most", "1 Mpps"),
        (0.0, "at most", "0 pps"),
    ],
)
def test_a_bound_holds_as_it_is_written(value, bound, text):
    assert fmt.pps(value, bound=bound) == text


@pytest.mark.parametrize(
    ("value", "text"), [(12345.0, "12300"), (0.0001234, "0.000123"), (0.5, "0.5"), (1e7, "10000000")]
)
def test_significant_digits_have_no_exponent(value, text):
    assert fmt.significant(value) == text


def test_only_no_loss_at_all_is_written_as_zero():
    assert fmt.loss(0.0) == "0"
    assert fmt.loss(1e-9) == "0.0000001 %"
