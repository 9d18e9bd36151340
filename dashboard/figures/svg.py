"""A sheet as an SVG document: for a report or a handout, where no page is there to draw it.

What ``pages/drawing.js`` paints in a browser, at one width and in one theme's colours.
"""

from __future__ import annotations

from html import escape

from dashboard.figures.style import PALETTES, Sheet

LINE = 1.28  # from one line of a label to the next, in its size
ANCHORS = {"left": "end", "center": "middle", "right": "start"}  # the side that a label holds on to
FONT = "Source Sans, Source Sans 3, Helvetica, Arial, sans-serif"


def as_svg(sheet: Sheet, width: int, theme: str = "light") -> str:
    """A drawing, ``width`` px wide, as one self-contained ``<svg>`` element."""
    drawing, colours = sheet.as_dict(), PALETTES[theme]
    size = (width, drawing["height"])
    hatched = sorted({a["colour"] for a in drawing["areas"] if a.get("hatched")})
    parts = [
        *(_area(area, size, colours, theme) for area in drawing["areas"] if area["x"]),
        *(_line(line, size, colours) for line in drawing["lines"]),
        *(_text(text, size, colours) for text in drawing["texts"]),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {drawing["height"]}" '
        f'width="{width}" height="{drawing["height"]}" font-family="{FONT}" role="img" '
        f'overflow="visible"><title>{escape(drawing["alt"])}</title>'
        f"<defs>{''.join(_hatch(name, colours, theme) for name in hatched)}</defs>"
        f"{''.join(parts)}</svg>"
    )


def _path(shape: dict, size: tuple[int, int]) -> str:
    width, height = size
    points = zip(shape["x"], shape["y"], strict=True)
    return "M" + "L".join(f"{x * width:.2f} {(1 - y) * height:.2f}" for x, y in points)


def _area(shape: dict, size: tuple[int, int], colours: dict, theme: str) -> str:
    if shape.get("hatched"):
        fill = f'fill="url(#hatch-{theme}-{shape["colour"]})"'
    else:
        fill = f'fill="{colours[shape["colour"]]}" fill-opacity="{shape["opacity"]:g}"'
    return f'<path d="{_path(shape, size)}Z" {fill}/>'


def _line(shape: dict, size: tuple[int, int], colours: dict) -> str:
    dash = shape.get("dash", "")
    return (
        f'<path d="{_path(shape, size)}" fill="none" stroke="{colours[shape["colour"]]}" '
        f'stroke-width="{shape["width"]:g}" stroke-dasharray="{dash}" '
        f'stroke-linecap="{"butt" if dash else "round"}"/>'
    )


def _text(item: dict, size: tuple[int, int], colours: dict) -> str:
    lines = item["text"].split("\n")
    step, em = LINE * item["size"], item["size"]
    first = {
        "top": -(len(lines) - 1) * step - 0.3 * em,
        "middle": -(len(lines) - 1) / 2 * step + 0.35 * em,
        "bottom": 0.95 * em,
    }[item["vertical"]]
    x, y = item["x"][0] * size[0], (1 - item["y"][0]) * size[1] + first
    spans = "".join(
        f'<tspan x="{x:.2f}" y="{y + i * step:.2f}">{escape(line)}</tspan>'
        for i, line in enumerate(lines)
    )
    halo = colours[item["halo"]] if item["halo"] else "none"
    return (
        f'<text text-anchor="{ANCHORS[item["horizontal"]]}" font-size="{item["size"]:g}" '
        f'font-weight="{650 if item["bold"] else 400}" fill="{colours[item["colour"]]}" '
        f'stroke="{halo}" stroke-width="7" stroke-linejoin="round" paint-order="stroke">'
        f"{spans}</text>"
    )


def _hatch(name: str, colours: dict, theme: str) -> str:
    return (
        f'<pattern id="hatch-{theme}-{name}" width="8" height="8" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path d="M0 0V8" stroke="{colours[name]}" '
        'stroke-opacity="0.6" stroke-width="2.4"/></pattern>'
    )
