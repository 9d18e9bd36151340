"""README's moving picture: the cut line of Explore, dragged, in real Chromium.

    python -m benchmarks.moving_picture docs/drag.webp

Starts its own server, drags the line from α = 0.9995 down and up to the best α, and takes a picture
at each step. Pillow, which Streamlit brings along, makes one animated WebP of them.
"""

import io
import math
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.page import launched, served

LINK = "/?checkpoint=mamba2-small&layer=5"
SIZE = {"width": 1440, "height": 1240}
TOP = 195  # px cut off above: the bar of controls
STEPS = 36
SHARE = 0.66  # of the page's size
FRAME_MS, REST_MS = 70, 1400


def main(path: Path) -> None:
    frames = []
    with sync_playwright() as playwright, served() as address:
        browser = launched(playwright)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(120_000)
        page.goto(address + LINK)
        page.get_by_text("differ from the reference").wait_for()
        page.locator(".scalescope-follow[data-ready]").wait_for(state="attached")
        page.wait_for_timeout(1500)
        box = page.locator(".cut-handle").bounding_box()
        assert box
        x, y = box["x"] - 60, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        for k in range(STEPS + 1):
            page.mouse.move(x, y + 150 * math.sin(2 * math.pi * k / STEPS))
            page.wait_for_timeout(120)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            width, height = picture.size
            picture = picture.crop((0, TOP, width, height))
            size = round(SHARE * width), round(SHARE * (height - TOP))
            frames.append(picture.resize(size, Image.Resampling.LANCZOS))
        page.mouse.up()
        browser.close()
    durations = [REST_MS] + [FRAME_MS] * (len(frames) - 1)
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        quality=55,
        method=6,
    )
    print(f"{path}: {len(frames)} pictures, {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
