"""What the page says of figures that are not what they seem: invalid, simulated, at least, tried again."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from sample_run import host_measurements, sample_run

from labkit.measure import nic
from labkit.measure.hosttimes import beyond_gate, guest_gate, omitted_gate
from labkit.measure.limits import MaxOfferedLoad
from labkit.measure.noise import ONE_MACHINE, NoiseReading, base_gate, gates
from labkit.measure.stability import stability
from labkit.record.model import HostKey, Outcome, Verdict
from labkit.results import gate_words
from labkit.results.drawing import DOUBTS
from labkit.results.report import html
from labkit.results.rows import rows

HATCHED = DOUBTS["invalid"]


class Page(HTMLParser):
    """Tags with their attributes, and the text of every figure, bar and section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "figure":
            self.figures.append("")
            self._open = tag

    def handle_endtag(self, tag):
        if tag == "figure":
            self._open = ""

    def handle_data(self, data):
        if self._open:
            self.figures[-1] += data

    def having(self, tag: str, css: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and css in (a.get("class") or "").split()]

    @property
    def plots(self) -> list[str]:
        return [a["aria-label"] or "" for t, a in self.tags if t == "svg" and a.get("role") == "img"]

    @property
    def bars(self) -> list[dict[str, str | None]]:
        return self.having("span", "bar")


def invalid(m, gate: str = "steal"):
    first = replace(m.gates[0], name=gate, state="invalid", value="3.1 %", limit="1 %")
    return replace(m, gates=(first, *m.gates[1:]))


def changed(run, change, **wanted):
    def fits(m):
        facts = {
            "kind": m.kind,
            "backend": column(m, "backend"),
            "mode": column(m, "mode"),
            "frame": column(m, "frame"),
        }
        return all(facts[name] == value for name, value in wanted.items())

    return replace(run, measurements=tuple(change(m) if fits(m) else m for m in run.measurements))


def section(page: str, name: str) -> str:
    return page[page.index(f'<section id="{name}"') :].split("</section>")[0]


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)).strip()


def column(measurement, name):
    """A column of a datapath's key; the host has none."""
    return getattr(measurement.key, name, "")


@pytest.fixture(scope="module")
def sound():
    """A run in which nothing is doubtful, the host itself included."""
    run = sample_run(host=True)
    kept = tuple(v for v in run.verdicts if v.outcome is Outcome.PASS)
    run = replace(run, verdicts=kept)
    return replace(run, measurements=tuple(m for m in run.measurements if column(m, "mode") != "busy_poll"))


# --- invalid ---


def test_every_chart_of_an_invalid_run_is_hatched_and_says_so(sound):
    page = Page(html(replace(sound, measurements=tuple(map(invalid, sound.measurements)))))
    assert len(page.plots) > 20
    for label in page.plots:
        assert "invalid" in label
    for text in page.figures:
        assert HATCHED in text
        assert "invalid" in text
    assert len(page.bars) == len({m.key for m in sound.measurements if not isinstance(m.key, HostKey)})
    for bar in page.bars:
        assert "invalid" in bar["class"].split()
        assert bar["aria-label"].startswith("invalid: ")
    # Every curve, every dot's tip: none looks like a sound one.
    groups = [a for t, a in page.tags if t == "g"]
    assert groups
    assert all("invalid" in a["class"].split() for a in groups)
    assert all(a["data-tip"].endswith("(invalid)") for _, a in page.tags if "data-tip" in a)


def test_a_valid_run_has_no_hatch_and_no_word_of_it(sound):
    text = html(sound)
    page = Page(text)
    assert not any("invalid" in label for label in page.plots)
    assert not any("invalid" in (b["class"] or "").split() for b in page.bars)
    assert not any("invalid" in (a.get("class") or "").split() for t, a in page.tags if t == "g")
    assert HATCHED not in text


def test_one_invalid_row_is_hatched_among_the_others(sound):
    page = Page(html(changed(sound, invalid, kind="latency", backend="xdp")))
    assert [b["class"] for b in page.bars if "invalid" in b["class"].split()] == ["bar c-xdp invalid"]
    overview = next(c for c in page.plots if c.startswith("Unloaded"))
    assert "xdp · veth (invalid)" in overview
    assert "kernel · veth (invalid)" not in overview
    loss = next(c for c in page.plots if c.startswith("Frame loss rate"))
    assert HATCHED in loss


