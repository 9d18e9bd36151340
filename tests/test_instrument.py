"""Explore under the hand, in real Chromium: a dragged cut line, the probe, a pin, undo, a link."""

import re

import numpy as np
import pytest
from oracles import requantize, values_of
from playwright.sync_api import expect

from dashboard.analysis.report import format_alpha, report_scale, report_slice
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ScaleRule, alpha_grid
from dashboard.text import captions
from dashboard.text.language import ENGLISH

LINK = "/?checkpoint=mamba2-tiny&layer=1&batches=3&seq_len=64"
FIGURES = ("strip", "landscape", "transfer", "table", "sweep")


@pytest.fixture(scope="module")
def counted(calibrated):
    """The slice that the link opens, counted without the app."""
    return calibrated("mamba2-tiny").calibration.layer(1).slices[0]


@pytest.fixture(scope="module")
def alphas(counted):
    best = Landscape.of(counted.silu_output).best_alpha
    return alpha_grid(counted.silu_output.total, [best])


@pytest.fixture
def page(tab, server):
    tab.set_viewport_size({"width": 1440, "height": 1100})
    wrong = []

    def note(message) -> None:
        if message.type == "error":
            wrong.append(message.text)

    tab.on("console", note)
    tab.goto(server.address + LINK)
    ready(tab)
    yield tab
    tab.remove_listener("console", note)
    assert wrong == []


def ready(page) -> None:
    """Everything is drawn, the table of answers is there, and the cut line can be taken hold of."""
    page.get_by_text("differ from the reference").wait_for()
    for key in FIGURES:
        page.locator(f".st-key-{key} svg").first.wait_for()
    page.locator(".scalescope-follow[data-ready]").wait_for(state="attached")
    page.locator(".cut-handle").wait_for(state="attached")
    page.locator(".st-key-metrics [data-testid=stMetricValue]:visible").nth(5).wait_for()


def handle(page):
    return page.locator(".cut-handle")


FRAMES = "() => new Promise((over) => requestAnimationFrame(() => requestAnimationFrame(over)))"


def alpha_on_show(page) -> float:
    """Once the frame has been drawn that follows what was pressed or moved last."""
    page.evaluate(FRAMES)
    text = handle(page).get_attribute("aria-valuetext")
    return float(text.removeprefix("α "))


def numbers(page) -> dict[str, str]:
    """The six metrics that can be seen: the page's own, or those that stand in for them."""
    shown = page.evaluate(
        """() => [...document.querySelectorAll('.st-key-metrics [data-testid=stMetric]')]
        .filter((metric) => metric.offsetParent)
        .map((metric) => {
          const name = metric.querySelector('[data-testid=stMetricLabel]').innerText.trim();
          const values = [...metric.querySelectorAll('[data-testid=stMetricValue]')];
          return [name, values.find((value) => value.offsetParent).innerText.trim()];
        })"""
    )
    return {name: value.replace("\u00a0", " ") for name, value in shown}


def wanted(counted, alpha: float) -> dict[str, str]:
    report = report_slice(counted, report_scale(counted, ScaleRule("percentile", alpha)))
    beside = report_scale(counted, ScaleRule("minmax", alpha))
    return {metric.name: metric.value for metric in captions.metrics(report, beside, ENGLISH)}


# Where the cut line lies in the figure, in px of the window: on the output histogram, on the ruler,
# on SiLU's curve, on the input.
PLACES = """() => {
  const plot = document.querySelector('.st-key-transfer .plot'), full = plot._fullLayout;
  const frame = plot.getBoundingClientRect(), knob = document.querySelector('.cut-handle');
  const y = knob.getBoundingClientRect().top + knob.getBoundingClientRect().height / 2;
  const { xaxis, xaxis3, yaxis2, yaxis3 } = full;
  const line = plot.data.findIndex((trace) => trace.name === 'line chosen');
  const v = plot._fullData[line].x[0];
  const x = frame.left + xaxis._offset + xaxis.l2p(v);
  return {
    output: [frame.left + xaxis3._offset + 0.4 * xaxis3._length, y],
    ruler: [frame.left + xaxis3._offset + 0.83 * xaxis3._length, y + 4],
    curve: [x + 25, y],
    input: [x, frame.top + yaxis2._offset + 0.7 * yaxis2._length],
  };
}"""


