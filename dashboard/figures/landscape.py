"""SQNR at every α: small under the slider, and with all that goes with it on a page of its own.

The axis is logarithmic in 1 − α, or 0.9995 and 0.99999 would be one point. Two ceilings explain the
curve: what it would be if scales only rounded, and if they only clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.report import ScaleReport, format_alpha
from dashboard.figures.style import Panel, Sheet, spread
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import log_alpha
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text

SMALL = 206  # px
INSET = 0.016  # of the width: the slider's track is inset by 6 px of 376
SHOWN_DB = (20.0, 8.0)  # below and above the best
TICKS = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999)


def _decibel_range(found: Landscape) -> tuple[float, float]:
    best = found.best_db if np.isfinite(found.best_db) else 40.0
    return best - SHOWN_DB[0], best + SHOWN_DB[1]


def _draw_ceilings(sheet: Sheet, panel: Panel, x: np.ndarray, found: Landscape) -> None:
    """Each named where it first leaves the curve behind."""
    for decibel, colour, name in (
        (found.rounding_ceiling_db, "output", "if only rounding"),
        (found.clipping_ceiling_db, "saturated", "if only clipping"),
    ):
        sheet.line(*_clipped(panel, x, decibel), colour, 1.6, "1 4")
        inside = np.flatnonzero((decibel < panel.y_range[1]) & (decibel > panel.y_range[0]))
        if not len(inside):
            continue
        at = inside[0] if colour == "output" else inside[-1]
        left = x[at] > 0.6
        sheet.text(float(x[at]) + (-0.012 if left else 0.012),
                   float(panel.y(decibel[at])) - 0.02, name, colour,
                   "bottom left" if left else "bottom right", 11, halo="page")  # fmt: skip


def _clipped(panel: Panel, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a curve that lies in a panel."""
    inside = np.isfinite(y) & (y >= panel.y_range[0]) & (y <= panel.y_range[1])
    return x[inside], panel.y(y[inside])


# The page

PANELS = (
    ("sqnr_db", 250), ("squared error", 150), ("bits", 120), ("shares", 130), ("scale", 120),
)  # fmt: skip
GAP, FOOT, LEVEL = 34, 40, 18  # px: between panels, under the last, a row of labels on top
LEFT, RIGHT = 0.05, 0.985


@dataclass(frozen=True, eq=False)
class _Curve:
    """A measure over α, and what one rule makes of it."""

    values: np.ndarray
    of: Callable[[ScaleReport], float]
    colour: str
    name: str
    told: Callable[[float], str]


def alpha_sweep(found: Landscape, rules: Sequence[ScaleReport], say: Language) -> Sheet:
    """SQNR, its two errors, bits, shares and the scale over α, every rule a mark on each curve.

    Args:
        found: the slice's landscape.
        rules: the chosen first. A rule stands at the α whose quantile its amax is; where its amax
            lies below the 0.9-quantile or beyond every value, it stands in the margin.
    """
    output = found.output
    levels = 4
    top = LEVEL * levels + 14
    height = top + sum(tall for _, tall in PANELS) + GAP * len(PANELS) + FOOT
    sheet = Sheet(height, "SQNR, errors, bits, shares and scale over α, with every rule marked")
    t = np.array([log_alpha(float(alpha)) for alpha in found.alphas])
    t[-1] = t[-2] + 0.25  # α = 1
    x_range = (t[0] - 0.22, t[-1] + 0.22)
    curves = {
        "sqnr_db": [
            _Curve(output.sqnr_db, lambda r: float(r.output.sqnr_db), "chosen", "SQNR", decibels)
        ],
        "squared error": [
            _Curve(output.rounding_mse, lambda r: float(r.output.rounding_mse), "output",
                   "rounding_mse", "{:.3g}".format),
            _Curve(output.clipping_mse, lambda r: float(r.output.clipping_mse), "saturated",
                   "clipping_mse", "{:.3g}".format),
        ],
        "bits": [
            _Curve(output.effective_bits, lambda r: float(r.output.effective_bits), "output",
                   "effective_bits", "{:.2f}".format)
        ],
        "shares": [
            _Curve(output.code_utilization, lambda r: float(r.output.code_utilization), "output",
                   "code_utilization", percent),
            _Curve(output.saturation_rate, lambda r: float(r.output.saturation_rate), "saturated",
                   "saturation_rate", percent),
        ],
        "scale": [
            _Curve(found.scales, lambda r: r.x_out_scale, "input", "x_out_scale", scale_text)
        ],
    }  # fmt: skip
    places = [_place(found, t, rule) for rule in rules]
    above = top
    for name, tall in PANELS:
        above += GAP
        panel = Panel(LEFT, RIGHT, 1 - (above + tall) / height, 1 - above / height, x_range,
                      _range(name, curves[name], found))  # fmt: skip
        above += tall
        _draw_frame(sheet, panel, name, curves[name])
        x = panel.x(t)
        if name == "sqnr_db":
            _draw_ceilings(sheet, panel, x, found)
        for curve in curves[name]:
            scaled = _axis(name, curve.values)
            sheet.line(*_clipped(panel, x, scaled), curve.colour, 2.2)
            for i in range(0, len(x), 6):
                y = float(np.clip(scaled[i], *panel.y_range))
                told = (
                    f"α {format_alpha(float(found.alphas[i]))}\n"
                    f"{curve.name} {curve.told(float(curve.values[i]))}"
                )
                sheet.hover(x[i], float(panel.y(y)), told)
        for rule, place in reversed(list(zip(rules, places, strict=True))):
            for curve in curves[name]:
                value = float(_axis(name, np.array([curve.of(rule)]))[0])
                if not np.isfinite(value):
                    continue
                y = float(panel.y(np.clip(value, *panel.y_range)))
                inside = panel.y_range[0] <= value <= panel.y_range[1]
                first = rule is rules[0]
                at = float(panel.x(place))
                sheet.dot(at, y, curve.colour if inside else "line", 9 if first else 7)
                sheet.hover(at, y, f"{rule.label}\n{curve.name} {curve.told(curve.of(rule))}")
    _draw_alpha_axis(sheet, panel, found, t)
    _draw_rules(sheet, panel, found, rules, places, t, height, top)
    return sheet


