"""The lesson in real Chromium: keys, links, languages, a phone, saved figures, nothing fetched."""

import re
from functools import partial
from pathlib import Path

import pytest
from opening import eventually, go_to, listening
from playwright.sync_api import Page, expect

STEPS = range(1, 13)


@pytest.fixture
def address(server) -> str:
    return server.address


def opened(page: Page, address: str, query: str = "") -> Page:
    """The lesson on the smallest Mamba-2."""
    page.goto(f"{address}/lesson?checkpoint=mamba2-tiny{query}")
    return page


def on_step(page: Page, step: int) -> None:
    page.get_by_role("heading", name=re.compile(f"^{step} · ")).wait_for()
    page.locator(f".st-key-lesson_{step} .scalescope-figure[data-drawn]").wait_for()


def test_a_presenters_keys_turn_the_pages_and_escape_leaves(tab, address):
    page = opened(tab, address, "&present=1")
    on_step(page, 1)
    expect(page.locator("[data-testid=stHeader]")).to_be_hidden()
    listening(page)
    page.keyboard.press("PageDown")
    on_step(page, 2)
    page.keyboard.press("ArrowRight")
    on_step(page, 3)
    page.keyboard.press("ArrowLeft")
    on_step(page, 2)
    # A slider with the focus keeps its arrows; Page Down still turns the page.
    page.keyboard.press("PageDown")
    on_step(page, 3)
    slider = page.get_by_role("slider", name="Spread")
    before = slider.get_attribute("aria-valuetext")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(slider).not_to_have_attribute("aria-valuetext", before)
    on_step(page, 3)
    page.keyboard.press("Escape")
    expect(page.locator("[data-testid=stHeader]")).to_be_visible()
    assert "present" not in page.url
    page.keyboard.press("PageDown")  # a page's own key again
    page.wait_for_timeout(1500)
    on_step(page, 3)
    page.get_by_role("button", name="Present").click()
    expect(page.locator("[data-testid=stHeader]")).to_be_hidden()
    assert "present=1" in page.url


def test_a_link_restores_the_step_its_settings_and_the_language(tab, address):
    page = opened(tab, address)
    on_step(page, 1)
    page.get_by_role("radio", name="5", exact=True).click()
    on_step(page, 5)
    slider = page.get_by_role("slider", name="Where they lie")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("radio", name="简体中文").click()
    page.get_by_role("heading", name="5 · 离群值：总有人付出代价").wait_for()
    expect(page).to_have_url(re.compile("outlier_size=10.5"))
    link = page.url
    assert "step=5" in link and "lang=zh-CN" in link
    again = opened(tab, address, "&" + link.split("?")[1])
    again.get_by_role("heading", name="5 · 离群值：总有人付出代价").wait_for()
    expect(again.get_by_role("slider", name="离群值的位置")).to_have_attribute(
        "aria-valuetext", "10.5"
    )


def test_the_browsers_language_is_the_first(browser, address):
    page = opened(browser.new_page(locale="zh-CN"), address)
    page.get_by_role("heading", name="1 · 一个数决定 INT8 能表示什么").wait_for()
    page.get_by_role("heading", name="课程", exact=True).wait_for()
    page.wait_for_function("document.documentElement.lang === 'zh-CN'")
    page.get_by_role("radio", name="English", exact=True).click()
    page.wait_for_function("document.documentElement.lang === 'en'")
    page.close()


@pytest.mark.parametrize("code", ["en", "zh-CN"])
def test_nothing_is_wider_than_the_screen(tab, address, code):
    """Of a phone and of a tablet; every other step is drawn on the one, and turned to the other."""
    widths = [390, 800]
    tab.set_viewport_size({"width": widths[0], "height": 844})
    page = opened(tab, address, f"&lang={code}")
    on_step(page, 1)
    for step in STEPS:
        page.get_by_role("radio", name=str(step), exact=True).click()
        on_step(page, step)
        for width in widths:
            page.set_viewport_size({"width": width, "height": 844})
            eventually(page, partial(fits, page, step, width))
        widths.reverse()