@pytest.mark.parametrize("place", ["output", "ruler", "curve", "input"])
def test_a_dragged_cut_line_takes_every_number_along(page, counted, alphas, place):
    before = numbers(page)
    assert before == wanted(counted, alpha_on_show(page))
    x, y = page.evaluate(PLACES)[place]
    page.mouse.move(x, y)
    page.mouse.down()
    steps = []
    for k in range(1, 9):
        page.mouse.move(*((x - 5 * k, y) if place == "input" else (x, y + 9 * k)))
        page.wait_for_timeout(60)
        steps.append(alpha_on_show(page))
    assert steps == sorted(steps, reverse=True) and steps[-1] < 0.9995
    assert steps[-1] in alphas
    expect(page.locator("body")).to_have_class(re.compile("scalescope-live"))
    assert numbers(page) == wanted(counted, steps[-1])
    report = report_slice(counted, report_scale(counted, ScaleRule("percentile", steps[-1])))
    verdict = captions.verdict(report, Landscape.of(counted.silu_output), ENGLISH)
    expect(page.locator(".st-key-verdict .live-copy")).to_contain_text(verdict.replace("**", ""))
    moved = outlines(page)
    page.mouse.up()
    # At rest the server's figures and the kernel's word take the place of what was shown.
    expect(page).to_have_url(re.compile(f"alpha={re.escape(format_alpha(steps[-1]))}"))
    expect(page.locator("body")).not_to_have_class(re.compile("scalescope"))
    page.get_by_text("differ from the reference").wait_for()
    assert numbers(page) == wanted(counted, steps[-1])
    expect(page.locator(".stand-in")).to_have_count(0)
    assert_same_outlines(moved, page)


# Each trace that moved: its points as drawn, in px. Of Plotly's own several paths make one trace.
OUTLINES = """(stand_in) => Object.fromEntries(
  [...document.querySelectorAll('.plot')].flatMap((plot) => plot.data.map((trace, i) => {
    const own = plot.querySelector(`.trace${plot._fullData[i].uid}`);
    const node = stand_in ? own?.nextElementSibling : own;
    if (!own || (stand_in && node?.getAttribute('class') !== 'stand-in')) return null;
    if (trace.mode !== 'lines' || !trace.name) return null;
    const kind = trace.fill ? 'path.js-fill' : 'path.js-line';
    const paths = [...node.querySelectorAll(stand_in ? 'path' : kind)];
    const boxes = paths.map((path) => path.getBBox()).filter((box) => box.width || box.height);
    if (!boxes.length) return null;
    const key = plot.closest('[class*=st-key]').className.match(/st-key-(\\w+)/)[1];
    const nth = plot.data.slice(0, i).filter((other) => other.name === trace.name).length;
    return [`${key} ${trace.name} ${nth}`, [
      Math.min(...boxes.map((box) => box.x)), Math.min(...boxes.map((box) => box.y)),
      Math.max(...boxes.map((box) => box.x + box.width)),
      Math.max(...boxes.map((box) => box.y + box.height)),
    ]];
  }).filter(Boolean)))"""


def outlines(page) -> dict:
    return page.evaluate(OUTLINES, True)


def assert_same_outlines(moved: dict, page) -> None:
    """What stood in for Plotly's traces lay where Plotly then drew them, to half a pixel."""
    own = page.evaluate(OUTLINES, False)
    common = set(moved) & set(own)
    assert {name.split()[0] for name in common} >= {"transfer", "strip", "table"}, common
    for name in common:
        if name.startswith("table"):  # the rows below may change their number with α
            continue
        np.testing.assert_allclose(moved[name], own[name], atol=0.6, err_msg=name)


def test_keys_move_the_cut_line_and_the_slider_does_too(page, counted, alphas):
    handle(page).focus()
    at = alphas.index(alpha_on_show(page))
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowUp")
    assert alpha_on_show(page) == alphas[at - 9]
    expect(page).to_have_url(re.compile(f"alpha={re.escape(format_alpha(alphas[at - 9]))}"))
    assert numbers(page) == wanted(counted, alphas[at - 9])
    slider = page.locator(".st-key-alpha input[type=range]")
    assert slider.get_attribute("aria-valuetext") == format_alpha(alphas[at - 9])
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(f"alpha={re.escape(format_alpha(alphas[at - 7]))}"))
    expect(page.locator("body")).not_to_have_class(re.compile("scalescope"))
    assert alpha_on_show(page) == alphas[at - 7]
    assert numbers(page) == wanted(counted, alphas[at - 7])


