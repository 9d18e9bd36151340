"""axe-core on every page: nothing serious, in light and dark, in both languages."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from opening import at_rest, go_to

from dashboard.pages.registry import pages

SERIOUS = ("serious", "critical")


@pytest.mark.parametrize(
    ("scheme", "locale", "code"), [("light", "zh-CN", "zh-CN"), ("dark", "en-US", "en")]
)
def test_axe_finds_nothing_serious_on_any_page(browser, server, scheme, locale, code):
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, color_scheme=scheme, locale=locale
    )
    page = context.new_page()
    page.set_default_timeout(180_000)
    page.goto(f"{server.address}/?checkpoint=mamba2-tiny&batches=2&seq_len=64")
    wrong = []
    for key, entry in pages().items():
        if key != "explore":
            go_to(page, key, code)
        for drawing in entry.drawings:
            page.locator(f".st-key-{drawing} svg").first.wait_for()
        at_rest(page)
        for violation in Axe().run(page).response["violations"]:
            for node in violation["nodes"]:
                if violation["impact"] in SERIOUS:
                    wrong.append((key, violation["id"], node["target"], node["html"][:200]))
    context.close()
    assert wrong == []
