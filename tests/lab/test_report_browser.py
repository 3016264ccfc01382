"""The report in a real browser: what a reader sees, at desktop and phone width, light and dark."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from browser import CHROMIUM, Browser
from sample_run import sample_run

from labkit.results.report import render

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; fix: apt-get install chromium")

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


def test_ticks_do_not_run_into_one_another(view):
    view.js(OPEN_ALL)
    assert (
        view.js(
            """[...document.querySelectorAll('.x-ticks, .axis .ticks')].flatMap(t => {
          const boxes = [...t.children].map(c => c.getBoundingClientRect());
          return boxes.slice(1).filter((b, i) => b.left < boxes[i].right).map(() => t.textContent);
        })"""
        )
        == []
    )


def test_pointing_at_a_chart_tells_the_figures(view):
    told = view.js(
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
    assert "p50" in told


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