def test_a_row_whose_targets_were_missed_is_hatched_where_it_is_invalid_too(sound):
    key = next(m.key for m in sound.measurements if column(m, "backend") == "xdp")
    failed = Verdict(test="t", key=key, target="x", outcome=Outcome.FAIL, value=1.0, unit=None, reason="slow")
    page = Page(html(changed(replace(sound, verdicts=(failed,)), invalid, kind="latency", backend="xdp")))
    assert not any("invalid" in b["class"].split() for b in page.bars)  # its rates are sound, and too low
    assert "xdp · veth (invalid)" in next(c for c in page.plots if c.startswith("Unloaded"))


def test_a_failed_row_with_invalid_rates_says_both_in_the_table(sound):
    key = next(m.key for m in sound.measurements if column(m, "backend") == "xdp")
    failed = Verdict(test="t", key=key, target="x", outcome=Outcome.FAIL, value=1.0, unit=None, reason="slow")
    text = html(changed(replace(sound, verdicts=(failed,)), invalid, kind="throughput", backend="xdp"))
    row = next(r for r in section(text, "results").split("<tr") if ">xdp<" in r)
    assert row.startswith(' class="void"')
    assert re.search("fail .*invalid", plain(row))


def test_of_what_was_skipped_no_missing_ratio_is_reported(sound):
    skips = tuple(v for v in sample_run().verdicts if v.outcome is Outcome.SKIP)
    assert "no ratio" not in html(replace(sound, measurements=(), verdicts=skips))


def test_why_there_is_no_ratio_is_said_once_with_every_row_that_it_holds_for(sound):
    run = changed(sound, invalid, kind="throughput", backend="dpdk")
    said = plain(section(html(run), "results"))
    assert said.count("no ratio to the kernel: ") == 1
    assert "dpdk · vhost · 64 B; dpdk · vhost · 1518 B; dpdk · memif · 64 B: no ratio" in said.replace(
        " :", ":"
    )


def test_a_ratio_to_another_kind_of_link_names_it_in_its_cell(sound):
    results = section(html(sound), "results")
    assert re.search(r"[\d.]+\u00d7 to veth ", plain(results)), (
        "dpdk on vhost is compared with the kernel on veth"
    )
    cells = re.findall(r'<th scope="row">.*?</tr>', results, re.DOTALL)
    assert not any("<small>to " in cell for cell in cells if ">af_xdp<" in cell)


def test_an_ndr_that_cannot_be_measured_is_marked_and_the_pdr_is_not(sound):
    text = html(changed(sound, lambda m: invalid(m, "stability-ndr"), kind="throughput", backend="xdp"))
    page = Page(text)
    bar = next(b for b in page.bars if "c-xdp" in b["class"])
    assert "invalid" not in bar["class"].split()
    assert "NDR can't be measured" in bar["aria-label"]
    assert len(page.having("i", "whisker")) > len(page.having("i", "void")) > 0
    row = next(r for r in section(text, "results").split("<tr") if ">xdp<" in r)
    assert len(re.findall(r'<td class="n first void"', row)) == 1


def test_a_simulated_row_does_not_look_like_a_measured_one(sound):
    labs = tuple(replace(t, tier="simulated") for t in sound.environment.topologies)
    run = replace(sound, environment=replace(sound.environment, topologies=labs))
    text = html(run)
    page = Page(text)
    veth = [b for b in page.bars if not b["aria-label"].startswith("simulated: ")]
    assert len(veth) == 1  # memif alone is none of the models
    assert DOUBTS["simulated"] in text
    assert "· simulated ·" in re.search(r"<title>(.*)</title>", text)[1]


# --- bounds ---


