"""The Explore page in real Chromium: charts are drawn, change with α and layer, and nothing breaks.

Debian's ``chromium`` is driven by Playwright. Where it is missing the tests skip, unless
SCALESCOPE_REQUIRE_BROWSER is set.
"""

import csv
import io
import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from opening import at_rest, eventually, go_to, listening
from playwright.sync_api import Locator, Page, expect

from dashboard.analysis.report import baselines
from dashboard.pages.registry import pages
from dashboard.rules.observers import ScaleRule

DRAWINGS = pages()["explore"].drawings
OTHERS = {
    key: entry.drawings for key, entry in pages().items() if key != "explore" and entry.drawings
}


@pytest.fixture
def page(tab, server) -> Page:
    """Explore, as whoever comes without a link sees it."""
    tab.goto(server.address)
    ready(tab)
    return tab


def ready(page: Page) -> None:
    """Wait until the live kernel has reported and everything is drawn."""
    page.get_by_text("differ from the reference").wait_for()
    for key in DRAWINGS:
        page.locator(f".st-key-{key} svg").first.wait_for()


def number(page: Page, metric: str) -> str:
    shown = page.locator("[data-testid=stMetric]").filter(has_text=metric).first
    return shown.locator("[data-testid=stMetricValue]:not(.live-copy)").inner_text()


# What a drawing consists of: a figure's plot, or a sheet in its shadow tree.
DRAWN = """(key) => {
  const plot = document.querySelector(`.st-key-${key} .plot`);
  if (plot) return plot.innerHTML;
  for (const host of document.querySelectorAll(`.st-key-${key} *`)) {
    const svg = host.shadowRoot?.querySelector('svg');
    if (svg) return svg.innerHTML;
  }
  return null;
}"""


def drawing(page: Page, key: str) -> str:
    return page.evaluate(DRAWN, key)


def box_of(locator: Locator) -> dict[str, float]:
    """Where an element lies; a drawing may be replaced at the very moment of asking."""
    for _ in range(40):
        box = locator.bounding_box()
        if box:
            return box
        locator.page.wait_for_timeout(50)
    raise AssertionError(f"{locator} has no place on the page")


def seen(page: Page) -> dict[str, str]:
    numbers = {name: number(page, name) for name in ("sqnr_db", "x_out_scale", "saturation_rate")}
    return numbers | {key: drawing(page, key) for key in DRAWINGS}


def changed(page: Page, before: dict[str, str]) -> dict[str, str]:
    """What is seen once the scale has changed and all four drawings with it."""
    for key in DRAWINGS:
        page.wait_for_function(
            f"([key, old]) => {{ const now = ({DRAWN})(key); return now && now !== old; }}",
            arg=[key, before[key]],
        )
    value = page.locator("[data-testid=stMetricValue]:not(.live-copy)").filter(
        has_text=before["x_out_scale"]
    )
    expect(value).to_have_count(0)
    return seen(page)


def test_alpha_and_layer_change_the_numbers_and_nothing_breaks(page):
    first = seen(page)
    assert re.fullmatch(r"\d+\.\d\d dB", first["sqnr_db"])

    page.get_by_role("slider", name="Percentile α").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    alpha = changed(page, first)
    expect(page).to_have_url(re.compile(r"alpha=0\.9996"))

    page.get_by_role("combobox", name="Layer").click()
    page.get_by_role("option", name="2", exact=True).click()
    layer = changed(page, alpha)
    assert len({numbers["sqnr_db"] for numbers in (first, alpha, layer)}) == 3

    # A click on the strip's first cell goes back to layer 0, with the new α.
    page.locator(".st-key-strip .plot").click(position={"x": 40, "y": 60})
    again = changed(page, layer)
    assert {k: again[k] for k in ("sqnr_db", "x_out_scale")} == {
        k: alpha[k] for k in ("sqnr_db", "x_out_scale")
    }

    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator("[data-testid=stAlert]").count() == 0


def test_the_pointer_is_told_exact_counts(page):
    chart = page.locator(".st-key-transfer .plot")
    chart.evaluate("plot => plot.scrollIntoView({block: 'center'})")
    box = box_of(chart)
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"])
    words = page.locator(".st-key-transfer .hovertext")
    expect(words.first).to_contain_text("values")
    page.mouse.move(5, 5)
    expect(words).to_have_count(0)


