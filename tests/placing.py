"""Where a plotly figure puts its words and lines, in px: worked out from its JSON, without plotly.

What tests hold figures to: words stay within the figure, none lies upon another, and no line runs
through one. Widths of text are those of a common sans-serif, by letter.
"""

import json
import re
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import plotly.graph_objects as go

# Helvetica's widths, in thousandths of the size; letters that are not here are as wide as "n".
WIDTHS = {
    **dict.fromkeys("ijl'|", 222),
    **dict.fromkeys(" .,:;!/ft·I", 278),
    **dict.fromkeys("r()-", 333),
    **dict.fromkeys("ckszvxy", 500),
    **dict.fromkeys("w", 722),
    **dict.fromkeys("m", 833),
    **dict.fromkeys("ABEKPSVXY&", 667),
    **dict.fromkeys("CDHNRUw", 722),
    **dict.fromkeys("GOQ", 778),
    **dict.fromkeys("M%", 850),
    **dict.fromkeys("W…→←—━", 1000),
    **dict.fromkeys("+<=>×≈−", 584),
}


@dataclass(frozen=True)
class Box:
    """A text and the rectangle that it takes; y runs down, as on a screen."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box", slack: float = 1.0) -> bool:
        return (
            self.left + slack < other.right
            and other.left + slack < self.right
            and self.top + slack < other.bottom
            and other.top + slack < self.bottom
        )


def text_size(text: str, size: float) -> tuple[float, float]:
    bold = "<b>" in text
    lines = [re.sub(r"<[^>]+>", "", line) for line in text.split("<br>")]
    wide = [
        sum(1000 if ord(c) > 0x2E7F else WIDTHS.get(c, 556) for c in line.replace("&lt;", "<"))
        for line in lines
    ]
    return max(wide) * size / 1000 * (1.07 if bold else 1), 1.2 * size * len(lines)


def narrowed(figure: go.Figure) -> dict:
    """The figure's JSON as a phone shows it: ``meta["narrow"]`` entered."""
    layout = json.loads(figure.to_json())
    for name, value in figure.layout.meta.get("narrow", {}).items():
        where = layout if name.startswith("data[") else layout["layout"]
        *steps, last = re.sub(r"\[(\d+)\]", r".\1", name).split(".")
        for step in steps:
            where = where[int(step)] if isinstance(where, list) else where.setdefault(step, {})
        where[last] = value
    return layout


def decoded(values) -> np.ndarray:
    """plotly's arrays: lists, or base64 with a dtype."""
    if isinstance(values, dict):
        import base64

        array = np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
        return array.astype(float)
    return np.array([np.nan if value is None else value for value in values], dtype=float)