def test_ndr_and_pdr_have_whiskers_from_bound_to_bound_and_words(sound):
    page = Page(html(sound))
    for bar, row in zip(page.bars, [r for r in rows(sound) if not r.is_host], strict=True):
        assert re.match(r"(PDR .*)(NDR )", bar["aria-label"])
        if row.rate("pdr").at_least:
            assert "PDR at least" in bar["aria-label"]
            assert "no upper bound is known (the tester was the limit)" in bar["aria-label"]
        else:
            assert re.search(r"PDR \S+ .pps \(bounds of the load \S+ .pps to \S+ .pps\)", bar["aria-label"])
    whiskers = page.having("i", "whisker")
    drawn = [w for w in whiskers if w.get("title")]
    searched = [m for m in sound.measurements if m.throughput]
    assert len(drawn) == 2 * len(searched)
    opened = [w for w in drawn if "open" in w["class"].split()]
    assert len(opened) == 2 * sum(m.limited_by == "tester" for m in searched) > 0
    for w in drawn:
        width = float(re.search(r"width:([\d.]+)%", w["style"])[1])
        assert (width == 0) == ("open" in w["class"].split())
    assert "no upper bound is known, the figure is" in section(html(sound), "throughput")


def test_a_search_that_ended_too_early_shows_what_it_knew(sound):
    def undecided(m):
        found = {
            name: replace(
                getattr(m.throughput, name),
                regular=False,
                irregularity="stopped after 600 s",
                conditional_throughput_pps=None,
                kind="time-limit",
            )
            for name in ("ndr", "pdr")
        }
        return replace(m, throughput=replace(m.throughput, **found))

    page = Page(html(changed(sound, undecided, kind="throughput", backend="af_packet")))
    bar = next(b for b in page.bars if "c-af_packet" in b["class"])
    assert re.search(
        r"PDR not decided: between \S+ kpps and \S+ kpps when the search ended", bar["aria-label"]
    )


def test_the_search_shows_the_bounds_between_which_the_figures_lie(sound):
    text = html(sound)
    assert text.count('<rect class="band') == 2 * sum(m.throughput is not None for m in sound.measurements)
    assert '<rect class="band open"' in text


# --- the first sentence, and the title ---


def test_the_page_begins_with_the_answer(sound):
    text = html(sound)
    said = plain(section(text, "answer"))
    assert said.startswith(
        "What does bypass buy here? Bypass bought throughput here: on veth with frames of 64 B"
    )
    assert "How far to trust it: one run on one machine" in said
    assert text.index('id="answer"') < text.index('class="tiles"') < text.index('id="results"')


def test_the_title_says_what_must_not_be_missed():
    title = re.search(r"<title>(.*)</title>", html(sample_run(quick=True, ended=False)))[1]
    assert "interrupted" in title
    assert "quick run" in title


# --- can it be trusted? ---


def test_every_gate_that_is_not_ok_names_the_measurement_that_it_belongs_to(sound):
    run = changed(sound, invalid, kind="latency", backend="xdp")
    run = changed(run, lambda m: invalid(m, "unsent"), kind="mrr", backend="xdp")
    run = changed(run, lambda m: invalid(m, "unsent"), kind="loss_curve", backend="xdp")
    trust = plain(section(html(run), "trust"))
    mine = trust[trust.index("xdp veth · 64 B") :]
    assert "steal: invalid (latency)" in mine.split("Measurement Gate")[0]
    assert "unsent: invalid (MRR, frame loss rate)" in mine.split("Measurement Gate")[0]
    before = trust[: trust.index("xdp veth · 64 B")]
    assert "invalid (" not in before


def test_every_gate_there_is_has_its_meaning_in_words(sound):
    run = sound.measurements[-1]
    search = next(m.throughput for m in sound.measurements if m.throughput)
    reading = NoiseReading(cpus={}, clocksource="tsc", allowed_cores={})
    preflight = stability(search.trials, ndr=search.ndr.goal, pdr=search.pdr.goal).gates()
    of_host = (guest_gate(guest=True), beyond_gate(()), omitted_gate(()))
    bases = (base_gate(rate, preflight) for rate in ("ndr", "pdr", "mrr"))
    of_others = (MaxOfferedLoad(pps=1e6).gate(search), *bases)
    measured = gates(
        before={ONE_MACHINE: reading},
        after={ONE_MACHINE: reading},
        intended_cores={},
        deciding=search.trials,
        proven=True,
        claim="x",
    )
    of_counters = (nic.crc_errors_gate({}), nic.rx_missed_gate({}, {}))
    end = nic.NicFacts(port="enp1s0f0", machine="alpha", core=0)
    everything = (*measured, *preflight, *of_others, *of_host, *nic.gates([(end, end)]), *of_counters)
    assert {g.name for g in everything} == set(gate_words.GATES)
    said = plain(section(html(replace(sound, measurements=(replace(run, gates=everything),))), "trust"))
    for g in everything:
        assert f"{g.name} {plain(gate_words.meaning(g))}".replace("'", "&#39;") in said.replace("'", "&#39;")


