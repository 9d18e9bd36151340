"""The lesson's pictures of ideas: INT8 itself, one value's way, SiLU, and the two examples.

They stand as well on a phone: labels are short, and what is long stands in the text beside.
"""

from __future__ import annotations

import numpy as np

from dashboard.analysis.pipeline import ChannelTrace
from dashboard.analysis.report import SILU_MIN
from dashboard.calibration.histogram import Histogram, Quantized
from dashboard.figures.style import Panel, Sheet, nice_ticks, steps
from dashboard.figures.transfer import silu
from dashboard.rules.published import OUTLIERS
from dashboard.text.language import Language
from dashboard.text.numbers import number, percent, scale_text, signed
from kernels.int8 import QMAX, QMIN

NARROW = 340  # px: the width of a picture on a phone, for which labels are spaced


def axis(sheet: Sheet, panel: Panel, ticks: np.ndarray, drop: float = 0.012) -> None:
    """A horizontal axis along a panel's bottom."""
    sheet.line([panel.left, panel.right], [panel.bottom, panel.bottom], "line")
    for tick in ticks:
        x = float(panel.x(tick))
        sheet.line([x, x], [panel.bottom, panel.bottom - drop], "line")
        sheet.text(x, panel.bottom - drop, number(float(tick)), anchor="bottom center", size=11.5)


def box(
    sheet: Sheet, left: float, right: float, bottom: float, top: float, colour: str,
    opacity: float = 1.0,
) -> None:  # fmt: skip
    sheet.area([left, right, right, left], [bottom, bottom, top, top], colour, opacity)


# 1. What INT8 can hold


def handful(
    scale: float,
    values: np.ndarray,
    codes: np.ndarray,
    restored: np.ndarray,
    saturated: np.ndarray,
    close: int,
    say: Language,
) -> Sheet:
    """Values above, what comes back below, within the range that the codes span; and a close-up."""
    height = 348
    sheet = Sheet(height, say("Eight values, the range of INT8, and what each value becomes"))
    panel = Panel(0.02, 0.98, 0.6, 0.86, (-5.4, 5.4), (0.0, 1.0))
    ends = QMIN * scale, QMAX * scale
    low, high = max(ends[0], -5.4), min(ends[1], 5.4)
    left, right = float(panel.x(low)), float(panel.x(high))
    box(sheet, left, right, 0.6, 0.86, "panel")
    for end, inside in ((left, ends[0] > -5.4), (right, ends[1] < 5.4)):
        if inside:
            sheet.line([end, end], [0.6, 0.89], "chosen", 2)
    sheet.text((left + right) / 2, 0.915,
               say("INT8 holds {low} … {high}", low=number(ends[0]), high=number(ends[1])),
               "text", bold=True)  # fmt: skip
    axis(sheet, panel, np.arange(-5, 6))
    for value, code, back, beyond in zip(values, codes, restored, saturated, strict=True):
        colour = "saturated" if beyond else "output"
        x, to = (float(panel.x(np.clip(place, -5.4, 5.4))) for place in (value, back))
        sheet.line([x, to], [0.8, 0.66], colour, 1.6)
        sheet.dot(x, 0.8, colour, 9)
        sheet.dot(to, 0.66, colour, 6)
        words = say("{value} → code {code} → {back}", value=number(value), code=number(code),
                    back=number(back, 4))  # fmt: skip
        sheet.hover(x, 0.8, words)

    shown = float(values[close])
    window = (shown - 0.2, shown + 0.2)
    near = Panel(0.02, 0.98, 0.16, 0.44, window, (0.0, 1.0))
    for at, edge in ((window[0], 0.02), (window[1], 0.98)):
        sheet.line([float(panel.x(at)), edge], [0.6, 0.475], "line", 1, "2 3")
    sheet.line([0.02, 0.98, 0.98, 0.02, 0.02], [0.475, 0.475, 0.13, 0.13, 0.475], "line")
    pixels = NARROW * 0.96 * scale / 0.4  # between two codes
    label_every = next(n for n in (1, 2, 5, 10, 20, 50) if n * pixels >= 26)
    for code in range(int(np.ceil(window[0] / scale)),
                      int(np.floor(window[1] / scale)) + 1):  # fmt: skip
        x = float(near.x(code * scale))
        exists = code <= QMAX
        sheet.line([x, x], [0.13, 0.2], "muted" if exists else "line", 1)
        if code % label_every == 0 and exists and 0.04 < x < 0.96:
            sheet.text(x, 0.125, str(code), anchor="bottom center", size=11.5)
    colour = "saturated" if saturated[close] else "output"
    x, to = (float(near.x(np.clip(place, *window))) for place in (shown, restored[close]))
    sheet.line([x, x, to], [0.4, 0.24, 0.2], colour, 1.6)
    sheet.dot(x, 0.4, colour, 10)
    sheet.dot(to, 0.2, colour, 7)
    side = "middle left" if x > 0.5 else "middle right"
    sheet.text(x + (-0.025 if x > 0.5 else 0.025), 0.4, number(shown), "text", side,
               bold=True, halo="page")  # fmt: skip
    words = say(
        "code {code}\nstands for {back}", code=number(codes[close]), back=number(restored[close], 4)
    )
    sheet.text(to + 0.03, 0.29, words, colour, "middle right", halo="page", bold=True)
    sheet.text(0.5, 0.005, say("close-up: one tick is one code"), anchor="top center")
    return sheet


