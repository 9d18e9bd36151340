"""Held-out: what a scale calibrated on one text does on another."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.analysis.report import (
    Judged,
    format_alpha,
)
from dashboard.rules.landscape import NEGLIGIBLE_DB, Landscape
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text


def held_out_headline(here: Judged, names: tuple[str, str], there: Landscape, say: Language) -> str:
    """What the calibrated scale loses on the other text, against the best α there."""
    loss = there.best_db - float(here.there.sqnr_db)
    if loss < NEGLIGIBLE_DB:
        return f"On {names[1]} no percentile does better than this scale."
    return f"On {names[1]} this scale loses {loss:.1f} dB against the best α there."


def held_out_verdict(
    here: Judged, names: tuple[str, str], pair: Sequence[Landscape], say: Language
) -> str:
    """The same scale on both texts: SQNR and saturation."""
    own, there = here.own.output, here.there
    return (
        f"{here.own.label}, calibrated on {names[0]}: {decibels(float(own.sqnr_db))} and "
        f"{percent(float(own.saturation_rate))} saturated there; "
        f"{decibels(float(there.sqnr_db))} and {percent(float(there.saturation_rate))} on "
        f"{names[1]}. The best α is {format_alpha(pair[0].best_alpha)} on the one and "
        f"{format_alpha(pair[1].best_alpha)} on the other."
    )


def held_out_caption(pair: Sequence[Landscape], names: tuple[str, str], say: Language) -> str:
    """What the best scale of one text would lose on the other."""
    moved = pair[0].scales[pair[0].best] / pair[1].scales[pair[1].best]
    return (
        f"The best scale is {scale_text(float(pair[0].scales[pair[0].best]))} on {names[0]} and "
        f"{scale_text(float(pair[1].scales[pair[1].best]))} on {names[1]}, a factor of "
        f"{max(moved, 1 / moved):.2f}."
    )


def held_out_rows(
    judged: Sequence[Judged],
    bests: Sequence[tuple[Landscape, Landscape]],
    names: tuple[str, str],
    say: Language,
) -> list[dict]:
    """A row a layer: saturation, SQNR and best α on each text."""
    return [
        {
            "layer": each.layer,
            "x_out_scale": scale_text(each.own.x_out_scale),
            f"saturated, {names[0]}": percent(float(each.own.output.saturation_rate)),
            f"saturated, {names[1]}": percent(float(each.there.saturation_rate)),
            f"SQNR, {names[0]}": decibels(float(each.own.output.sqnr_db)),
            f"SQNR, {names[1]}": decibels(float(each.there.sqnr_db)),
            f"best α, {names[0]}": format_alpha(own.best_alpha),
            f"best α, {names[1]}": format_alpha(there.best_alpha),
            f"lost on {names[1]}": decibels(there.best_db - float(each.there.sqnr_db)),
        }
        for each, (own, there) in zip(judged, bests, strict=True)
    ]


NO_SECOND_TEXT = "A calibration file knows one text; choose its checkpoint to judge on another."
