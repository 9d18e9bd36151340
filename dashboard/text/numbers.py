"""How numbers are written, in drawings and in sentences: shares, scales, decibels, minus signs."""

from __future__ import annotations

import math
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
    """A number with a typographic minus."""
    return f"{value:.{digits}f}".replace("-", "−")


def number(value: float, digits: int = 3) -> str:
    """A number with a typographic minus and no zeros that say nothing."""
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text.replace("-", "−")