def test_a_checkpoint_that_is_none_says_so_and_another_can_be_chosen(page):
    box = page.get_by_role("combobox", name="Checkpoint")
    box.click()
    box.fill("no/such place")
    page.keyboard.press("Enter")
    page.get_by_text("is neither a directory, nor a Hub id").wait_for()
    box.click()
    page.get_by_role("option", name="mamba2-tiny", exact=True).click()
    ready(page)
    expect(page.locator("[data-testid=stAlert]")).to_have_count(0)


def lies_within(page: Page, drawings: list[str], width: int, scheme: str) -> None:
    main = box_of(page.locator("[data-testid=stMainBlockContainer]"))
    for key in drawings:
        root = page.locator(f".st-key-{key} :is(.sheet, .scalescope-figure)")
        expect(root.and_(page.locator(f".{scheme}, [data-theme={scheme}]"))).to_have_count(1)
        drawn = box_of(root.locator("svg").first)
        assert drawn["width"] > 300
        assert drawn["x"] + drawn["width"] <= main["x"] + main["width"] + 1
        # A label may lean a few pixels over the edge of its drawing, not leave the page.
        spans = root.evaluate(
            "root => [...root.querySelectorAll('text')].map((text) => {"
            " const box = text.getBoundingClientRect();"
            " return [box.left, box.right, text.textContent]; })"
        )
        outside = [span for span in spans if span[0] < -1 or span[1] > width]
        assert outside == []


def test_nothing_lies_outside_the_page_in_either_theme(tab, server):
    """In one theme and the other, at a desk and when the window is made narrower.

    Every other page is opened in the dark, and the theme is changed while it is on show.
    """
    tab.goto(f"{server.address}?checkpoint=mamba2-tiny")
    ready(tab)
    schemes = ["light", "dark"]
    for key, drawings in {"explore": DRAWINGS, **OTHERS}.items():
        if key != "explore":
            go_to(tab, key)
        for name in drawings:
            tab.locator(f".st-key-{name} svg").first.wait_for()
        for scheme in schemes:
            tab.emulate_media(color_scheme=scheme)
            for width in (1440, 800):
                tab.set_viewport_size({"width": width, "height": 900})
                eventually(tab, partial(lies_within, tab, drawings, width, scheme))
        schemes.reverse()
        tab.set_viewport_size({"width": 1440, "height": 900})


def test_what_was_chosen_is_kept_from_page_to_page(page):
    page.get_by_role("combobox", name="Layer").click()
    page.get_by_role("option", name="2", exact=True).click()
    expect(page.get_by_role("combobox", name="Layer")).to_have_value("2")
    go_to(page, "batches")
    page.locator(".st-key-average svg").first.wait_for()
    expect(page.get_by_role("combobox", name="Layer")).to_have_value("2")
    go_to(page, "explore")
    ready(page)
    expect(page.get_by_role("combobox", name="Layer")).to_have_value("2")


def test_a_press_uses_the_best_alpha_and_clicks_choose_an_alpha_and_a_rule(page):
    page.get_by_role("button", name=re.compile("^Use 0.9")).click()
    page.get_by_text("No percentile does better").wait_for()
    landscape = page.locator(".st-key-landscape svg").first
    box = box_of(landscape)
    landscape.click(position={"x": 0.15 * box["width"], "y": 0.5 * box["height"]})
    page.get_by_text("This scale clips too much").wait_for()
    page.get_by_role("button", name="Choose MinMax, SiLU output").press("Enter")
    page.get_by_text("This scale is too coarse").wait_for()
    expect(page.get_by_role("combobox", name="Scale rule")).to_have_value("minmax")


def test_a_calibration_shows_how_far_it_is_and_can_be_stopped(tab, server):
    tab.goto(f"{server.address}/?checkpoint=mamba-small&batches=256")
    tab.get_by_text(re.compile(r"batch \d+ of 256, layer \d; the charts show the first")).wait_for()
    tab.get_by_role("button", name="Stop calibrating").click()
    tab.get_by_text("Stopped. The charts show the first of 256 batches.").wait_for()
    assert drawing(tab, "transfer")
    assert tab.get_by_text("differ from the reference").count() == 0


