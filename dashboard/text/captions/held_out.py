"""Held-out: what a scale calibrated on one text does on another."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.analysis.report import HeldOut, format_alpha
from dashboard.messages import Message
from dashboard.rules.landscape import NEGLIGIBLE_DB, Landscape
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text


def held_out_headline(
    here: HeldOut, names: tuple[str, str], there: Landscape, say: Language
) -> str:
    """What the calibrated scale loses on the other text, against the best α there.

    ``names`` are those of the calibration text and of the other.
    """
    loss_db = there.best_db - float(here.there.sqnr_db)
    if loss_db < NEGLIGIBLE_DB:
        return say("On {text} no percentile does better than this scale.", text=names[1])
    return say(
        "On {text} this scale loses {loss} against the best α there.",
        text=names[1],
        loss=f"{loss_db:.1f} dB",
    )


def held_out_verdict(
    here: HeldOut, names: tuple[str, str], pair: Sequence[Landscape], say: Language
) -> str:
    """The same scale on both texts: SQNR and saturation.

    ``pair`` holds the landscapes of the calibration text and of the other.
    """
    own, there = here.own.output, here.there
    scale = say(
        "{rule}, calibrated on {own_text}: {own_sqnr} and {own_rate} saturated there; {sqnr} and "
        "{rate} on {text}.",
        rule=say(here.own.label),
        own_text=names[0],
        own_sqnr=decibels(float(own.sqnr_db)),
        own_rate=percent(float(own.saturation_rate)),
        sqnr=decibels(float(there.sqnr_db)),
        rate=percent(float(there.saturation_rate)),
        text=names[1],
    )
    best = say(
        "The best α is {own_alpha} on {own_text} and {alpha} on {text}.",
        own_alpha=format_alpha(pair[0].best_alpha),
        own_text=names[0],
        alpha=format_alpha(pair[1].best_alpha),
        text=names[1],
    )
    return say.sentences(scale, best)


def held_out_caption(pair: Sequence[Landscape], names: tuple[str, str], say: Language) -> str:
    """How far the best scales of the two texts lie apart."""
    scales = [float(landscape.scales[landscape.best]) for landscape in pair]
    return say(
        "The best scale is {own_scale} on {own_text} and {scale} on {text}, a factor of {factor}.",
        own_scale=scale_text(scales[0]),
        own_text=names[0],
        scale=scale_text(scales[1]),
        text=names[1],
        factor=f"{max(scales) / min(scales):.2f}",
    )


def held_out_rows(
    rows: Sequence[HeldOut],
    bests: Sequence[tuple[Landscape, Landscape]],
    names: tuple[str, str],
    say: Language,
) -> list[dict]:
    """A row a layer: saturation, SQNR and best α on each text."""
    own_text, text = names
    return [
        {
            say("layer"): layer.layer,
            "x_out_scale": scale_text(layer.own.x_out_scale),
            say("saturated, {text}", text=own_text): percent(
                float(layer.own.output.saturation_rate)
            ),
            say("saturated, {text}", text=text): percent(float(layer.there.saturation_rate)),
            say("SQNR, {text}", text=own_text): decibels(float(layer.own.output.sqnr_db)),
            say("SQNR, {text}", text=text): decibels(float(layer.there.sqnr_db)),
            say("best α, {text}", text=own_text): format_alpha(own.best_alpha),
            say("best α, {text}", text=text): format_alpha(there.best_alpha),
            say("lost on {text}", text=text): decibels(there.best_db - float(layer.there.sqnr_db)),
        }
        for layer, (own, there) in zip(rows, bests, strict=True)
    ]


NO_SECOND_TEXT = Message(
    "A calibration file knows one text; choose its checkpoint to judge on another."
)
