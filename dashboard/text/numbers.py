"""How numbers are written, in drawings and in sentences: shares, scales, decibels, minus signs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np


def percent(share: float, digits: int = 2) -> str:
    """A share, or a relative change: 0.049 %, 55 %, 99.983 %, 100 %, 103 %.

    The lesser of the share and of what is left of the whole has ``digits`` digits, so that both
    add up when they stand in one sentence, and nothing but 0 and 1 is printed as 0 % or 100 %.
    """
    if not math.isfinite(share):
        return "–" if math.isnan(share) else "∞ %"
    value = 100 * Decimal(repr(float(share)))
    if value < 0:
        return f"−{percent(-share, digits)}"
    left = abs(100 - value)
    if value == 0 or left == 0:
        return f"{value:.0f} %"
    # Above the whole it is a change: three digits, or more where it is hardly above.
    decimals = digits - 1 - min(value, left).adjusted() if value < 100 else -left.adjusted()
    text = f"{value:.{max(decimals, 0)}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def scale_text(scale: float) -> str:
    """A scale in real units per code, or another magnitude, with four digits."""
    if scale == 0:
        return "0"
    decimals = 3 - int(np.floor(np.log10(scale)))
    return f"{scale:.{max(decimals, 0)}f}"


def decibels(value: float, digits: int = 2) -> str:
    """A number of decibels with its unit and a typographic minus: 41.32 dB, −0.50 dB, ∞ dB."""
    return "∞ dB" if np.isinf(value) and value > 0 else f"{signed(value, digits)} dB"


def signed(value: float, digits: int) -> str:
    """A number with a typographic minus; what is written as 0 has none."""
    return f"{value:z.{digits}f}".replace("-", "−")


def number(value: float, digits: int = 3) -> str:
    """A number with a typographic minus and no zeros that say nothing."""
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text.replace("-", "−")


def with_error(mean: float, error: float | None) -> str:
    """A mean and its standard error, to the error's second digit: 0.00149 ± 0.00021.

    Without an error, or of one that is 0, the mean with three digits. Below 10⁻⁶ as a power of 10.
    """
    if error is None or error == 0 or not math.isfinite(error):
        return small(mean)
    if max(abs(mean), error) < SMALLEST_PLAIN:
        exponent = math.floor(math.log10(max(abs(mean), error)))
        unit = 10.0**exponent
        digits = max(1 - math.floor(math.log10(error / unit)), 0)
        power = str(exponent).translate(SUPERSCRIPTS)
        return f"({signed(mean / unit, digits)} ± {error / unit:.{digits}f})·10{power}"
    digits = max(1 - math.floor(math.log10(error)), 0)
    return f"{signed(mean, digits)} ± {error:.{digits}f}"


def small(value: float) -> str:
    """A number of any size with three digits: 0.00149, 12.3, 4.20·10⁻⁸."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–" if math.isnan(value) else signed(value, 0)
    exponent = math.floor(math.log10(abs(value)))
    if abs(value) < SMALLEST_PLAIN:
        power = str(exponent).translate(SUPERSCRIPTS)
        return f"{signed(value / 10.0**exponent, 2)}·10{power}"
    return signed(value, max(2 - exponent, 0))


SMALLEST_PLAIN = 1e-6  # smaller numbers are written as a power of 10
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def spans(numbers: Sequence[int]) -> str:
    """Ascending numbers as they are listed: 0–2, 5."""
    runs: list[list[int]] = []
    for value in numbers:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
