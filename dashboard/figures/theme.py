"""What every figure shares: colours, the look of axes and labels, and documents that stand alone.

A figure is a ``plotly.graph_objects.Figure``. It names its colours by the light palette's hex
values, one to a concept, so that whoever shows it on a dark page can exchange them: ``themed``
here, the component on a page. It says in ``layout.meta`` what it shows to whoever cannot see it
(``alt``) and which rectangles answer a click (``picks``).

Axes are held still unless a figure frees them (``fixedrange=False``, where there is a tail to look
at): then they zoom and pan, and a double click brings the whole back.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import numpy as np
import plotly.graph_objects as go
import plotly.io
from numpy.typing import ArrayLike

# One colour per concept, on a light and on a dark page; told apart under deuteranopia too.
PALETTES = {
    "light": {
        "input": "#64748B",
        "output": "#2A69B8",  # also rounding error
        "saturated": "#D9480F",  # also clipping error
        "stranded": "#8E6BA8",
        "chosen": "#111827",
        "best": "#00806E",
        "baseline": "#7A8596",
        "text": "#17202E",
        "muted": "#566172",
        "page": "#FFFFFF",
        "panel": "#F1F3F7",
        "grid": "#EEF1F5",
        "line": "#CBD2DC",
        "on-input": "#FFFFFF",  # text upon the input histogram
    },
    "dark": {
        "input": "#8E9DB3",
        "output": "#66A3EE",
        "saturated": "#FF8A57",
        "stranded": "#B79FC9",
        "chosen": "#FFFFFF",
        "best": "#3FD0B4",
        "baseline": "#8A94A6",
        "text": "#F3F5F8",
        "muted": "#A3ADBB",
        "page": "#0E1117",
        "panel": "#1D222C",
        "grid": "#1F2530",
        "line": "#3A4250",
        "on-input": "#0E1117",
    },
}
LIGHT = PALETTES["light"]

FONT = "system-ui, 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"
TEXT_SIZE = 12.5  # px, of labels
SMALL_SIZE = 11  # px, of what only helps to read

# The part of plotly.js that draws these figures, of the version that plotly itself carries.
PLOTLY_JS = Path(__file__).parent / "plotlyjs" / "plotly-cartesian.min.js"


# The numbers that plotly.js takes as bytes, by numpy's names.
PACKED = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")

SCALARS = (str, float, int, bool)  # stay as they are, as most of a figure does

# Whether new figures are held to plotly's schema: several times the time that it takes to make one.
_CHECKED = ContextVar("checked", default=True)


@contextmanager
def unchecked() -> Iterator[None]:
    """Make figures without holding them to plotly's schema; their JSON is the same.

    For a page, which draws at every turn what tests have held to the schema. ``whole_figure`` then
    gives no ``Figure``, but what has its JSON.
    """
    token = _CHECKED.set(False)
    try:
        yield
    finally:
        _CHECKED.reset(token)


def faded(concept: str, opacity: float) -> str:
    """A concept's colour, partly transparent, as plotly takes it."""
    red, green, blue = _rgb(LIGHT[concept])
    return f"rgba({red},{green},{blue},{opacity:g})"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def exchanges(theme: str) -> dict[str, str]:
    """What to write instead of each light colour, as it begins in a figure's JSON."""
    exchange = {}
    for concept, light in LIGHT.items():
        other = PALETTES[theme][concept]
        exchange[light] = other
        exchange["rgba({},{},{},".format(*_rgb(light))] = "rgba({},{},{},".format(*_rgb(other))
    return exchange


def themed(figure: go.Figure, theme: str) -> go.Figure:
    """The same figure in a theme's colours.

    Raises ValueError for a theme that is not one of ``PALETTES``.
    """
    if theme not in PALETTES:
        raise ValueError(f"theme is {theme!r}; allowed are {', '.join(PALETTES)}")
    return go.Figure(json.loads(_in_colours(figure.to_json(), theme)))