def fits(page: Page, step: int, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("main => main.scrollWidth <= main.clientWidth")
    root = page.locator(f".st-key-lesson_{step} .plot")
    assert root.bounding_box()["width"] <= width
    spans = root.evaluate(
        "root => [...root.querySelectorAll('text')].map((text) => {"
        " const box = text.getBoundingClientRect();"
        " return [box.left, box.right, text.textContent]; })"
    )
    assert spans
    assert [span for span in spans if span[0] < 0 or span[1] > width] == []


def test_a_term_explains_itself_to_the_keyboard(tab, address):
    page = opened(tab, address)
    on_step(page, 1)
    term = page.locator(".term", has_text="scale").first
    tip = term.locator("[role=tooltip]")
    expect(tip).to_be_hidden()
    term.focus()
    expect(tip).to_be_visible()
    expect(tip).to_contain_text("amax / 127")
    term.blur()
    expect(tip).to_be_hidden()


@pytest.mark.parametrize("code", ["en", "zh-CN"])
def test_an_explanation_hangs_below_its_own_term_on_any_line(tab, address, code):
    page = opened(tab, address, f"&step=2&lang={code}")
    on_step(page, 2)
    lines = set()
    page.locator(".claim .term").first.wait_for()
    for term in page.locator(".claim .term").all():
        term.hover()
        tip = term.locator(".tip")
        expect(tip).to_be_visible()
        words, box = term.bounding_box(), tip.bounding_box()
        paragraph = page.locator(".claim p").bounding_box()
        lines.add(round(words["y"]))
        assert 0 <= box["y"] - (words["y"] + words["height"]) < 6
        assert box["x"] < words["x"] + words["width"] and words["x"] < box["x"] + box["width"]
        assert box["x"] >= paragraph["x"] - 1
        assert box["x"] + box["width"] <= paragraph["x"] + paragraph["width"] + 1
        page.mouse.move(0, 0)
    assert len(lines) > 1  # some stand on a second line


@pytest.mark.parametrize(("kind", "magic"), [("PNG", b"\x89PNG"), ("SVG", b"<svg")])
def test_a_figure_is_saved_by_the_keyboard(tab, address, kind, magic):
    page = opened(tab, address)
    on_step(page, 1)
    button = page.locator(".st-key-lesson_1").get_by_role(
        "button", name=f"Save this figure as {kind}"
    )
    with page.expect_download() as download:
        button.press("Enter")
    saved = download.value
    assert saved.suggested_filename == f"scalescope-int8_range.{kind.lower()}"
    content = Path(saved.path()).read_bytes()
    assert content.startswith(magic)
    if kind == "SVG":
        assert "One number decides" in content.decode()  # the step's title stands above it


def test_the_handout_is_one_file_with_every_step(tab, address):
    page = opened(tab, address, "&lang=zh-CN")
    page.get_by_role("heading", name=re.compile("^1 · ")).wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="讲义").click()
    paper = Path(download.value.path()).read_text("utf-8")
    assert paper.count('role="img"') == len(STEPS)
    assert "术语表" in paper