def _place(found: Landscape, t: np.ndarray, rule: ScaleReport) -> float:
    """Where a rule stands on the axis: at the α that has its scale, or in a margin."""
    if rule.x_out_scale > found.scales[-1]:
        return float(t[-1]) + 0.15
    if rule.x_out_scale < found.scales[0]:
        return float(t[0]) - 0.15
    return float(np.interp(rule.x_out_scale, found.scales, t))


def _axis(name: str, values: np.ndarray) -> np.ndarray:
    """Errors are drawn logarithmically; an error of 0 lies nowhere."""
    if name != "squared error":
        return np.asarray(values, dtype=np.float64)
    return np.log10(values, out=np.full(np.shape(values), -np.inf), where=values > 0)


def _range(name: str, curves: Sequence[_Curve], found: Landscape) -> tuple[float, float]:
    if name == "sqnr_db":
        return _decibel_range(found)
    if name == "bits":
        return 0.0, 8.0
    if name == "shares":
        return 0.0, 1.0
    values = np.concatenate([_axis(name, curve.values) for curve in curves])
    values = values[np.isfinite(values)]
    if name == "scale":
        return 0.0, 1.15 * float(values.max())
    most = float(np.max(values, initial=-12.0))  # where there is no error, any axis will do
    return most - 4.0, most + 0.3


def _draw_frame(sheet: Sheet, panel: Panel, name: str, curves: Sequence[_Curve]) -> None:
    low, high = panel.y_range
    if name == "squared error":
        ticks = [(e, f"1e{e:.0f}".replace("-", "−")) for e in np.arange(np.ceil(low), high)]
    elif name == "shares":
        ticks = [(share, f"{100 * share:.0f} %") for share in (0, 0.5, 1)]
    elif name == "sqnr_db":
        ticks = [(v, f"{v:.0f} dB") for v in np.arange(np.ceil(low / 5) * 5, high, 5)]
    elif name == "bits":
        ticks = [(v, str(v)) for v in (0, 4, 8)]
    else:
        ticks = [(v, f"{v:.3g}") for v in np.linspace(0, high / 1.15, 3)]
    for value, label in ticks:
        y = panel.y(value)
        sheet.line([panel.left, panel.right], [y, y], "grid")
        sheet.text(panel.left - 0.004, y, label, anchor="middle left", size=11.5)
    words = [curve.name for curve in curves]
    x = panel.left
    for curve, word in zip(curves, words, strict=True):
        sheet.text(x, panel.top + 0.003, word, curve.colour, "top right", bold=True)
        x += 0.0064 * len(word) + 0.012