# 2. The kernel's four steps


def four_steps(trace: ChannelTrace, say: Language) -> Sheet:
    """The integer sum, the real value, the curve, the code: from top to bottom."""
    height = 560
    sheet = Sheet(height, say("One value on its way through the kernel, in four steps"))
    tops = (1.0, 0.70, 0.535, 0.235)
    for i, (top, words) in enumerate(zip(tops, (
        say("1  multiply and add, in whole numbers"), say("2  to real units"),
        say("3  SiLU"), say("4  divide by the output scale, round"),
    ), strict=True)):  # fmt: skip
        if i:
            sheet.line([0, 1], [top, top], "grid", 1.4)
        sheet.text(0, top - 0.012, words, "muted", "bottom right", 12.5, bold=True)

    acc, v, y, quotient = int(trace.acc[0]), trace.v[0], float(trace.s[0]), trace.quotient[0]
    v, quotient, written = float(v), float(quotient), int(trace.code[0])
    window = trace.window[0]
    width = len(window)
    centres = 0.2 + 0.74 * (np.arange(width) + 0.5) / width
    for words, y in ((say("x codes"), 0.9), (say("weights"), 0.84), (say("products"), 0.78)):
        sheet.text(0, y, words, anchor="middle right", size=12)
    for k, x in enumerate(centres):
        box(sheet, x - 0.07, x + 0.07, 0.875, 0.925, "panel")
        sheet.text(x, 0.9, number(window[k]), "text", size=14)
        sheet.text(x, 0.84, f"× {number(trace.weight[k])}", "text", size=14)
        sheet.text(x, 0.78, number(window[k] * trace.weight[k]), "muted", size=13)
        if k:
            sheet.text(x - 0.37 / width, 0.78, "+", size=13)
    sheet.text(0.98, 0.73, f"acc = {acc:,}".replace("-", "−"), "text", "middle left", 15, bold=True)

    sheet.text(0, 0.635, "v = scale_wx · acc + bias", anchor="middle right", size=13)
    bias = trace.bias * trace.scale_b
    sheet.text(0, 0.59,
               f"  = {scale_text(trace.scale_wx)} · {acc:,} + {number(bias, 4)}"
               .replace("-", "−").replace("+ −", "− "), anchor="middle right", size=13)  # fmt: skip
    sheet.text(0.98, 0.565, f"v = {number(v, 4)}", "text", "middle left", 15, bold=True)

    reach = max(3.0, 1.15 * abs(v))
    curve = Panel(0.3, 0.98, 0.275, 0.5, (-reach, reach), (-0.08 * reach - 0.28, reach))
    sheet.line([curve.left, curve.right], curve.y([0, 0]), "line")
    sheet.line(curve.x([0, 0]), [curve.bottom, curve.top], "line")
    wide = np.linspace(-reach, reach, 160)
    sheet.line(curve.x(wide), curve.y(silu(wide)), "output", 2.4)
    x, at = float(curve.x(v)), float(curve.y(y))
    sheet.line([x, x], [float(curve.y(0)), at], "chosen", 1.2, "3 3")
    sheet.dot(x, at, "chosen", 10)
    sheet.text(0, 0.44, "y = v / (1 + e⁻ᵛ)", anchor="middle right", size=13)
    sheet.text(0, 0.3, f"y = {number(y, 4)}", "text", "middle right", 15, bold=True)

    middle = int(np.clip(round(quotient), QMIN, QMAX))
    first, last = middle - 3.6, middle + 3.6
    ruler = Panel(0.02, 0.98, 0.09, 0.17, (first, last), (0.0, 1.0))
    sheet.text(0, 0.172, f"{number(y, 4)} / {scale_text(trace.scale_out)} = "
               f"{number(quotient, 2)}", anchor="middle right", size=13)  # fmt: skip
    for code in range(middle - 3, middle + 4):
        if QMIN <= code <= QMAX:
            x = float(ruler.x(code))
            chosen = code == written
            sheet.line([x, x], [0.055, 0.1], "chosen" if chosen else "muted", 2 if chosen else 1)
            sheet.text(x, 0.05, number(code), "text" if chosen else "muted", "bottom center",
                       13 if chosen else 12, bold=chosen)  # fmt: skip
    at = float(ruler.x(np.clip(quotient, first, last)))
    beyond = not QMIN - 0.5 < quotient < QMAX + 0.5
    colour = "saturated" if beyond else "output"
    sheet.line([at, float(ruler.x(written))], [0.135, 0.105], colour, 1.6)
    sheet.dot(at, 0.135, colour, 9)
    sheet.text(0.98, 0.172, say("code {code}", code=number(written)), "text", "middle left", 15,
               bold=True)  # fmt: skip
    return sheet


