"""Step 11: choose. An α for each layer, what it buys, and which one α could serve them all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dashboard.analysis.report import format_alpha
from dashboard.figures import lesson_alpha_choice as figures
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step, Table
from dashboard.rules.observers import DEFAULT_ALPHA, PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import signed

DEFENSIBLE_DB = 0.5  # lost on average: as good as anybody could want


@dataclass(frozen=True)
class AlphaChoice:
    """An α for each layer of a model, and what it buys."""

    model: CalibratedModel
    alphas: tuple[float, ...]

    @property
    def sqnr_db(self) -> tuple[float, ...]:
        """Each layer's SQNR at its chosen α, in decibels."""
        pairs = zip(self.model.layers, self.alphas, strict=True)
        return tuple(layer.sqnr_db(alpha) for layer, alpha in pairs)

    @property
    def loss_db(self) -> tuple[float, ...]:
        """Against each layer's own best."""
        pairs = zip(self.model.layers, self.alphas, strict=True)
        return tuple(layer.landscape.loss_db(alpha) for layer, alpha in pairs)

    @property
    def mean_loss_db(self) -> float:
        """What the choices lose against each layer's best α, on average, in decibels."""
        return float(np.mean(self.loss_db))

    @property
    def worst(self) -> int:
        """The layer that loses most."""
        return self.model.layers[int(np.argmax(self.loss_db))].number


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("Your turn: choose α"),
        claim=say(
            "You know what is at stake: a small α clips the [[outlier|tail]], a large one makes "
            "every step coarse, and each layer has its own tail. Choose for this model, and say "
            "why."
        ),
        task=say("Set α for each layer. Lose less than {loss} dB on average.", loss=DEFENSIBLE_DB),
    )


def controls(model: CalibratedModel, say: Language) -> tuple[Control, ...]:
    grid = model.grid()
    return tuple(
        Control(
            _key(layer.number),
            say("Layer {layer}", layer=layer.number),
            grid,
            DEFAULT_ALPHA,
            format_alpha,
        )
        for layer in model.layers
    )


def _key(layer: int) -> str:
    return f"alpha_{layer}"


def screen(model: CalibratedModel, say: Language, **alphas: float) -> Screen:
    """``alphas`` has one entry a layer, by the keys of the controls."""
    choice = AlphaChoice(model, tuple(alphas[_key(layer.number)] for layer in model.layers))
    loss = choice.mean_loss_db
    defensible = loss < DEFENSIBLE_DB
    reading = say(
        "On average this loses **{loss} dB** against each layer's best possible α.",
        loss=signed(loss, 2),
    )
    if not defensible:
        reading += "\n\n" + say("Layer {layer} loses most.", layer=choice.worst)
    whole = model.recommendation
    singles = list(dict.fromkeys((*PUBLISHED_ALPHAS, 1.0, whole.alpha)))

    def lost(alpha: float) -> str:
        return signed(whole.mean_loss_db(alpha), 2)

    return Screen(
        figure=figures.alpha_choice(
            [layer.number for layer in model.layers],
            choice.alphas,
            choice.sqnr_db,
            [layer.landscape.best_db for layer in model.layers],
            choice.loss_db,
            say,
        ),
        reading=reading,
        success=say("Less than {loss} dB: that can be defended.", loss=DEFENSIBLE_DB)
        if defensible
        else "",
        table=Table(
            (
                say("one α for all layers"),
                say("lost on average, these layers' x"),
                say("the whole model, every slice"),
            ),
            (
                *(
                    (
                        say("{alpha}, MinMax", alpha=1) if alpha == 1.0 else format_alpha(alpha),
                        f"{signed(model.mean_loss_db(alpha), 2)} dB",
                        f"{lost(alpha)} dB",
                    )
                    for alpha in singles
                ),
                (say("yours"), f"{signed(loss, 2)} dB", "–"),
            ),
            spoils=True,
            chosen=len(singles),
        ),
        question=Question(
            say("You may set only one α for this model. Which one can you defend?"),
            tuple(
                Answer(
                    format_alpha(alpha),
                    alpha == whole.alpha,
                    say(
                        "Over every layer and slice it loses {loss} dB on average, the least of "
                        "all α tried. On another model, calibrate again.",
                        loss=lost(alpha),
                    )
                    if alpha == whole.alpha
                    else say(
                        "Over every layer and slice it loses {loss} dB on average, and one of "
                        "the others less.",
                        loss=lost(alpha),
                    ),
                )
                for alpha in sorted(singles)
            ),
        ),
        note=say(
            "What to take along: the scale of the output cannot be derived from the scales that "
            "come in; it has to be calibrated on what SiLU really gives. Clipping and rounding "
            "pull it in opposite directions, and where they balance differs from layer to layer. A "
            "symmetric scale leaves nearly half of the codes unused. And a ratio, a utilization or "
            "a mean error can each look good for a scale that is not."
        ),
    )


STEP = Step("alpha_choice", introduce, controls, screen, on="model")