def _in_colours(text: str, theme: str) -> str:
    exchange = exchanges(theme)
    pattern = "|".join(re.escape(colour) for colour in exchange)
    return re.sub(pattern, lambda match: exchange[match[0]], text)


@cache
def template() -> go.layout.Template:
    """Ink on the page's ground; hue means data alone."""
    axis = {
        "fixedrange": True,
        "showgrid": False,
        "zeroline": False,
        "showline": False,
        "gridcolor": LIGHT["grid"],
        "linecolor": LIGHT["line"],
        "tickcolor": LIGHT["line"],
        "tickfont": {"size": 12, "color": LIGHT["muted"]},
        "ticklabelstandoff": 3,
        "tickangle": 0,
        "title": {"font": {"size": TEXT_SIZE, "color": LIGHT["muted"]}, "standoff": 6},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": TEXT_SIZE, "color": LIGHT["muted"]},
            "paper_bgcolor": LIGHT["page"],
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0, "autoexpand": False},
            "showlegend": False,
            "barmode": "overlay",
            "dragmode": "zoom",
            "hovermode": "closest",
            "hoverdistance": 30,
            "hoverlabel": {
                "bgcolor": LIGHT["panel"],
                "bordercolor": LIGHT["line"],
                "font": {"size": TEXT_SIZE, "color": LIGHT["text"]},
                "align": "left",
                "namelength": 0,
            },
            "xaxis": axis,
            "yaxis": axis,
            "annotationdefaults": {"showarrow": False, "captureevents": False},
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1,
                "xanchor": "left",
                "yanchor": "bottom",
                "maxheight": 0.6,
                "font": {"size": TEXT_SIZE, "color": LIGHT["text"]},
            },
            "separators": ".,",
            "uniformtext": {"mode": False},
        }
    )


def new_figure(
    height: int, alt: str, traces: Sequence[Mapping[str, Any]] = (), **layout: Any
) -> go.Figure:
    """A figure in the project's look.

    Args:
        height: px.
        alt: what the figure shows, the finding first, for whoever cannot see it.
        traces: as ``line``, ``area`` and the others give them, the lowest first.
        layout: more of plotly's layout; ``meta`` may name ``picks`` and ``narrow``.

    ``meta["narrow"]`` is what is different where the page leaves it less than ``NARROW`` px, as a
    mapping of plotly's own names, the layout's ("margin.l", "annotations[3].x") and, with "data"
    before them, the traces' ("data[2].visible"). ``meta["under"]`` is a list of such widths and
    mappings, for a figure that knows better where it gets too narrow; the later ones prevail.
    ``meta["linked"]`` names axes that follow another when it is zoomed: {"yaxis3": ["yaxis", 0.5]}
    shows what it shows, and below that half as much again.
    """
    return go.Figure(
        data=list(traces),
        layout={"template": template(), **_layout(height, alt, layout)},
        _validate=_CHECKED.get(),
    )


def _layout(height: int, alt: str, layout: Mapping[str, Any]) -> dict[str, Any]:
    meta = {"alt": alt, "picks": [], **layout.get("meta", {})}
    return {**layout, "height": height, "meta": meta}


@dataclass(frozen=True, eq=False)
class SentFigure:
    """What a page sends of a figure: its JSON, without a ``Figure``.

    A ``Figure`` copies every text of its traces and of its layout three times on their way to JSON,
    which takes longer than to write it.
    """

    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]

    def to_json(self) -> str:
        """The same as of a ``Figure``."""
        layout = {"template": _template_in_json(), **_packed(self.layout)}
        return plotly.io.to_json({"data": _packed(self.data), "layout": layout}, validate=False)


def whole_figure(
    height: int, alt: str, traces: Sequence[Mapping[str, Any]], **layout: Any
) -> go.Figure | SentFigure:
    """``new_figure`` of a figure that nothing is added to; a ``SentFigure`` where ``unchecked``."""
    if _CHECKED.get():
        return new_figure(height, alt, traces, **layout)
    return SentFigure(traces, _layout(height, alt, layout))


@cache
def _template_in_json() -> dict[str, Any]:
    return template().to_plotly_json()