class Placed:
    """A figure laid out at a width."""

    def __init__(self, figure: go.Figure, width: float) -> None:
        self.width = width
        self.json = narrowed(figure) if width < 600 else json.loads(figure.to_json())
        self.layout = self.json["layout"]
        self.height = self.layout["height"]
        margin = {"l": 0, "r": 0, "t": 0, "b": 0} | self.layout.get("margin", {})
        self.left, self.top = margin["l"], margin["t"]
        self.wide = width - margin["l"] - margin["r"]
        self.tall = self.height - margin["t"] - margin["b"]

    def axis(self, name: str) -> dict:
        return {"domain": (0, 1), "range": (0, 1)} | self.layout.get(f"{name[0]}axis{name[1:]}", {})

    def ends(self, name: str) -> tuple[float, float]:
        """Where an axis begins and ends, in px."""
        low, high = self.axis(name)["domain"]
        if name[0] == "x":
            return self.left + low * self.wide, self.left + high * self.wide
        return self.top + (1 - low) * self.tall, self.top + (1 - high) * self.tall

    def place(self, ref: str, value, kind: str) -> np.ndarray:
        """px of a value that a reference ("x2", "y domain", "paper") gives a meaning."""
        value = np.asarray(value, dtype=float)
        if ref == "paper":
            return (
                self.left + value * self.wide if kind == "x" else self.top + (1 - value) * self.tall
            )
        begin, end = self.ends(ref.split()[0])
        if ref.endswith("domain"):
            return begin + value * (end - begin)
        low, high = self.axis(ref)["range"]
        return begin + (value - low) / (high - low) * (end - begin)

    def words(self) -> list[Box]:
        """Annotations, text traces and the numbers on axes, those that can be seen."""
        return [*self._annotations(), *self._texts(), *self._numbers()]

    def _annotations(self) -> list[Box]:
        boxes = []
        for note in self.layout.get("annotations", []):
            if note.get("visible") is False or note.get("opacity") == 0:
                continue
            x = float(self.place(note["xref"], note["x"], "x")) + note.get("xshift", 0)
            y = float(self.place(note["yref"], note["y"], "y")) - note.get("yshift", 0)
            size = note.get("font", {}).get("size", 12.5)
            boxes.append(_box(note["text"], size, x, y, note["xanchor"], note["yanchor"]))
        return boxes

    def _texts(self) -> list[Box]:
        boxes = []
        for trace in self.json["data"]:
            if trace.get("mode") != "text" or trace.get("visible") is False:
                continue
            vertical, horizontal = trace["textposition"].split()
            xs = self.place(trace.get("xaxis", "x"), decoded(trace["x"]), "x")
            ys = self.place(trace.get("yaxis", "y"), decoded(trace["y"]), "y")
            for x, y, text in zip(xs, ys, trace["text"], strict=True):
                anchor = {"left": "right", "center": "center", "right": "left"}[horizontal]
                base = {"top": "bottom", "middle": "middle", "bottom": "top"}[vertical]
                boxes.append(_box(text, trace["textfont"]["size"], x, y, anchor, base))
        return boxes

    def _numbers(self) -> list[Box]:
        boxes = []
        for key, axis in self.layout.items():
            match = re.fullmatch(r"([xy])axis(\d*)", key)
            if not match or axis.get("visible") is False or axis.get("showticklabels") is False:
                continue
            name = match[1] + match[2]
            size = axis.get("tickfont", {}).get("size", 12)
            pair = axis.get("anchor") or ("y" if match[1] == "x" else "x")
            low, high = sorted(axis["range"])
            names = axis.get("ticktext") or []
            for value, text in zip(decoded(axis.get("tickvals", [])), names, strict=False):
                if not low <= value <= high:
                    continue
                at = float(self.place(name, value, match[1]))
                if match[1] == "x":
                    boxes.append(_box(text, size, at, self.ends(pair)[0] + 5, "center", "top"))
                elif axis.get("side") == "right":
                    boxes.append(_box(text, size, self.ends(pair)[1] + 5, at, "left", "middle"))
                else:
                    boxes.append(_box(text, size, self.ends(pair)[0] - 4, at, "right", "middle"))
        return boxes

    def lines(self) -> list[tuple[str, np.ndarray]]:
        """Points on every visible polyline that is not faint, less than a px apart: (P, 2)."""
        strokes = []
        faint = {"#EEF1F5"}
        for trace in self.json["data"]:
            drawn = trace.get("type") == "scatter" and trace.get("mode") == "lines"
            if not drawn or trace["line"].get("width") == 0 or trace.get("visible") is False:
                continue
            x = self.place(trace.get("xaxis", "x"), decoded(trace["x"]), "x")
            y = self.place(trace.get("yaxis", "y"), decoded(trace["y"]), "y")
            points = along(np.column_stack([x, y]))
            if trace.get("cliponaxis", True):  # plotly draws no line outside of its axes
                (left, right), (bottom, top) = (
                    self.ends(trace.get("xaxis", "x")),
                    self.ends(trace.get("yaxis", "y")),
                )
                within = (points[:, 0] >= left) & (points[:, 0] <= right)
                points = points[within & (points[:, 1] <= bottom) & (points[:, 1] >= top)]
            strokes.append((trace.get("name") or trace["line"]["color"], points))
        for shape in self.layout.get("shapes", []):
            if shape["type"] != "line" or shape["line"]["color"] in faint:
                continue
            x = [float(self.place(shape["xref"], shape[key], "x")) for key in ("x0", "x1")]
            y = [float(self.place(shape["yref"], shape[key], "y")) for key in ("y0", "y1")]
            strokes.append((shape.get("name", "shape"), along(np.column_stack([x, y]))))
        return strokes


def _box(text: str, size: float, x: float, y: float, xanchor: str, yanchor: str) -> Box:
    wide, tall = text_size(text, size)
    left = x - {"left": 0.0, "center": wide / 2, "right": wide}[xanchor]
    top = y - {"top": 0.0, "middle": tall / 2, "bottom": tall}[yanchor]
    return Box(text, left, top, left + wide, top + tall)


def along(line: np.ndarray) -> np.ndarray:
    """Points on a polyline, less than a px apart: (P, 2)."""
    starts, ends = line[:-1], line[1:]
    whole = np.isfinite(starts).all(1) & np.isfinite(ends).all(1)
    starts, ends = starts[whole].clip(-5000, 5000), ends[whole].clip(-5000, 5000)
    pieces = [
        start + (end - start) * np.linspace(0, 1, 2 + int(np.abs(end - start).max()))[:, None]
        for start, end in zip(starts, ends, strict=True)
    ]
    return np.concatenate([np.zeros((0, 2)), *pieces])


def inside(box: Box, points: np.ndarray, slack: float) -> bool:
    x, y = points.T
    within = (x > box.left + slack) & (x < box.right - slack)
    return bool((within & (y > box.top + slack) & (y < box.bottom - slack)).any())


def faults(figure: go.Figure, width: float) -> list[str]:
    """What is wrong with where the words are; empty if nothing."""
    placed = Placed(figure, width)
    words = [box for box in placed.words() if box.text]
    sentences = [
        f"{box.text!r} leaves the figure at {width}: {box}"
        for box in words
        if box.left < -1 or box.right > width + 1 or box.top < -1 or box.bottom > placed.height + 1
    ]
    sentences += [
        f"{first.text!r} lies upon {second.text!r} at {width}: {first} {second}"
        for first, second in combinations(words, 2)
        if first.meets(second)
    ]
    lines = placed.lines()
    sentences += [
        f"{name} runs through {box.text!r} at {width}: {box}"
        for box in words
        for name, line in lines
        if inside(box, line, 1.5)
    ]
    return sentences