def test_a_gate_of_another_package_is_explained_by_its_own_words(sound):
    run = changed(sound, lambda m: invalid(m, "moonlight"), kind="mrr")
    assert "moonlight CPU time taken by the hypervisor" in plain(section(html(run), "trust"))


# --- tried again ---


def test_another_attempt_is_counted_where_the_figure_stands_and_the_former_is_kept(sound):
    former = next(m for m in sound.measurements if (column(m, "backend"), m.kind) == ("xdp", "latency"))
    run = changed(sound, lambda m: replace(m, attempt=2), kind="latency", backend="xdp")
    lost = Verdict(
        test="test_latency[xdp]", key=former.key, target="p99", outcome=Outcome.INVALID, value=None, unit=None,
        reason="gate steal: 3.1 %",
    )  # fmt: skip
    run = replace(run, former_measurements=(invalid(former),), former_verdicts=(lost,))
    text = html(run)
    row = plain(next(r for r in section(text, "results").split("<tr") if ">xdp<" in r))
    assert "2nd attempt" in row
    assert plain(section(text, "results")).count("2nd attempt") == 2  # one for each width of the page
    trust = plain(section(text, "trust"))
    assert "latency, 2nd attempt" in trust
    assert "latency, 1st attempt: steal 3.1 %" in trust
    assert "of earlier attempts, which do not count" in section(text, "verdicts")
    assert "needed another attempt (xdp)" in plain(section(text, "answer"))
    # It stands: nothing of it is hatched.
    assert not any("invalid" in (b["class"] or "").split() for b in Page(text).bars)


@pytest.mark.parametrize(
    ("n", "word"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")]
)
def test_ordinals(n, word):
    assert gate_words.ordinal(n) == word


# --- pages with little, and with much ---


@pytest.mark.parametrize("n", [1, 40])
def test_a_page_of_one_row_and_of_forty(sound, n):
    one = [m for m in sound.measurements if (column(m, "backend"), column(m, "frame")) == ("xdp", "64")]
    long = "a-lab-with-a-name-that-is-far-longer-than-any-column-is-wide"
    many = [replace(m, key=replace(m.key, topology=f"{long}-{i}")) for i in range(n) for m in one]
    page = Page(html(replace(sound, measurements=tuple(many), verdicts=())))
    assert len(page.bars) == n
    assert len([c for c in page.plots if "Every trial of the search" in c]) == n


def test_what_a_name_says_is_not_said_again_beside_it(sound):
    odd = [
        replace(m, key=replace(m.key, ip_version=6, flows=8))
        for m in sound.measurements
        if column(m, "backend") == "xdp"
    ]
    text = html(replace(sound, measurements=tuple(odd), verdicts=()))
    assert "xdp IPv6 8 flows veth · 64 B" in plain(section(text, "throughput"))
    assert "8 flows · veth · 64 B IPv6" not in text


def test_times_of_nought_draw_no_chart_and_break_nothing(sound):
    host = host_measurements()
    still = [
        replace(
            m, wakeup=replace(m.wakeup, cores=tuple(replace(c, times=zero(c.times)) for c in m.wakeup.cores))
        )
        if m.wakeup
        else m
        for m in host
    ]
    assert "The host itself" in html(replace(sound, measurements=tuple(still), verdicts=()))


def zero(times):
    from hdrh.histogram import HdrHistogram

    hdr = HdrHistogram(1, 10_000_000_000, 3)
    return replace(times, n=0, min_ns=0, max_ns=0, mean_ns=0.0, hdr=hdr.encode().decode())