def _packed(value: Any) -> Any:
    """What is drawn, with arrays as plotly.js takes them: a type, and bytes in base64."""
    if isinstance(value, Mapping):
        return {
            key: own if type(own) in SCALARS or key == "range" else _packed(own)
            for key, own in value.items()  # an axis's range stays a list
        }
    if isinstance(value, np.ndarray):
        return _packed_array(value)
    if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        return [_packed(own) for own in value]
    return value


def _packed_array(values: np.ndarray) -> dict[str, str] | list:
    if values.dtype == np.int64 and values.size:  # which plotly.js has not
        ends = int(values.min()), int(values.max())
        fits = (kind for kind in ("i1", "i2", "i4") if _holds(kind, *ends))
        values = values.astype(next(fits, values.dtype))
    kind = values.dtype.str[1:]  # without the order of the bytes
    if kind not in PACKED or values.size == 0:
        return values.tolist()
    code = base64.b64encode(values.tobytes()).decode("ascii")
    shape = {"shape": str(values.shape)[1:-1]} if values.ndim > 1 else {}
    return {"dtype": kind, "bdata": code, **shape}


def _holds(kind: str, least: int, most: int) -> bool:
    return np.iinfo(kind).min <= least and most <= np.iinfo(kind).max


NARROW = 600  # px


def pick(
    value: int,
    label: str,
    x: tuple[float, float] = (0.0, 1.0),
    y: tuple[float, float] = (0.0, 1.0),
    axes: tuple[str, str] = ("paper", "paper"),
    by_key: bool = True,
) -> dict[str, Any]:
    """A rectangle that answers a click with ``value``; an entry of ``meta["picks"]``.

    Args:
        label: what it chooses, for a screen reader.
        x, y: its ends, on ``axes``: "paper" means shares of the area between the margins,
            "figure" of the whole, "x2" or "y2" an axis's own values.
        by_key: whether it is a stop of the tabulator key: not where another control does the same.
    """
    return {
        "value": value,
        "label": label,
        "x": [float(end) for end in x],
        "y": [float(end) for end in y],
        "axes": list(axes),
        "by_key": by_key,
    }


# Traces and labels, as dictionaries that plotly takes.


def line(
    x: ArrayLike, y: ArrayLike, concept: str, width: float = 1.0, dash: str = "solid", **rest: Any
) -> dict[str, Any]:
    """A polyline, which says nothing on hover unless it is given a ``hovertemplate``."""
    style = {"color": LIGHT[concept], "width": width, "dash": dash, "simplify": False}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": single(x),
        "y": single(y),
        "line": style,
        **rest,
        **_on_hover(rest),
    }


def _on_hover(rest: Mapping[str, Any]) -> dict[str, str]:
    """Nothing, or what is asked for without the trace's name, which plotly would add."""
    if "hovertemplate" not in rest:
        return {"hoverinfo": "skip"}
    template = rest["hovertemplate"]
    return {"hovertemplate": template if "<extra>" in template else f"{template}<extra></extra>"}


def _on_hover_as_written(markup: Sequence[str]) -> dict[str, Any]:
    return {"customdata": list(markup), "hovertemplate": "%{customdata}<extra></extra>"}


def hover(words: Sequence[str]) -> dict[str, Any]:
    """What of a trace says ``words``, one a point, lines parted by line feeds, on hover."""
    return _on_hover_as_written([plain(text) for text in words])