def test_a_cell_of_the_layers_page_leads_to_its_layer_and_rule_in_explore(tab, server):
    tab.goto(f"{server.address}/layers")
    tab.locator(".st-key-rules svg").first.wait_for()
    cells = tab.locator(".st-key-rules .picks button")
    # The rule on show is one of the baselines; the recommended α is not.
    expect(cells).to_have_count(4 * (1 + len(baselines(ScaleRule()))))
    tab.locator('.st-key-rules .picks [aria-label^="Layer 2, mse, least squared error"]').press(
        "Enter"
    )
    ready(tab)
    expect(tab.get_by_role("combobox", name="Layer")).to_have_value("2")
    expect(tab.get_by_role("combobox", name="Scale rule")).to_have_value("mse")


def test_a_row_of_a_table_of_layers_leads_to_its_layer_in_explore_in_the_same_tab(tab, server):
    tab.goto(f"{server.address}/glossary")
    for key, drawn, left in (("layers", "rules", 88), ("held-out", "held_out", 88)):
        go_to(tab, key)
        tab.locator(f".st-key-{drawn} svg").first.wait_for()
        table = tab.get_by_test_id("stDataFrame").first
        table.scroll_into_view_if_needed()
        box = box_of(table)
        assert box["height"] >= 35 * 5 + 15  # the last row is not under the scrollbar
        x, y = box["x"] + left, box["y"] + 35 * 3.5  # the third row's button
        tab.mouse.move(x, y)  # the table is painted: it knows a button once the pointer is on it
        tab.wait_for_timeout(300)
        tab.mouse.click(x, y)
        ready(tab)
        expect(tab.get_by_role("combobox", name="Layer")).to_have_value("2")
        assert len(tab.context.pages) == 1


def test_the_layers_leave_as_files(tab, server):
    tab.goto(f"{server.address}/layers")
    tab.locator(".st-key-rules svg").first.wait_for()
    written = {}
    for suffix, label in {
        "csv": "CSV",
        "json": "JSON",
        "bin": "Quamba entries",
        "html": "HTML report",
    }.items():
        with tab.expect_download() as download:
            tab.get_by_role("button", name=label, exact=True).click()
        name = "layers_mamba-tiny_percentile-0.9995_calibration-16x512_"
        assert re.fullmatch(
            re.escape(name) + rf"\d{{4}}-\d\d-\d\d\.{suffix}", download.value.suggested_filename
        )
        written[suffix] = Path(download.value.path()).read_bytes()
    rows = list(csv.DictReader(written["csv"].decode().splitlines()))
    assert len(rows) == 4
    for row in rows:
        assert (
            row["checkpoint"],
            row["text"],
            row["batches"],
            row["seq_len"],
            row["observer"],
            row["alpha"],
        ) == ("mamba-tiny", "calibration.txt", "16", "512", "percentile", "0.9995")
    assert b"calibrated on 16 \xc3\x97 512 tokens of calibration.txt" in written["html"]
    assert len(json.loads(written["json"])["layers"]) == 4
    assert len(torch.load(io.BytesIO(written["bin"]), weights_only=True)) == 3 * 4
    assert written["html"].startswith(b"<!doctype html>") and b"<svg" in written["html"]


def test_a_click_scrubs_through_the_kernels_positions(tab, server):
    tab.goto(f"{server.address}/kernel")
    heading = tab.get_by_role("heading", name=re.compile(r"^Position 100: "))
    heading.wait_for()
    plot = tab.locator(".st-key-pipeline .plot")
    plot.scroll_into_view_if_needed()
    box = box_of(plot)
    tab.mouse.click(box["x"] + 3.5 / 48 * box["width"], box["y"] + 0.5 * box["height"])
    tab.get_by_role("heading", name=re.compile(r"^Position 79: ")).wait_for()
    expect(tab).to_have_url(re.compile(r"position=79"))


def test_a_quantized_checkpoint_points_from_explore_to_its_layers(tab, server):
    tab.goto(f"{server.address}?checkpoint=mamba2-small-quamba2")
    tab.get_by_text("is quantized already").wait_for()
    tab.get_by_role("link", name="Its layers").click()
    tab.get_by_role("heading", name=re.compile("α is never used")).wait_for()
    tab.get_by_role("link", name="Its groups").click()
    tab.locator(".st-key-groups svg").first.wait_for()