# 3. SiLU reshapes


def folded(
    silu_input: Histogram, silu_output: Histogram, scale: float, stranded: int, say: Language
) -> Sheet:
    """The input's histogram, where SiLU sends it, and the output's, on one axis."""
    height = 430
    sheet = Sheet(height, say("A bell curve before and after SiLU, on the same axis"))
    reach = 6.4
    edges = np.linspace(-reach, reach, 161)
    x_range = (-reach, reach)
    above = Panel(0.02, 0.98, 0.64, 0.93, x_range, (0.0, 1.0))
    below = Panel(0.02, 0.98, 0.09, 0.42, x_range, (0.0, 1.0))
    before, after = (hist.rebin(edges) for hist in (silu_input, silu_output))
    top = float(before.max()) * 1.05
    for panel, counts, colour in ((above, before, "input"), (below, after, "output")):
        position, outline = steps(edges, np.minimum(counts / top, 1.08), *x_range)
        sheet.area(panel.x(position), panel.y(outline), colour)
    axis(sheet, above, np.array([-6, -4, -2, 0, 2, 4, 6]), 0.0)
    axis(sheet, below, np.array([-6, -4, -2, 0, 2, 4, 6]))
    for v in silu_input.values[np.linspace(0, len(silu_input.values) - 1, 25).astype(
            int)]:  # fmt: skip
        ends = float(above.x(np.clip(v, *x_range))), float(below.x(silu(float(v))))
        sheet.line(ends, [0.585, 0.455], "input", 0.8)
    sheet.text(0, 0.985, say("SiLU input v"), "input", "bottom right", bold=True)
    sheet.text(0, 0.47, say("SiLU output y"), "output", "bottom right", bold=True, halo="page")

    lowest = float(below.x(SILU_MIN))
    low = max(QMIN * scale, -reach)
    left = float(below.x(low))
    if stranded:
        sheet.hatch([left, lowest, lowest, left], [0.09, 0.09, 0.3, 0.3], "stranded")
        words = say("{count} codes\nstranded", count=stranded)
        if lowest - left > 0.2:
            sheet.text((left + lowest) / 2, 0.2, words, "text", bold=True, halo="page")
        else:
            sheet.text(left - 0.01, 0.2, words, "stranded", "middle left", bold=True)
    sheet.line([lowest, lowest], [0.09, 0.36], "chosen", 1.6)
    sheet.text(lowest - 0.01, 0.35, say("least: {least}", least=signed(SILU_MIN, 4)), "text",
               "middle left", halo="page")  # fmt: skip
    cut = float(below.x(min(silu_output.absmax, reach)))
    sheet.line([cut, cut], [0.09, 0.36], "chosen", 1.6)
    far = cut > 0.8
    sheet.text(cut + (-0.012 if far else 0.012), 0.31, say("code {code}", code=QMAX), "text",
               "middle left" if far else "middle right", halo="page")  # fmt: skip
    if after.max() > 1.08 * top:
        share = after.max() / silu_output.total
        words = say("↑ {share} of all values", share=percent(share))
        sheet.text(float(below.x(0.75)), 0.415, words, "output", "middle right", 11.5, halo="page")
    return sheet