def area(
    x: ArrayLike, y: ArrayLike, concept: str, opacity: float = 0.85, **rest: Any
) -> dict[str, Any]:
    """A filled polygon without an outline; NaN parts several."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": single(x),
        "y": single(y),
        "fill": "toself",
        "fillcolor": faded(concept, opacity),
        "line": {"width": 0},
        "hoverinfo": "skip",
        **rest,
    }


def hatch(x: ArrayLike, y: ArrayLike, concept: str, **rest: Any) -> dict[str, Any]:
    """A hatched polygon."""
    return area(x, y, concept) | {
        "fillpattern": {
            "shape": "/",
            "size": 7,
            "solidity": 0.25,
            "fillmode": "replace",
            "fgcolor": LIGHT[concept],
            "bgcolor": "rgba(0,0,0,0)",
        },
        **rest,
    }


def dots(
    x: ArrayLike, y: ArrayLike, concept: str | Sequence[str], size: float = 8, **rest: Any
) -> dict[str, Any]:
    """Discs with a rim in the page's colour; ``size`` is their diameter in px."""
    colour = LIGHT[concept] if isinstance(concept, str) else [LIGHT[name] for name in concept]
    rim = {"color": LIGHT["page"], "width": 1.5}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": single(x),
        "y": single(y),
        "cliponaxis": False,
        "marker": {"color": colour, "size": size, "line": rim, "opacity": 1},
        **rest,
        **_on_hover(rest),
    }


def texts(
    x: ArrayLike,
    y: ArrayLike,
    words: Sequence[str],
    concept: str = "muted",
    position: str = "middle right",
    size: float = SMALL_SIZE,
    **rest: Any,
) -> dict[str, Any]:
    """Words at values of a pair of axes; ``position`` is where they stand, as in ``label``."""
    return {
        "type": "scatter",
        "mode": "text",
        "x": single(x),
        "y": single(y),
        "text": list(words),
        "textposition": position,
        "textfont": {"size": size, "color": LIGHT[concept]},
        "cliponaxis": False,
        "hoverinfo": "skip",
        **rest,
    }


def tick_text(value: float) -> str:
    """A round number on an axis, short: 0, −2.5, 40,000, 2e−5."""
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    else:
        text = f"{value:,.6g}"
    return text.replace("-", "−")


def sensors(
    x: ArrayLike,
    width: ArrayLike,
    text: Sequence[str],
    bottom: ArrayLike = 0.0,
    top: ArrayLike = 1.0,
    upright: bool = True,
    marked: bool = False,
    **rest: Any,
) -> dict[str, Any]:
    """Unseen bars that say their ``text`` wherever the pointer is upon them.

    Args:
        x: the middles of upright bars; of lying ones (``upright=False``) their heights.
        bottom, top: where upright bars begin and end; lying ones left and right.
        marked: whether the texts are plotly's markup already.
    """
    bottom, top = single(bottom), single(top)
    middle, length = single(x), np.broadcast_to(top - bottom, np.shape(x))
    return {
        "type": "bar",
        "orientation": "v" if upright else "h",
        "x": middle if upright else length,
        "y": length if upright else middle,
        "base": np.broadcast_to(bottom, np.shape(x)).tolist(),
        "width": single(np.broadcast_to(width, np.shape(x))),
        "marker": {"opacity": 0},
        **(_on_hover_as_written(text) if marked else hover(text)),
        **rest,
    }


