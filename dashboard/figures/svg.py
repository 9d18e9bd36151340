"""A Sheet -> SVG text, for paper: what drawing.js paints on the page, without a browser."""

from __future__ import annotations

import html

from dashboard.figures.style import PALETTES, Sheet

LINE = 1.28  # height of a line of text, in font sizes
HALO = 7  # px
ANCHORS = {"left": "end", "center": "middle", "right": "start"}
FONT = "system-ui, 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"


def to_svg(sheet: Sheet, width: int = 720, theme: str = "light") -> str:
    """The drawing at a width in px, self-contained: colours in figures, its ground included.

    Raises ValueError for a theme that is not one of ``PALETTES``.
    """
    if theme not in PALETTES:
        raise ValueError(f"theme is {theme!r}; allowed are {', '.join(PALETTES)}")
    colours, drawn = PALETTES[theme], sheet.as_dict()
    height = drawn["height"]
    # Ids of hatches are the document's, and a document holds many drawings.
    hatches = sorted({area["colour"] for area in drawn["areas"] if area.get("hatched")})
    parts = [
        f'<pattern id="hatch-{name}-{theme}" width="8" height="8" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path d="M0 0V8" stroke="{colours[name]}" '
        'stroke-opacity="0.6" stroke-width="2.4"/></pattern>'
        for name in hatches
    ]
    body = [f'<rect width="{width}" height="{height}" fill="{colours["page"]}"/>']
    for area in drawn["areas"]:
        if area["x"]:
            fill = (
                f'fill="url(#hatch-{area["colour"]}-{theme})"'
                if area.get("hatched")
                else f'fill="{colours[area["colour"]]}" fill-opacity="{area["opacity"]}"'
            )
            body.append(f'<path d="{_path(area, width, height)}Z" {fill}/>')
    for line in drawn["lines"]:
        dash = line.get("dash", "")
        body.append(
            f'<path d="{_path(line, width, height)}" fill="none" '
            f'stroke="{colours[line["colour"]]}" stroke-width="{line["width"]}" '
            f'stroke-linecap="{"butt" if dash else "round"}"'
            + (f' stroke-dasharray="{dash}"/>' if dash else "/>")
        )
    body += [_label(item, width, height, colours) for item in drawn["texts"]]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{html.escape(drawn["alt"])}" '
        f'font-family="{FONT}"><defs>{"".join(parts)}</defs>{"".join(body)}</svg>'
    )


def _path(shape: dict, width: int, height: int) -> str:
    return "".join(
        f"{'L' if i else 'M'}{x * width:.2f} {(1 - y) * height:.2f}"
        for i, (x, y) in enumerate(zip(shape["x"], shape["y"], strict=True))
    )


def _label(item: dict, width: int, height: int, colours: dict[str, str]) -> str:
    lines = item["text"].split("\n")
    size = item["size"]
    step = LINE * size
    first = {
        "top": -(len(lines) - 1) * step - 0.3 * size,
        "middle": -(len(lines) - 1) / 2 * step + 0.35 * size,
        "bottom": 0.95 * size,
    }[item["vertical"]]
    x, y = item["x"][0] * width, (1 - item["y"][0]) * height + first
    spans = "".join(
        f'<tspan x="{x:.2f}" y="{y + i * step:.2f}">{html.escape(text)}</tspan>'
        for i, text in enumerate(lines)
    )
    halo = (
        f' stroke="{colours[item["halo"]]}" stroke-width="{HALO}" stroke-linejoin="round" '
        'paint-order="stroke"'
        if item["halo"]
        else ""
    )
    return (
        f'<text text-anchor="{ANCHORS[item["horizontal"]]}" font-size="{size}" '
        f'font-weight="{650 if item["bold"] else 400}" fill="{colours[item["colour"]]}"{halo}>'
        f"{spans}</text>"
    )