# 4. The toy example


def toy_errors(
    scale: float,
    v: np.ndarray,
    errors: np.ndarray,
    codes: tuple[int, int],
    beside_scale: float,
    beside_errors: np.ndarray,
    say: Language,
) -> Sheet:
    """SiLU as a staircase of codes, and under it the error at every conv output."""
    height = 440
    sheet = Sheet(height, say("SiLU as codes at the chosen scale, and the error at each value"))
    v_range = (-5.2, 5.2)
    above = Panel(0.1, 0.98, 0.5, 0.92, v_range, (-0.5, 5.4))
    below = Panel(0.1, 0.98, 0.1, 0.36, v_range, (0.0, 0.062))
    sheet.text(0, 0.985, say("SiLU output y, as codes"), "output", "bottom right", bold=True)
    for tick in (0, 1, 2, 3, 4, 5):
        y = float(above.y(tick))
        sheet.line([above.left, above.right], [y, y], "grid")
        sheet.text(above.left - 0.015, y, str(tick), anchor="middle left", size=11.5)
    wide = np.linspace(-5, 5, 400)
    sheet.line(above.x(wide), above.y(silu(wide)), "muted", 1, "2 3")
    fine = np.linspace(-5, 5, 2000)
    stairs = np.clip(np.sign(silu(fine)) * np.floor(np.abs(silu(fine)) / scale + 0.5), QMIN, QMAX)
    sheet.line(above.x(fine), above.y(stairs * scale), "output", 1.8)
    if QMAX * scale < 5:
        y = float(above.y(QMAX * scale))
        sheet.line([above.left, above.right], [y, y], "saturated", 1.4, "5 4")
        sheet.text(above.left + 0.02, y, say("code {code}: beyond it, values saturate", code=QMAX),
                   "saturated", "bottom right", halo="page")  # fmt: skip
    sheet.text(above.left + 0.02, 0.7,
               say("codes {low} … {high}", low=number(codes[0]),
                   high=number(codes[1])), "text", "middle right", 14, bold=True,
               halo="page")  # fmt: skip

    sheet.text(0, 0.43, say("error at each value"), "text", "bottom right", bold=True)
    for error in (0.0, 0.02, 0.04, 0.06):
        y = float(below.y(error))
        sheet.line([below.left, below.right], [y, y], "grid")
        sheet.text(below.left - 0.015, y, number(error), anchor="middle left", size=11.5)
    for sizes, colour, width in ((beside_errors, "baseline", 3.4), (errors, "output", 1.6)):
        cut = np.minimum(sizes, 0.062)
        if len(cut) < 200:
            for x, error in zip(below.x(v), below.y(cut), strict=True):
                sheet.line([x, x], [below.bottom, error], colour, width)
        else:
            sheet.line(below.x(v[::4]), below.y(cut[::4]), colour, 0.9)
        mean = float(below.y(min(float(sizes.mean()), 0.062)))
        sheet.line([below.left, below.right], [mean, mean], colour, 1.4, "5 4")
    axis(sheet, below, np.arange(-5, 6))
    sheet.text((below.left + below.right) / 2, 0.0, say("convolution's output v"),
               anchor="top center")  # fmt: skip
    for of, sizes, colour, x, anchor in (
        (scale, errors, "output", 1.0, "middle left"),
        (beside_scale, beside_errors, "baseline", 0.38, "middle right"),
    ):
        words = say("{scale}: mean {error}", scale=number(of, 4),
                    error=number(float(sizes.mean()), 4))  # fmt: skip
        sheet.text(x, 0.405, words, colour, anchor, bold=True, halo="page")
    return sheet


# 5. Outliers