def plain(text: str) -> str:
    """A text as plotly takes it, which would read markup in it; line feeds part its lines."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def label(
    x: float,
    y: float,
    text: str,
    concept: str = "muted",
    anchor: str = "middle center",
    size: float = TEXT_SIZE,
    bold: bool = False,
    axes: tuple[str, str] = ("paper", "paper"),
    halo: bool = False,
    **rest: Any,
) -> dict[str, Any]:
    """An annotation without an arrow.

    Args:
        text: plain; lines parted by a line feed.
        anchor: where it stands as seen from (x, y): "middle right", "top center".
        size: px.
        axes: "paper", an axis ("x2") or its whole length ("x2 domain").
        halo: whether it has the page's ground, to stay legible upon lines.
    """
    vertical, horizontal = anchor.split()
    words = plain(text)
    return {
        "x": float(x),
        "y": float(y),
        "xref": axes[0],
        "yref": axes[1],
        "text": f"<b>{words}</b>" if bold else words,
        "xanchor": {"left": "right", "center": "center", "right": "left"}[horizontal],
        "yanchor": {"top": "bottom", "middle": "middle", "bottom": "top"}[vertical],
        "align": {"left": "right", "center": "center", "right": "left"}[horizontal],
        "font": {"size": size, "color": LIGHT[concept]},
        "borderpad": 1,
        **({"bgcolor": LIGHT["page"]} if halo else {}),
        **rest,
    }


def rule(
    x: tuple[float, float],
    y: tuple[float, float],
    concept: str,
    width: float = 1.0,
    dash: str = "solid",
    axes: tuple[str, str] = ("paper", "paper"),
    **rest: Any,
) -> dict[str, Any]:
    """A straight line, as a shape; ``axes`` as in ``label``."""
    return {
        "type": "line",
        "xref": axes[0],
        "yref": axes[1],
        "x0": float(x[0]),
        "x1": float(x[1]),
        "y0": float(y[0]),
        "y1": float(y[1]),
        "line": {"color": LIGHT[concept], "width": width, "dash": dash},
        **rest,
    }


def box(
    x: tuple[float, float],
    y: tuple[float, float],
    concept: str,
    opacity: float = 1.0,
    axes: tuple[str, str] = ("paper", "paper"),
    **rest: Any,
) -> dict[str, Any]:
    """A filled rectangle, as a shape; ``axes`` as in ``label``."""
    return {
        "type": "rect",
        "xref": axes[0],
        "yref": axes[1],
        "x0": float(x[0]),
        "x1": float(x[1]),
        "y0": float(y[0]),
        "y1": float(y[1]),
        "fillcolor": faded(concept, opacity),
        "line": {"width": 0},
        **rest,
    }


def strokes(x: Sequence[ArrayLike], y: Sequence[ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
    """Many separate lines as one polyline with gaps: what ``line`` takes as its first two.

    Args:
        x, y: where each line begins and where it ends; a number stands for all lines.
    """
    ends = np.broadcast_arrays(*(np.asarray(values, dtype=float) for values in (*x, *y)))
    gap = np.full(ends[0].shape, np.nan)
    return np.stack([*ends[:2], gap], -1).ravel(), np.stack([*ends[2:], gap], -1).ravel()


def single(values: ArrayLike) -> np.ndarray:
    """Coordinates in single precision: half as many bytes to send, finer than any screen."""
    return np.asarray(values, dtype=np.float32)


# Heights, ticks and places


def text_width(text: str, size: float = TEXT_SIZE, bold: bool = False) -> float:
    """How wide a text is at most, in px: its longest line, in the widest font that is likely."""
    em = sum(1.0 if east_asian_width(sign) in "WF" else 0.7 if bold else 0.63 for sign in text)
    if "\n" in text:
        return max(text_width(row, size, bold) for row in text.split("\n"))
    return em * size


def wrapped(text: str, room: float, size: float = TEXT_SIZE, bold: bool = False) -> str:
    """A text in lines of at most ``room`` px: between words, within one that is longer."""
    lines = [""]
    for word in re.split("(?<= )", text):
        if text_width(lines[-1] + word.rstrip(), size, bold) > room and lines[-1]:
            lines.append("")
        for sign in word:
            if text_width(lines[-1] + sign, size, bold) > room and sign != " ":
                lines.append("")
            lines[-1] += sign
    return "\n".join(line.strip() for line in lines)


def number_ticks(
    low: float, high: float, room: float = np.inf, about: int = 6, unit: str = ""
) -> dict[str, list]:
    """Round numbers for an axis that holds still, as many as fit side by side into ``room`` px."""
    for most in range(about, 1, -1):
        ticks = nice_ticks(low, high, most)
        texts = [f"{text}{unit}" for text in tick_texts(ticks)]
        if most == 2 or sum(text_width(text, 12) + 14 for text in texts) <= room:
            break
    return {"tickvals": ticks.tolist(), "ticktext": texts}


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def tick_texts(ticks: np.ndarray) -> list[str]:
    """Evenly spaced numbers with as many digits as tell them apart, small ones by powers of ten."""
    step = float(np.diff(ticks).min()) if len(ticks) > 1 else float(np.abs(ticks).max(initial=1.0))
    most = float(np.abs(ticks).max(initial=0.0))
    power = int(np.floor(np.log10(most))) if most > 0 else 0
    power = power if power < -4 or power > 6 else 0
    decimals = max(0, power - int(np.floor(np.log10(step or 1.0) + 1e-9)))
    texts = []
    for tick in ticks:
        text = f"{tick / 10.0**power:.{decimals}f}".replace("-", "−")
        text = "0" if float(tick) == 0 else text
        texts.append(text + (f"·10{str(power).translate(RAISED)}" if power and tick else ""))
    return texts


def tick_step(names: Sequence[str], room: float, size: float = 12) -> int:
    """Every how manieth of evenly spaced names fits, where all together have ``room`` px."""
    widest = max((text_width(name, size) for name in names), default=0.0)
    return max(1, int(np.ceil(len(names) * (widest + 8) / room)))


def steps(edges: np.ndarray, heights: np.ndarray, low: float, high: float) -> tuple:
    """A step function's filled outline between low and high: (positions, heights), closed."""
    inside = (edges[1:] > low) & (edges[:-1] < high)
    left = np.maximum(edges[:-1][inside], low)
    right = np.minimum(edges[1:][inside], high)
    position = np.column_stack([left, right]).ravel()
    height = np.repeat(heights[inside], 2)
    return (
        np.concatenate([position[:1], position, position[-1:]]),
        np.concatenate([[0.0], height, [0.0]]) if inside.any() else height,
    )


