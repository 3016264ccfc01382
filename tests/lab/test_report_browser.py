"""The report in a real browser: what a reader sees, at desktop and phone width, light and dark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser, pages_of
from sample_run import sample_run

from labkit.record.model import HostKey
from labkit.results import report
from labkit.results.axes import Axis, loss_decades, percent, span
from labkit.results.drawing import Series, plot
from labkit.results.percentile_plot import PERCENTILES
from labkit.results.report import render

pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; fix: apt-get install chromium"),
]

VIEWS = [(1280, False), (1280, True), (390, False), (390, True)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    return render(sample_run(quick=True), tmp_path_factory.mktemp("report")).as_uri()


@pytest.fixture(params=VIEWS, ids=lambda v: f"{v[0]}-{'dark' if v[1] else 'light'}")
def view(request, browser, url):
    width, dark = request.param
    browser.requests.clear()
    browser.problems.clear()
    browser.open(url, width=width, dark=dark)
    return browser


OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"


def test_it_asks_for_nothing_but_itself_and_complains_of_nothing(view, url):
    assert view.requests == [url]
    assert view.problems == []


def test_the_page_does_not_scroll_sideways_however_much_is_open(view):
    view.js(OPEN_ALL)
    # Not innerWidth: a phone zooms out until all fits.
    assert view.js("document.documentElement.scrollWidth") == view.width
    # What is wider scrolls in its own box.
    assert view.js("[...document.querySelectorAll('table')].every(t => t.closest('.scroll'))")


CONTRAST = """(() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest('.skip, #tip')) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) poor.add(`${e.tagName}.${e.className}: ${ratio.toFixed(2)}`);
  }
  return [...poor];
})()"""


def test_every_text_has_the_contrast_that_wcag_asks_for(view):
    view.js(OPEN_ALL)
    assert view.js(CONTRAST) == []


def test_dark_is_dark(view):
    dark = view.js("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = view.js("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(ground) < 150) == dark


def test_text_stays_readable_and_charts_keep_their_size(view):
    smallest = view.js(
        "Math.min(...[...document.querySelectorAll('body *')].filter(e => e.getClientRects().length)"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 10.5
    view.js(OPEN_ALL)
    assert view.js(
        "[...document.querySelectorAll('.canvas')].every(c => c.clientHeight >= 200 && c.clientWidth >= 220)"
    )


RUN_INTO = """(() => {
  const seen = t => [...t.children].filter(c => c.getClientRects().length).map(c => c.getBoundingClientRect());
  const bad = [];
  for (const t of document.querySelectorAll('.x-ticks')) {
    const boxes = seen(t).sort((a, b) => a.left - b.left);
    boxes.slice(1).forEach((b, i) => { if (b.left < boxes[i].right) bad.push(`x: ${t.textContent}`); });
  }
  for (const t of document.querySelectorAll('.y-ticks')) {
    const boxes = seen(t).sort((a, b) => a.top - b.top);
    boxes.slice(1).forEach((b, i) => { if (b.top + 3 < boxes[i].bottom) bad.push(`y: ${t.textContent}`); });
  }
  return bad;
})()"""
SHOWN = (
    "[...document.querySelectorAll('.x-axis')].map(a => [...a.children].filter(t => t.clientHeight).length)"
)


def test_ticks_do_not_run_into_one_another(view):
    view.js(OPEN_ALL)
    assert view.js(RUN_INTO) == []
    assert set(view.js(SHOWN)) == {1}  # one row of labels under each axis, never none


def test_ticks_have_room_in_any_range_at_any_width(browser, tmp_path):
    """The widest labels of every unit, narrow and wide ranges, in a chart as wide as the window leaves it."""
    ranges = [
        (low, low * times) for low in (3e-3, 0.21, 5.5, 999.0, 1.3e6) for times in (1.001, 1.7, 30, 1e5, 1e9)
    ]
    axes = [span("x", ends, unit=unit) for ends in ranges for unit in ("pps", "us", "")]
    axes += [
        Axis("p", 1.0, 10.0**n, tuple((10.0**p, w) for p, w in PERCENTILES.items() if p <= n))
        for n in (1, 4, 7)
    ]
    axes += [loss_decades("loss", [0.0, 1e-7]), percent("loss")]
    line = Series(name="a", colour="c-xdp", line=((1.0, 1.0), (2.0, 2.0)))
    body = "".join(f'<div class="card">{plot("t", "d", axis, axis, [line])}</div>' for axis in axes)
    style = (Path(report.__file__).parent / "templates/report.css").read_text()
    page = tmp_path / "axes.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><style>{style}</style><main>{body}</main>')
    for width in (320, 390, 500, 640, 900, 1280):
        browser.open(page.as_uri(), width=width)
        assert browser.js(RUN_INTO) == [], width
        assert set(browser.js(SHOWN)) == {1}


def test_on_a_phone_the_rates_are_seen_without_scrolling_sideways(browser, url):
    for width in (390, 360):
        browser.open(url, width=width)
        found = browser.js(
            """[...document.querySelectorAll('.rates tbody tr')].map(row => {
              const cells = [...row.querySelectorAll('td.n')].filter(c => c.getClientRects().length);
              const box = row.closest('.scroll').getBoundingClientRect();
              const seen = c => c.getBoundingClientRect().right <= Math.min(box.right, innerWidth) + 1;
              const verdict = row.querySelector('th .badge');
              return [cells.length, cells.slice(0, 3).every(seen), !verdict || verdict.getClientRects().length > 0];
            })"""
        )
        assert found
        # NDR, PDR, MRR and the ratio, and the verdict with the name.
        assert all(cell == [4, True, True] for cell in found), (width, found)


@pytest.mark.parametrize("width", [1280, 390])
def test_long_names_break_and_push_nothing_out_of_the_page(browser, tmp_path, width):
    def longer(key):
        if isinstance(key, HostKey):
            return key
        lab = "a-lab-with-a-name-that-is-far-longer-than-any-column-is-wide"
        return replace(
            key, mode=key.mode or "a_mode_of_a_plugin_with_a_long_name", topology=f"{lab}-{key.topology}"
        )

    run = sample_run(host=True)
    run = replace(
        run, measurements=tuple(replace(m, key=longer(m.key)) for m in run.measurements), verdicts=()
    )
    browser.open(render(run, tmp_path).as_uri(), width=width)
    browser.js(OPEN_ALL)
    assert browser.js("document.documentElement.scrollWidth") == width
    rates = "[...document.querySelectorAll('.rates td.n')].filter(c => c.getClientRects().length)"
    assert browser.js(f"{rates}.every(c => c.getBoundingClientRect().right <= {width})")
    tallest = browser.js("Math.max(...[...document.querySelectorAll('.rates tr')].map(r => r.clientHeight))")
    assert tallest < 260


def test_what_is_invalid_is_drawn_unlike_what_is_valid(browser, url):
    browser.open(url, width=1280)
    looks = browser.js(
        """(() => {
          const style = (css, e) => getComputedStyle(document.querySelector(css))[e];
          return {
            bar: style('.bar:not(.invalid) .fill', 'backgroundImage'),
            hatched: style('.bar.invalid .fill', 'backgroundImage'),
            line: style('#latency g:not(.invalid).dash-0 path.line', 'strokeDasharray'),
            broken: style('#latency g.invalid path.line', 'strokeDasharray'),
            width: parseFloat(style('#latency g:not(.invalid) path.line', 'strokeWidth')),
            wide: parseFloat(style('#latency g.invalid path.line', 'strokeWidth')),
            whisker: document.querySelector('.whisker.pdr').getBoundingClientRect().width,
            open: document.querySelector('.bar .whisker.open').getBoundingClientRect().width,
          };
        })()"""
    )
    assert looks["bar"] == "none"
    assert "repeating-linear-gradient" in looks["hatched"]
    assert looks["line"] == "none"
    assert looks["broken"] != "none"
    assert looks["wide"] > 2 * looks["width"]  # a hatched band: a datapath's own dashes are no such thing
    assert looks["whisker"] >= 5
    assert looks["open"] >= 20


def many_rows(times: int):
    """The sample with all of its datapaths on several labs."""
    run = sample_run(host=True)

    def on(key, i):
        return (
            replace(key, topology=f"{key.topology}-{i}")
            if i and key and not isinstance(key, HostKey)
            else key
        )

    return replace(
        run,
        measurements=tuple(
            replace(m, key=on(m.key, i))
            for i in range(times)
            for m in run.measurements
            if not (i and isinstance(m.key, HostKey))
        ),
        verdicts=tuple(
            replace(v, test=f"{v.test}-{i}", key=on(v.key, i)) for i in range(times) for v in run.verdicts
        ),
    )


@pytest.mark.parametrize("times", [1, 4], ids=["10 rows", "40 rows"])
def test_a_full_run_prints_on_fewer_than_ten_pages(browser, tmp_path, times):
    browser.open(render(many_rows(times), tmp_path).as_uri(), width=1280)
    assert pages_of(browser.pdf()) < 10


def test_on_paper_the_tables_behind_the_charts_are_closed(browser, url):
    browser.open(url, width=1280)
    browser.js("dispatchEvent(new Event('beforeprint'))")
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert (
            browser.js("[...document.querySelectorAll('.data table')].some(t => t.checkVisibility())")
            is False
        )
        assert browser.js("document.querySelector('.rates').checkVisibility()") is True
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")


def test_everything_that_opens_or_scrolls_is_reached_by_keyboard_and_has_a_name(browser, url):
    browser.open(url, width=1280)
    nameless = browser.js(
        """[...document.querySelectorAll('.scroll, summary, [role=img], nav, a')]
          .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert browser.js("[...document.querySelectorAll('.scroll, summary')].every(e => e.tabIndex === 0)")