SCROLLED = """() => {
  const moving = [];
  for (let at of document.querySelectorAll('.stBidiComponent')) {
    const host = [...at.querySelectorAll('*')].find((part) => part.shadowRoot);
    const sheet = host?.shadowRoot.querySelector('.sheet');
    const drawn = at.querySelector('.scalescope-figure') ?? sheet;
    if (!drawn) continue;
    for (let box = drawn; box && box.dataset?.testid !== 'stMain';
         box = box.parentElement ?? box.getRootNode().host) {
      const kind = getComputedStyle(box).overflowY;
      if (kind !== 'visible' && box.scrollHeight !== box.clientHeight)
        moving.push([at.className, box.className, box.scrollHeight - box.clientHeight]);
    }
  }
  return moving;
}"""


@pytest.mark.parametrize("place", ["", "layers", "compare", "sweep", "lesson"])
def test_no_figure_is_a_scroll_box_and_its_menu_opens_at_a_click(tab, server, place):
    tab.goto(f"{server.address}/{place}?batches=2&seq_len=64")
    keys = {"": DRAWINGS, "lesson": ["lesson_1"]}.get(place) or OTHERS[place]
    for key in keys:
        tab.locator(f".st-key-{key} svg").first.wait_for()
    if place == "":
        ready(tab)
    assert tab.evaluate(SCROLLED) == []

    # A wheel over a figure scrolls the tab.
    tab.set_viewport_size({"width": 1440, "height": 500})
    main = tab.get_by_test_id("stMain")
    main.evaluate("main => main.scrollTo(0, 100)")
    tab.locator(f".st-key-{keys[0]} svg").first.scroll_into_view_if_needed()
    before = main.evaluate("main => main.scrollTop")
    assert before > 0
    box = box_of(tab.locator(f".st-key-{keys[0]} svg").first)
    tab.mouse.move(box["x"] + box["width"] / 2, max(box["y"], 60) + 20)
    tab.mouse.wheel(0, -50)
    tab.wait_for_function(
        "before => document.querySelector('[data-testid=stMain]').scrollTop < before", arg=before
    )

    for key in keys:
        tab.locator(f".st-key-{key} .plot").hover()
        with tab.expect_download() as download:
            tab.locator(f".st-key-{key}").get_by_role("button", name="SVG").click()
        assert re.fullmatch(r"[\w.-]+\.svg", download.value.suggested_filename)


def history(page: Page) -> list[str]:
    """The links of the browser's history up to here, first to last."""
    session = page.context.new_cdp_session(page)
    entries = session.send("Page.getNavigationHistory")
    session.detach()
    return [entry["url"] for entry in entries["entries"][: entries["currentIndex"] + 1]]


def test_a_change_of_page_is_one_step_and_back_restores_the_page_with_its_choices(browser, server):
    page = browser.new_page(viewport={"width": 800, "height": 900})
    page.set_default_timeout(180_000)
    page.goto(f"{server.address}/?checkpoint=mamba2-tiny&batches=2&seq_len=64&layer=2")
    ready(page)
    page.get_by_role("slider", name="Percentile α").focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"alpha=0\.99955"))
    before = history(page)
    go_to(page, "layers")
    page.locator(".st-key-rules svg").first.wait_for()
    go_to(page, "kernel")
    page.locator(".st-key-pipeline svg").first.wait_for()
    expect(page.get_by_test_id("stTopNavDropdownLink")).to_have_count(0)
    expect(page.get_by_role("combobox", name="Layer")).to_have_value("2")
    page.get_by_role("combobox", name="Layer").click()
    page.get_by_role("option", name="1", exact=True).click()
    expect(page).to_have_url(re.compile("layer=1"))
    steps = history(page)
    assert len(steps) == len(before) + 2
    assert ["/layers" in steps[-2], "/kernel" in steps[-1]] == [True, True]

    page.go_back()
    page.locator(".st-key-rules svg").first.wait_for()
    expect(page.get_by_role("combobox", name="Checkpoint")).to_have_value("mamba2-tiny")
    page.go_back()
    ready(page)
    expect(page.get_by_role("combobox", name="Checkpoint")).to_have_value("mamba2-tiny")
    expect(page.get_by_role("combobox", name="Layer")).to_have_value("2")
    expect(page.get_by_role("slider", name="Percentile α")).to_have_attribute(
        "aria-valuetext", "0.99955"
    )
    page.go_forward()
    page.locator(".st-key-rules svg").first.wait_for()
    page.go_forward()
    page.locator(".st-key-pipeline svg").first.wait_for()
    expect(page.get_by_role("combobox", name="Layer")).to_have_value("1")
    assert history(page) == steps
    page.close()