def count_height(counts: np.ndarray, log: bool) -> np.ndarray:
    """Drawn height of a count: itself, or log10(2n), so that a single value still shows."""
    if not log:
        return counts.astype(np.float64)
    return np.log10(2.0 * counts, out=np.zeros(len(counts)), where=counts > 0)


def count_ticks(top: float, log: bool) -> list[tuple[float, str]]:
    """Heights up to ``top`` to label, with their counts."""
    if not log:
        return [(top / 1.12, f"{top / 1.12:,.0f}")]
    marks = {0: "1", 3: "10³", 5: "10⁵", 7: "10⁷"}
    return [(np.log10(2) + e, name) for e, name in marks.items() if np.log10(2) + e <= top]


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move labels down until neighbours are ``gap`` apart; order is kept, the topmost stays."""
    order = np.argsort(positions)
    placed = np.array(positions, dtype=float)
    for above, below in zip(order[:0:-1], order[-2::-1], strict=True):
        placed[below] = min(placed[below], placed[above] - gap)
    return placed.tolist()


def nice_ticks(low: float, high: float, about: int) -> np.ndarray:
    """Round multiples between low and high, roughly ``about`` of them."""
    rough = (high - low) / about
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min((s for s in (1, 2, 5, 10) if s * power >= rough), default=10)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


# Documents


@cache
def document_scripts(themes: bool = True) -> str:
    """What draws the figures of an HTML document, for its head: nothing is fetched.

    Args:
        themes: whether the document has a dark look for readers who prefer it; paper is light.
    """
    read = {path.stem: path.read_text("utf-8") for path in PLOTLY_JS.parent.glob("*.js")}
    exchange = json.dumps(exchanges("dark")) if themes else "null"
    return (
        f'<script>{read[PLOTLY_JS.stem]}</script><script type="module">'
        f"const EXCHANGE={exchange},NARROW={NARROW};\n{read['prepare']}{read['document']}</script>"
    )


def to_html(figure: go.Figure | SentFigure, width: int = 720) -> str:
    """A figure's place in a document that has ``document_scripts``.

    Args:
        width: px, at most; 720 fit a printed page.
    """
    alt = html.escape(str(figure.layout["meta"]["alt"]))
    # A text may hold "</script>", which would end the script here.
    drawn = str(figure.to_json()).replace("</", "<\\/")
    return (
        f'<div class="plotly-figure" data-width="{width}" role="img" aria-label="{alt}">'
        f'<div style="height:{figure.layout["height"]}px"></div>'
        f'<script type="application/json">{drawn}</script></div>'
    )
