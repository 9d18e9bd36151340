"""Pages as a link opens them, without a browser, and what they then say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parent.parent
# Any page at the root of an app of its own, with links to all others.
SCRIPT = """
from dashboard.pages import registry
registry.navigation({key!r})()
"""


@cache
def scan_once() -> None:
    """Let Streamlit look through all installed distributions for components once, not at each run:
    that takes as long as a page."""
    from streamlit.components.v2 import manifest_scanner

    manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)


def asked(key: str, **settings: str) -> AppTest:
    """A page that a link with these settings asks for, by its key; "app" is app.py. Not run yet."""
    # Imported here: on a GPU machine the kernels' tests run without Streamlit.
    from streamlit.testing.v1 import AppTest

    scan_once()
    if key == "app":
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    else:
        app = AppTest.from_string(SCRIPT.format(key=key), default_timeout=300)
    app.query_params.update(settings)
    return app


def opened(key: str, **settings: str) -> AppTest:
    """The same, run."""
    app = asked(key, **settings).run()
    assert not app.exception
    return app


def turned_to(app: AppTest, key: str) -> AppTest:
    """The same visitor on another page, as the navigation leads there: without the link's words."""
    from streamlit.util import calc_hash

    app._page_hash = calc_hash(key)
    app.query_params.clear()
    app.run()
    assert not app.exception
    return app


def go_to(page: Page, key: str, code: str = "en") -> None:
    """In a browser, from any page: through the navigation to another, in the language on show."""
    from dashboard.pages.registry import GROUPS, pages
    from dashboard.text.language import language

    say, entry = language(code), pages()[key]
    if GROUPS[entry.group]:
        page.get_by_test_id("stTopNavSection").filter(has_text=say(GROUPS[entry.group])).click()
        page.get_by_test_id("stTopNavDropdownLink").filter(has_text=say(entry.title)).click()
    else:
        page.get_by_test_id("stTopNavLink").filter(has_text=say(entry.title)).click()


def at_rest(page: Page) -> None:
    """Nothing runs, nor did a second ago: a page that has been drawn may still count channels. What
    the last run left out is gone, and what it grayed has its colours again."""
    page.wait_for_function(
        """() => {
          const app = document.querySelector('[data-testid=stApp]');
          const settled = app?.dataset.testScriptState === 'notRunning'
            && !document.querySelector('[data-testid=stStatusWidget], [data-stale=true]')
            && !document.getAnimations().some((one) => one instanceof CSSTransition);
          if (!settled) window.unsettled = Date.now();
          return Date.now() - (window.unsettled ??= Date.now()) > 1000;
        }"""
    )


def listening(page: Page) -> None:
    """The page takes a presenter's keys, and ``?``: their components are loaded after it."""
    page.wait_for_function("window.scalescopePresenter?.page")
    page.locator("dialog dt").first.wait_for(state="attached")


def eventually(page: Page, check: Callable[[], None]) -> None:
    """A check that holds once the page has arranged itself anew."""
    for _ in range(50):
        try:
            return check()
        except AssertionError:
            page.wait_for_timeout(100)
    check()


def page_text(app: AppTest) -> str:
    """Every text, caption and note of the page, as Markdown."""
    return "\n".join(item.value for item in [*app.markdown, *app.caption, *app.info])
