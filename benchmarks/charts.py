"""Streamlit's own chart against this project's component: α moved by a key, until all is painted.

    python -m benchmarks.charts

Both draw the same four figures of Explore in real Chromium. Painted is the frame after the last
change of any of them. Prints medians; asserts nothing.
"""

import statistics
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.page import launched, served

SCRIPT = Path(__file__).with_name("charts_app.py")
KEYS = ("strip", "transfer", "sweep", "table")
MOVES = 12
WATCH = """(keys) => {
  window.painted = 0;
  window.watcher?.disconnect();
  window.watcher = new MutationObserver((changes) => {
    if (changes.some(({ target }) => (target.closest ?? target.parentElement?.closest)
        ?.call(target.closest ? target : target.parentElement, keys)))
      requestAnimationFrame(() => { window.painted = performance.now(); });
  });
  window.watcher.observe(document.body,
    { subtree: true, childList: true, attributes: true, characterData: true });
  addEventListener('keydown', () => { window.pressed = performance.now(); },
    { capture: true, once: true });
}"""


def moves(page: Page, address: str, by: str) -> list[float]:
    """ms from each key press to the last change of the four figures, painted."""
    page.goto(f"{address}/?by={by}")
    for key in KEYS:
        page.locator(f".st-key-{key} svg.main-svg").first.wait_for(timeout=120_000)
    page.wait_for_timeout(3000)
    page.get_by_role("slider").first.focus()
    times = []
    for k in range(MOVES):
        page.evaluate(WATCH, ",".join(f".st-key-{key}" for key in KEYS))
        page.keyboard.press(("ArrowLeft", "ArrowRight")[k % 2])
        page.wait_for_timeout(2000)
        times.append(page.evaluate("painted - pressed"))
    return times


def main() -> None:
    with sync_playwright() as playwright, served(script=SCRIPT) as address:
        browser = launched(playwright)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        for by in ("drawing", "plotly_chart", "drawing", "plotly_chart"):
            times = moves(page, address, by)
            print(f"{by}: median {statistics.median(times):.0f} ms, greatest {max(times):.0f} ms")
        browser.close()


if __name__ == "__main__":
    main()