def two_rulers(
    share: float,
    size: float,
    minmax: tuple[float, int, float],
    percentile: tuple[float, int, float],
    amaxes: np.ndarray,
    sweep: Quantized,
    best_amax: float,
    say: Language,
) -> Sheet:
    """The values with two rulers of codes under them, and the error over every amax."""
    height = 470
    sheet = Sheet(height, say("The same values under two scales, and the error at every range"))
    reach = max(size, OUTLIERS.bulk) * 1.06
    panel = Panel(0.03, 0.97, 0.84, 0.94, (0.0, reach), (0.0, 1.0))
    end = float(panel.x(OUTLIERS.bulk))
    box(sheet, 0.03, end, 0.84, 0.92, "output", 0.85)
    sheet.text(0.03, 0.985, say("{share} of the values", share=percent(1 - share)), "output",
               "bottom right", bold=True)  # fmt: skip
    if share:
        x = float(panel.x(size))
        sheet.line([x, x], [0.84, 0.92], "saturated", 4)
        sheet.text(0.97, 0.985, say("{share} at {size}", share=percent(share),
                                    size=number(size)), "saturated", "bottom left",
                   bold=True)  # fmt: skip
    axis(sheet, panel, nice_ticks(0, reach, 6))
    one = float(panel.x(OUTLIERS.value))
    for y, (scale, of_value, _), name in ((0.67, minmax, "MinMax"),
                                          (0.55, percentile, say("percentile"))):  # fmt: skip
        codes = np.arange(0, QMAX + 1, 4)
        for code in codes:
            x = float(panel.x(code * scale))
            sheet.line([x, x], [y, y + 0.022], "muted", 0.8)
        stop = float(panel.x(QMAX * scale))
        sheet.line([0.03, stop], [y, y], "chosen", 2)
        sheet.line([stop, stop], [y - 0.012, y + 0.035], "chosen", 2)
        words = say("{name}: scale {scale}", name=name, scale=scale_text(scale))
        # Beside the ruler, where a short one leaves room; else under its end.
        if stop < 0.5:
            sheet.text(stop + 0.03, y + 0.01, words, "text", "middle right", bold=True)
        else:
            sheet.text(stop, y - 0.012, words, "text", "bottom left", bold=True)
        sheet.dot(one, y + 0.011, "best", 9)
        sheet.text(one + 0.012, y - 0.01, str(of_value), "best", "bottom right", 13, bold=True)
    sheet.line([one, one], [0.84, 0.56], "best", 1.2, "3 3")
    sheet.text(one + 0.012, 0.745, say("code of {value}", value=number(OUTLIERS.value)), "best",
               "middle right", 11.5, halo="page")  # fmt: skip

    parts = (("rounding", sweep.rounding_mse, "output", 1.8),
             ("clipping", sweep.clipping_mse, "saturated", 1.8),
             ("both", sweep.rounding_mse + sweep.clipping_mse, "chosen", 2.4))  # fmt: skip
    floor, ceiling = 1e-5, max(1.0, 1.4 * float(sweep.clipping_mse.max()))
    below = Panel(0.1, 0.97, 0.1, 0.4, (amaxes[0], amaxes[-1]),
                  (np.log10(floor), np.log10(ceiling)))  # fmt: skip
    for exponent in range(-5, int(np.floor(np.log10(ceiling))) + 1):
        y = float(below.y(exponent))
        sheet.line([below.left, below.right], [y, y], "grid")
        if exponent % 2 == 1 or exponent == 0:
            sheet.text(below.left - 0.012, y, f"1e{exponent}".replace("-", "−"),
                       anchor="middle left", size=11)  # fmt: skip
    for _, values, colour, width in parts:
        shown = values > floor
        sheet.line(below.x(amaxes[shown]), below.y(np.log10(values[shown])), colour, width)
    for scale, _, mse in (minmax, percentile):
        x = float(below.x(QMAX * scale))
        y = float(below.y(np.log10(max(mse, floor))))
        sheet.line([x, x], [below.bottom, y], "chosen", 1.2, "3 3")
        sheet.dot(x, y, "chosen", 9)
    x = float(below.x(best_amax))
    y = float(below.y(np.log10(max(float((sweep.rounding_mse + sweep.clipping_mse).min()), floor))))
    sheet.dot(x, y, "best", 7)
    axis(sheet, below, nice_ticks(amaxes[0], amaxes[-1], 6))
    sheet.text(0, 0.465, say("mean squared error"), "text", "bottom right", bold=True)
    sheet.text(0.97, 0.465, say("rounding"), "output", "bottom left", bold=True)
    sheet.text(0.8, 0.465, say("clipping"), "saturated", "bottom left", bold=True)
    sheet.text((below.left + below.right) / 2, 0.0, say("amax, the end of the range"),
               anchor="top center")  # fmt: skip
    return sheet