def test_dragging_under_another_rule_chooses_the_percentile(page, counted):
    page.get_by_role("combobox", name="Scale rule").click()
    page.get_by_role("option", name="entropy", exact=True).click()
    expect(handle(page)).to_have_attribute("aria-valuetext", re.compile("entropy"))
    handle(page).focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("combobox", name="Scale rule")).to_have_value("percentile")
    expect(page.locator("body")).not_to_have_class(re.compile("scalescope"))
    assert numbers(page) == wanted(counted, alpha_on_show(page))


def test_the_probe_says_a_values_whole_way(page, counted):
    scale = report_scale(counted, ScaleRule("percentile", 0.9995))
    y = values_of(counted.silu_output)
    codes = requantize(y, scale.x_out_scale).codes
    knob = page.locator(".probe-handle")
    knob.focus()
    for key in ("Home", "PageUp", "PageUp", "ArrowRight", "End", "PageDown"):
        page.keyboard.press(key)
        v = float(knob.get_attribute("aria-valuenow"))
        silu = v / (1 + np.exp(-v))
        code = int(requantize([silu], scale.x_out_scale).codes[0])
        back = code * scale.x_out_scale
        sharing = int((codes == code).sum())
        value_text = knob.get_attribute("aria-valuetext").replace("−", "-")
        assert re.search(rf"code {code}\b", value_text), value_text
        assert f"{sharing:,} values share" in value_text
        assert float(re.search(r"back (-?[\d.]+)", value_text)[1]) == pytest.approx(back, rel=2e-3)
        assert float(re.search(r"SiLU\(v\) = (-?[\de.-]+)", value_text)[1]) == pytest.approx(
            silu, rel=2e-3
        )


def test_a_kept_probe_and_a_zoom_survive_a_reload_and_another_alpha(page):
    plot = page.locator(".st-key-transfer .plot")
    plot.click(position={"x": 420, "y": 480})
    way = page.locator(".scalescope-arrived")
    expect(way).to_contain_text("values share this code")
    kept = re.search("v = [−0-9.]+", way.inner_text())[0]
    expect(page).to_have_url(re.compile("probe="))
    page.mouse.move(5, 5)
    expect(way).to_contain_text(kept)
    page.locator(".st-key-transfer").hover()
    page.locator(".st-key-transfer [data-action=closer]").click()
    expect(page).to_have_url(re.compile("zoom=transfer.xaxis"))
    read = "() => document.querySelector('.st-key-transfer .plot')._fullLayout.xaxis.range"
    zoomed = page.evaluate(read)
    handle(page).focus()
    page.keyboard.press("ArrowDown")
    expect(page).to_have_url(re.compile("alpha=.*probe=.*zoom=|alpha=.*zoom=.*probe="))
    np.testing.assert_allclose(page.evaluate(read), zoomed, rtol=1e-6)
    page.reload()
    ready(page)
    np.testing.assert_allclose(page.evaluate(read), zoomed, rtol=1e-3)
    expect(page.locator(".scalescope-arrived")).to_contain_text(kept)
    page.locator(".st-key-transfer").hover()
    page.locator(".st-key-transfer [data-action=whole]").click()
    expect(page).not_to_have_url(re.compile("zoom="))
    page.locator(".probe-handle").focus()
    page.keyboard.press("Escape")
    expect(page).not_to_have_url(re.compile("probe="))


def test_a_pinned_layer_stands_beside_another_and_changes_are_undone(page):
    page.get_by_role("button", name="Pin", exact=False).first.click()
    page.locator(".st-key-pinned .st-key-pinned_one_figure svg").first.wait_for()
    expect(page).to_have_url(re.compile(r"pin=1\.x\.percentile%400\.9995"))
    page.locator('.st-key-strip .picks [aria-label^="Layer 2"]').first.press("Enter")
    expect(page.locator(".st-key-chosen_one")).to_contain_text("layer 2, slice x")
    expect(page.locator(".st-key-pinned_one")).to_contain_text("layer 1, slice x")
    expect(page.get_by_role("combobox", name="Layer")).to_have_value("2")
    page.get_by_text("differ from the reference").wait_for()
    page.keyboard.press("Control+z")
    expect(page.get_by_role("combobox", name="Layer")).to_have_value("1")
    expect(page.locator(".st-key-chosen_one")).to_contain_text("layer 1, slice x")
    page.keyboard.press("Control+z")
    expect(page.locator(".st-key-pinned")).to_have_count(0)
    page.keyboard.press("Control+Shift+Z")
    page.locator(".st-key-pinned .st-key-pinned_one_figure svg").first.wait_for()
