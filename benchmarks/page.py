"""How long a person waits for the Explore page, in real Chromium.

    python -m benchmarks.page

Starts its own servers, opens the page cold, drags the cut line, then moves α and changes the layer
by keyboard. A change is painted when the last chart has changed, one frame later; the live kernel's
status and the metrics are timed apart. A drag is timed from the pointer's event to the first task
after the frame that shows it: all that follows is in that frame. Prints medians; asserts nothing.
"""

import itertools
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import torch
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REPEATS = 12

# Notes when each region of the page last changed, one frame after the change.
OBSERVE = """() => {
  window.painted = {};
  const note = (name) => requestAnimationFrame(() => { window.painted[name] = performance.now(); });
  const everything = {subtree: true, childList: true, characterData: true, attributes: true};
  window.observers?.forEach((observer) => observer.disconnect());
  window.observers = [];
  const watch = (target, nameOf) => {
    const observer = new MutationObserver((changes) => {
      for (const {target} of changes) {
        const name = nameOf(target.nodeType === 1 ? target : target.parentElement);
        if (name) note(name);
      }
    });
    observer.observe(target, everything);
    window.observers.push(observer);
  };
  const keys = ['strip', 'landscape', 'transfer', 'table', 'sweep'];
  const charts = keys.map((key) => `.st-key-${key}`).join();
  const chart = (element) => {
    const { top, bottom } = element.getBoundingClientRect();
    return bottom > 0 && top < innerHeight ? 'charts in sight' : 'charts below';
  };
  watch(document.body, (element) =>
    element?.closest('.st-key-status') ? 'kernel' :
    element?.closest('[data-testid=stMetricValue]') ? 'metrics' :
    element?.closest(charts) ? chart(element.closest(charts)) : null);
  window.addEventListener('keydown', () => { window.pressed = performance.now(); },
    {capture: true, once: true});
}"""


def launched(playwright: Playwright) -> Browser:
    """Debian's Chromium as a person has it: with its scrollbars, which Playwright would hide."""
    return playwright.chromium.launch(
        executable_path=shutil.which("chromium"),
        args=FLAGS,
        ignore_default_args=["--hide-scrollbars"],
    )