def test_a_click_on_a_layer_is_one_step_and_leads_on_with_the_choices(browser, server):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(180_000)
    page.goto(f"{server.address}/layers?checkpoint=mamba2-tiny&batches=2&seq_len=64&slice=B")
    page.locator(".st-key-rules svg").first.wait_for()
    before = history(page)
    page.locator('.st-key-rules .picks [aria-label^="Layer 2, mse, least squared error"]').press(
        "Enter"
    )
    ready(page)
    for name, value in (("Checkpoint", "mamba2-tiny"), ("Layer", "2"), ("Scale rule", "mse")):
        expect(page.get_by_role("combobox", name=name)).to_have_value(value)
    expect(page.get_by_role("radio", name="B", exact=True)).to_be_checked()
    assert len(history(page)) == len(before) + 1
    page.close()


def test_any_page_is_shown_to_a_room_and_keys_turn_the_pages(tab, server):
    tab.goto(f"{server.address}/claims?checkpoint=mamba2-tiny&present=1")
    heading = tab.locator("h1").first
    expect(heading).to_have_text("Claims")
    expect(tab.get_by_test_id("stHeader")).to_be_hidden()
    tab.locator("[class*=st-key-claim_]").first.wait_for()
    listening(tab)
    tab.keyboard.press("PageDown")
    expect(heading).to_have_text("Glossary")
    expect(tab).to_have_url(re.compile("/glossary.*present=1"))
    tab.keyboard.press("PageUp")
    expect(heading).to_have_text("Claims")
    tab.locator("[class*=st-key-claim_]").first.wait_for()
    tab.keyboard.press("Escape")
    expect(tab.get_by_test_id("stHeader")).to_be_visible()
    assert "present" not in tab.url


def test_a_question_mark_shows_the_keys(page):
    listening(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("the next page, while presenting")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_first_visit_is_told_what_this_is_and_a_link_is_none(page, server):
    welcome = page.locator(".st-key-welcome")
    expect(welcome).to_contain_text("what one number, an INT8 activation scale, does")
    page.get_by_role("button", name="Explore this layer").click()
    expect(welcome).to_have_count(0)
    page.goto(f"{server.address}/?checkpoint=mamba-tiny")
    ready(page)
    expect(welcome).to_have_count(0)


def test_a_saved_figure_says_where_it_comes_from(tab, server):
    tab.goto(f"{server.address}/batches")
    figure = tab.locator(".st-key-average")
    figure.locator(".plot").hover()
    with tab.expect_download() as download:
        figure.get_by_role("button", name="SVG").click()
    name = download.value.suggested_filename
    assert re.fullmatch(
        r"average-layer-0-x_mamba-tiny_percentile-ema-0\.9995_calibration-16x512_[\d-]+\.svg", name
    )
    written = Path(download.value.path()).read_text("utf-8")
    words = " ".join(re.findall(r">([^<>]+)<", written))
    assert "mamba-tiny, calibrated on 16 × 512 tokens of calibration.txt" in words


def test_a_damaged_text_is_walked_by_keys_and_pointer_and_holds_no_markup(browser, server):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(180_000)
    query = "checkpoint=mamba2-tiny&batches=2&seq_len=64&windows=2"
    page.goto(f"{server.address}/impact?{query}")
    text = page.locator(".scalescope-damage .text")
    text.locator("span").nth(10).wait_for()
    at_rest(page)
    own = page.get_by_label("Or a sentence of your own")
    own.fill("An <img src=x onerror=alert(1)> & more")
    own.press("Enter")
    expect(text).to_have_text("An <img src=x onerror=alert(1)> & more")
    assert page.locator(".scalescope-damage img").count() == 0
    details = page.locator(".scalescope-damage .details")
    text.focus()
    page.keyboard.press("Home")
    expect(details).to_contain_text("“A” begins the text")
    page.keyboard.press("ArrowRight")
    expect(details).to_contain_text("“n”:")
    expect(details.locator("tbody tr").first).to_be_visible()
    text.locator("span").nth(3).hover()
    expect(details).to_contain_text("“<”:")
    page.close()