def test_pointing_at_a_chart_tells_the_figures(view):
    shown = view.js(
        """(async () => {
          const svg = document.querySelector('#latency .canvas svg');
          svg.scrollIntoView({block: 'center', behavior: 'instant'});
          // The scroll event, which hides the tip, comes with the next frame.
          await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
          const box = svg.querySelector('[data-tip]').getBoundingClientRect();
          svg.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left, clientY: box.top}));
          const tip = document.getElementById('tip');
          return tip.hidden ? '' : tip.textContent;
        })()"""
    )
    assert "p50" in shown


def test_a_bar_opens_to_its_trials(view):
    chart = "document.querySelector('.bars details .canvas').checkVisibility()"
    assert not view.js(chart)
    view.js("document.querySelector('.bars details > summary').click()")
    assert view.js(chart)
    assert view.js("document.querySelectorAll('.bars details:first-child path.dot').length") > 20


def test_hostile_texts_run_nothing(browser, tmp_path):
    bad = "<img src=x onerror='document.title=\"owned\"'><script>document.title='owned'</script>"
    run = sample_run(hostile=bad)
    run = replace(
        run, measurements=tuple(replace(m, limited_by=bad, deviations=(bad,)) for m in run.measurements)
    )
    browser.requests.clear()
    browser.open(render(run, tmp_path).as_uri(), width=1280)
    assert "owned" not in browser.js("document.title")
    assert len(browser.requests) == 1
    assert browser.js("document.querySelectorAll('img').length") == 0