def _draw_alpha_axis(sheet: Sheet, panel: Panel, found: Landscape, t: np.ndarray) -> None:
    for alpha in TICKS:
        if alpha < found.alphas[-2] and log_alpha(alpha) >= panel.x_range[0] - 1e-9:
            x = float(panel.x(log_alpha(alpha)))
            sheet.line([x, x], [panel.bottom, panel.bottom - 0.006], "line")
            sheet.text(x, panel.bottom - 0.006, format_alpha(alpha), anchor="bottom center")
    sheet.text(panel.x(t[-1]), panel.bottom - 0.006, "1", anchor="bottom center")
    sheet.text((panel.left + panel.right) / 2, 0.002, "percentile α, evenly in log(1 − α)",
               anchor="top center")  # fmt: skip


def _draw_rules(
    sheet: Sheet,
    panel: Panel,
    found: Landscape,
    rules: Sequence[ScaleReport],
    places: Sequence[float],
    t: np.ndarray,
    height: float,
    top: float,
) -> None:
    """A line a rule through all panels, named above them; the best α in its own colour."""
    marks = [(place, rule.short, rule is rules[0], False)
             for place, rule in zip(places, rules, strict=True)]  # fmt: skip
    marks.append((float(t[found.best]), f"best {format_alpha(found.best_alpha)}", False, True))
    occupied: list[list[tuple[float, float]]] = [[] for _ in range(8)]
    for place, name, first, best in sorted(marks, key=lambda mark: (not mark[3], not mark[2])):
        x = float(panel.x(place))
        wide = 0.0064 * len(name) + 0.012
        span = (x - wide, x + 0.002) if x > 0.9 else (x - 0.002, x + wide)
        level = next(
            i for i, row in enumerate(occupied)
            if all(span[1] < low or span[0] > high for low, high in row) or i == 7
        )  # fmt: skip
        occupied[level].append(span)
        y = 1 - (top + 8 - LEVEL * (level + 0.5)) / height
        style = ("best", 1.6, "") if best else ("chosen", 2, "") if first else (
            "baseline", 1.1, "6 5")  # fmt: skip
        sheet.line([x, x], [panel.bottom, y - 0.006], *style)
        ink = "best" if best else "text" if first else "muted"
        sheet.text(x + (-0.003 if x > 0.9 else 0.003), y, name, ink,
                   "middle left" if x > 0.9 else "middle right", 12, bold=best or first,
                   halo="page")  # fmt: skip


# Two texts


def held_out_landscapes(
    first: Landscape, second: Landscape, names: tuple[str, str], say: Language
) -> Sheet:
    """SQNR over α of the same slice on two texts, each with its best."""
    height = 300
    sheet = Sheet(height, f"SQNR over α on {names[0]} and on {names[1]}")
    both = (first, second)
    t_end = max(log_alpha(float(each.alphas[-2])) for each in both) + 0.25
    low = min(_decibel_range(each)[0] for each in both)
    high = max(_decibel_range(each)[1] for each in both) - 5
    panel = Panel(LEFT, RIGHT, 44 / height, 0.93, (1.0, t_end + 0.05), (low, high))
    for value in np.arange(np.ceil(low / 5) * 5, high, 5):
        y = panel.y(value)
        sheet.line([panel.left, panel.right], [y, y], "grid")
        sheet.text(panel.left - 0.004, y, f"{value:.0f} dB", anchor="middle left", size=11.5)
    heights = spread([float(panel.y(min(each.best_db, high))) for each in both], 18 / height)
    for each, name, colour, label in zip(both, names, ("chosen", "output"), heights,
                                         strict=True):  # fmt: skip
        t = np.array([log_alpha(float(alpha)) for alpha in each.alphas])
        t[-1] = t_end
        x = panel.x(t)
        sheet.line(*_clipped(panel, x, each.sqnr_db), colour, 2.2)
        at = float(x[each.best])
        sheet.dot(at, float(panel.y(min(each.best_db, high))), colour, 10)
        words = f"{name}: best {format_alpha(each.best_alpha)}, {decibels(each.best_db)}"
        sheet.text(at - 0.012, label + 0.05, words, colour, "middle left", bold=True, halo="page")
        for i in range(0, len(x), 4):
            noise = decibels(float(each.sqnr_db[i]))
            told = f"{name}\nα {format_alpha(float(each.alphas[i]))}: {noise}"
            sheet.hover(x[i], float(panel.y(np.clip(each.sqnr_db[i], low, high))), told)
    longest = max(both, key=lambda each: len(each.alphas))
    t = np.array([log_alpha(float(alpha)) for alpha in longest.alphas[:-1]] + [t_end])
    _draw_alpha_axis(sheet, panel, longest, t)
    return sheet