@contextmanager
def served(
    output: int | IO = subprocess.DEVNULL,
    listen: str | None = None,
    directory: Path = ROOT,
    script: Path = ROOT / "app.py",
):
    """The app on a free port; yields its address as soon as the server answers.

    ``output`` is where the server's log goes; ``listen`` the server's address where it is not the
    configuration's; ``directory`` where it is started; ``script`` what it runs.
    """
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    server = subprocess.Popen(
        [
            *command,
            "--server.headless",
            "true",
            "--server.port",
            str(port),
            *(["--server.address", listen] if listen else []),
        ],
        cwd=directory,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health").close()
                break
            except OSError:
                time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def open_page(page: Page, address: str) -> tuple[float, float]:
    """Seconds to the first chart, and to the kernel's status."""
    begun = time.perf_counter()
    page.goto(address)
    page.locator(".st-key-transfer svg").first.wait_for(timeout=120_000)
    chart = time.perf_counter() - begun
    page.get_by_text("differ from the reference").first.wait_for(timeout=120_000)
    return chart, time.perf_counter() - begun


def after_key(page: Page, key: str) -> dict[str, float]:
    """ms from a key press to the last change of each region."""
    page.evaluate(OBSERVE)
    page.keyboard.press(key)
    page.wait_for_timeout(1500)
    return page.evaluate(
        "Object.fromEntries(Object.entries(painted).map(([n, t]) => [n, t - pressed]))"
    )


def median_after(page: Page, keys: list[str]) -> dict[str, float]:
    """The median time of each region over presses of several keys, in ms."""
    runs = [after_key(page, key) for key in keys]
    names = sorted({name for times in runs for name in times})
    return {name: statistics.median(t[name] for t in runs if name in t) for name in names}


# From each move of the pointer to the first task after the next frame.
WATCH_DRAG = """() => {
  if (window.moves) return;
  window.moves = [];
  window.addEventListener('pointermove', (event) => {
    const begun = event.timeStamp;
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.moves.push(performance.now() - begun);
      port2.postMessage(0);
    });
  }, true);
}"""
LOADED = """() => {
  const loaded = performance.getEntriesByType('resource');
  const library = loaded.find((entry) => /plotly-cartesian/.test(entry.name));
  return library && [library.startTime, library.responseEnd, library.transferSize];
}"""


def drag(page: Page, moves: int = 30) -> tuple[list[float], dict[str, float]]:
    """Take the cut line in the hand: ms of each move until it is painted, and of letting go."""
    box = page.locator(".cut-handle").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.evaluate(WATCH_DRAG)
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate("() => { window.moves = []; }")
    for k in range(moves):
        page.mouse.move(x, y + 5 * (k + 1 if k < moves / 2 else moves - k) + k % 2)
        page.wait_for_timeout(120)
    times = page.evaluate("moves")
    page.evaluate(OBSERVE)
    page.evaluate(
        "() => window.addEventListener('pointerup', () => { window.pressed = performance.now(); },"
        " {capture: true, once: true})"
    )
    page.mouse.up()
    page.wait_for_timeout(2000)
    return times, page.evaluate(
        "Object.fromEntries(Object.entries(painted).map(([n, t]) => [n, t - pressed]))"
    )


def report_drags(page: Page, what: str, repeats: int) -> None:
    runs = [drag(page) for _ in range(repeats)]
    times = sorted(ms for moves, _ in runs for ms in moves)
    high = times[int(0.95 * (len(times) - 1))]
    middle = statistics.median(times)
    print(f"{what}: {len(times)} moves painted, median {middle:.0f} ms, p95 {high:.0f} ms")
    for name in ("kernel", "charts in sight", "charts below"):
        let_go = [after[name] for _, after in runs if name in after]
        if let_go:
            print(f"{what}: let go -> {name}, median {statistics.median(let_go):.0f} ms")


# When a figure's plot was last drawn.
WATCH_PLOT = """(key) => {
  window.draws = [];
  const react = Plotly.react;
  Plotly.react = (...all) => {
    const drawn = react.apply(Plotly, all);
    if (all[0].closest(`.st-key-${key}`)) drawn.then(() => draws.push(performance.now()));
    return drawn;
  };
}"""


def drag_slider(page: Page, address: str, path: str, name: str, key: str) -> None:
    """How often the figure of a slider is drawn while its thumb is dragged for some seconds."""
    page.goto(f"{address}/{path}")
    slider = page.get_by_role("slider", name=name)
    page.locator(f".st-key-{key} svg").first.wait_for(timeout=120_000)
    page.wait_for_timeout(4000)
    page.evaluate(WATCH_PLOT, key)
    box = slider.bounding_box()
    assert box
    y, share = box["y"] + box["height"] / 2, float(slider.input_value())
    share /= float(slider.get_attribute("max") or 1)
    place = [box["x"] + box["width"] * (share + (0.8 - share) * k / 60) for k in range(61)]
    page.mouse.move(place[0], y)
    page.mouse.down()
    begun = page.evaluate("performance.now()")
    for x in place:
        page.mouse.move(x, y)
        page.wait_for_timeout(50)
    held = page.evaluate("performance.now()")
    draws = [at for at in page.evaluate("draws") if at <= held]
    page.mouse.up()
    apart = [b - a for a, b in itertools.pairwise(draws)]
    print(
        f"{path}: drawn {len(draws)} times in {(held - begun) / 1000:.1f} s while {name} is dragged"
        + (f", {statistics.median(apart):.0f} ms apart (median)" if apart else "")
    )


def main() -> None:
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
    with sync_playwright() as playwright:
        browser = launched(playwright)
        for waited in (0, 4):
            with served() as address:
                time.sleep(waited)
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                chart, kernel = open_page(page, address)
                page.context.close()
            print(
                f"page opened {waited} s after the server: first chart {chart:.2f} s, "
                f"kernel status {kernel:.2f} s"
            )
        with served() as address:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            open_page(page, address)
            print(f"plotly.js fetched (begun ms, done ms, bytes): {page.evaluate(LOADED)}")
            page.locator(".scalescope-follow[data-ready]").wait_for(state="attached")
            page.wait_for_timeout(1500)
            report_drags(page, "drag", 4)
            throttle = page.context.new_cdp_session(page)
            throttle.send("Emulation.setCPUThrottlingRate", {"rate": 4})
            report_drags(page, "drag at a fourth of the speed", 2)
            throttle.send("Emulation.setCPUThrottlingRate", {"rate": 1})

            page.get_by_role("slider", name="Percentile α").focus()
            keys = ["ArrowRight", "ArrowLeft"] * (REPEATS // 2)
            report("α change", median_after(page, keys))

            for name, keys in (("first", ["ArrowDown"] * 3), ("again", ["ArrowUp"] * 3)):
                times = []
                for key in keys:
                    page.get_by_role("combobox", name="Layer").click()
                    page.keyboard.press(key)
                    times.append(after_key(page, "Enter"))
                report(
                    f"layer change, {name} time",
                    {n: statistics.median(t[n] for t in times if n in t) for n in times[0]},
                )
            drag_slider(page, address, "lesson?step=3", "Spread", "lesson_3")
            drag_slider(page, address, "kernel", "Position", "pipeline")
        browser.close()


def report(what: str, times: dict[str, float]) -> None:
    """Print what was timed, a line a region."""
    print(f"{what}: " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in times.items()))


if __name__ == "__main__":
    main()