def test_the_handout_draws_its_figures_without_a_server(tab, browser, address):
    page = opened(tab, address)
    on_step(page, 1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Handout").click()
    paper = browser.new_page()
    thrown, asked = [], []
    paper.on("pageerror", lambda error: thrown.append(str(error)))
    paper.on("request", lambda request: asked.append(request.url))
    paper.set_content(Path(download.value.path()).read_text("utf-8"))
    for figure in paper.locator(".plotly-figure").all():
        figure.locator(".main-svg").first.wait_for()
    assert thrown == [] and asked == []
    paper.close()


def test_a_slider_changes_the_figure_and_its_reading_and_the_rest_stays(tab, address):
    page = opened(tab, address, "&step=3")
    on_step(page, 3)
    question = page.locator(".st-key-question")
    page.evaluate("document.querySelector('h2').dataset.seen = 'before'")
    stranded = page.locator(".st-key-lesson_3").get_by_text(re.compile("codes"))
    before = stranded.text_content()
    slider = page.get_by_role("slider", name="Spread")
    slider.focus()
    for value in ("1.1", "1.2", "1.3"):
        page.keyboard.press("ArrowRight")
        expect(page).to_have_url(re.compile(f"spread={value}"))
    expect(stranded).not_to_have_text(before)
    expect(page.locator("h2").first).to_have_attribute("data-seen", "before")
    expect(question).to_be_visible()
    expect(page).to_have_url(re.compile("spread=1.3"))


def test_the_picture_follows_a_slider_while_it_is_dragged(tab, address):
    page = opened(tab, address, "&step=3")
    on_step(page, 3)
    stranded = page.locator(".st-key-lesson_3").get_by_text(re.compile("codes"))
    before = stranded.text_content()
    slider = page.get_by_role("slider", name="Spread")
    first = slider.get_attribute("aria-valuetext")
    box = slider.bounding_box()
    share = float(slider.input_value()) / float(slider.get_attribute("max"))
    x, y = box["x"] + box["width"] * share, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(10):
        page.mouse.move(x + 8 * (step + 1), y)
    held = slider.get_attribute("aria-valuetext")
    assert float(held) > float(first)
    expect(stranded).not_to_have_text(before)  # the hand still holds the thumb
    expect(page).to_have_url(re.compile(f"spread={re.escape(held)}"))  # the last value, always
    expect(slider).to_have_attribute("aria-valuetext", held)
    page.mouse.move(x - 20, y)
    page.mouse.up()
    expect(page).not_to_have_url(re.compile(f"spread={re.escape(held)}"))


def test_an_answer_is_kept_and_a_right_one_marks_its_step(tab, address):
    page = opened(tab, address)
    on_step(page, 1)
    page.locator(".st-key-question").get_by_text("2.54").click()
    page.get_by_text("Right.").wait_for()
    page.get_by_role("button", name="Next").click()
    on_step(page, 2)
    page.get_by_role("radio", name="1✓").click()
    on_step(page, 1)
    expect(page.get_by_role("radio", name="2.54")).to_be_checked()
    page.get_by_text("Right.").wait_for()


def test_the_end_of_the_lesson_leads_on_to_the_model_at_its_best_alpha(tab, address):
    page = opened(tab, address, f"&step={STEPS[-1]}")
    on_step(page, STEPS[-1])
    page.get_by_role("link", name=re.compile("Explore this model at α")).click()
    page.get_by_role("heading", name="Explore", exact=True).wait_for()
    expect(page).to_have_url(re.compile(r"checkpoint=mamba2-tiny.*alpha=0\.9"))


def test_no_request_leaves_the_machine(browser, address):
    page, asked = browser.new_page(), []  # of its own: nothing has been fetched before
    page.on("request", lambda request: asked.append(request.url))
    opened(page, address)
    on_step(page, 1)
    page.get_by_role("button", name="Next").click()
    on_step(page, 2)
    page.close()
    away = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert [url for url in away if not url.startswith(address.replace("http", "ws"))] == []


def test_the_lesson_is_walked_with_the_keyboard_alone(tab, address):
    page = opened(tab, address)
    on_step(page, 1)
    page.get_by_role("radio", name="0.02").focus()
    page.keyboard.press("Space")
    page.get_by_text("Not quite.").wait_for()
    page.keyboard.press("ArrowDown")
    page.get_by_text("Right.").wait_for()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText").endswith("Next"):
            break
    page.keyboard.press("Enter")
    on_step(page, 2)


def test_a_claim_leads_to_the_step_that_shows_it_and_the_step_is_kept(tab, address):
    page = opened(tab, address, "&step=3&lang=zh-CN")
    on_step(page, 3)
    go_to(page, "claims", "zh-CN")
    page.get_by_text("不成立").first.wait_for()
    go_to(page, "glossary", "zh-CN")
    page.get_by_text("scale_wx = x_scale · w_scale").first.wait_for()
    go_to(page, "lesson", "zh-CN")
    on_step(page, 3)  # where the reader was
    go_to(page, "claims", "zh-CN")
    widens = page.locator("[class*=st-key-claim_]").filter(has_text="SiLU 扩大了值域")
    widens.get_by_role("link", name="查看").click()
    on_step(page, 7)
    assert "step=7" in page.url and "lang=zh-CN" in page.url
    expect(page.get_by_role("combobox", name="检查点")).to_have_value("mamba2-tiny")


@pytest.mark.parametrize("step", [2, 6, 8])
def test_what_is_chosen_is_legible_in_a_room(tab, address, step):
    tab.set_viewport_size({"width": 1920, "height": 1080})
    page = opened(tab, address, f"&present=1&step={step}")
    on_step(page, step)
    cut = page.evaluate(
        "() => [...document.querySelectorAll('.st-key-act input')]"
        ".filter((box) => box.type !== 'range' && box.scrollWidth > box.clientWidth)"
        ".map((box) => [box.ariaLabel, box.value, box.scrollWidth, box.clientWidth])"
    )
    assert cut == []
