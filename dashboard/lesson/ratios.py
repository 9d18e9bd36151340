"""Step 7: the ratio trap. Which ratio was published, and what predicting one would cost."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.figures import lesson_ratios as figures
from dashboard.lesson.calibrated import CalibratedLayer, CalibratedModel
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step, Table
from dashboard.rules.published import (
    QUAMBA2_2_7B_PA_1_LAYER_0,
    QUAMBA2_130M,
    X_OUT_SCALES,
)
from dashboard.text.language import Language
from dashboard.text.numbers import percent, signed

GUESSES = tuple(range(10, 301, 2))
DEFAULT_GUESS = 100
NEAR = 0.1  # a guess that is off by less can be praised
GROUPS_STEP = 8  # of the lesson: what (1, 4, 4) means


@dataclass(frozen=True)
class Guess:
    """A reader's guess of one layer's like-for-like ratio, and what acting on it would cost."""

    layer: int
    guess: float
    truth: float
    loss_db: float  # against the layer's best α
    saturation_rate: float

    @property
    def off(self) -> float:
        """How far the guess is off: 0.1 is 10 % too much."""
        return self.guess / self.truth - 1


def evaluate_guess(layer: CalibratedLayer, ratio_wx: float) -> Guess:
    """Quantize the layer with the scale that a guessed ratio amounts to."""
    scale = ratio_wx * layer.calibration.scale_wx
    return Guess(
        layer.number,
        ratio_wx,
        layer.best_ratio_wx,
        layer.loss_at_scale_db(scale),
        float(layer.silu_output.quantize(scale).saturation_rate),
    )


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("The ratio trap"),
        claim=say(
            "The table of the [[published_analysis|published analysis]] divides x_out_scale by "
            "wx_scale and reads the ratio as what SiLU does to the range. But that wx_scale is the "
            "scale of the **weights**: the ratio compares an activation with a weight. "
            "[[ratio_wx|Like for like]], over [[scale_wx|x_scale · w_scale]], the same rows give "
            "{low} to {high} in place of {first} to {last}.",
            low=f"{min(row.ratio_wx for row in QUAMBA2_130M):.0f}",
            high=f"{max(row.ratio_wx for row in QUAMBA2_130M):.0f}",
            first=f"{min(row.ratio_weight for row in QUAMBA2_130M):.1f}",
            last=f"{max(row.ratio_weight for row in QUAMBA2_130M):.1f}",
        ),
        task=say("Look at the layers that you can see, and predict the one that you cannot."),
    )


def controls(model: CalibratedModel, say: Language) -> tuple[Control, ...]:
    guess = say("Your guess for layer {layer}", layer=model.layers[-1].number)
    return (
        Control("guess", guess, GUESSES, DEFAULT_GUESS),
        Control("shown", say("Show the answer"), (False, True), False, kind="switch"),
    )


def screen(model: CalibratedModel, guess: int, shown: bool, say: Language) -> Screen:
    guessed = evaluate_guess(model.layers[-1], float(guess))
    first, second = QUAMBA2_130M[:2]
    return Screen(
        figure=figures.ratios(
            model.checkpoint,
            {layer.number: layer.best_ratio_wx for layer in model.layers},
            guessed.layer,
            guessed.guess,
            shown,
            say,
        ),
        reading=_answer(guessed, say) if shown else _ask(model, guessed.layer, say),
        success=say("Within {share}: a good guess, and still a guess.", share=percent(NEAR))
        if shown and abs(guessed.off) < NEAR
        else "",
        table=Table(
            (
                say("layer"),
                "x_scale",
                say("wx_scale (of weights)"),
                "x_out_scale",
                say("published ratio"),
                say("like for like"),
            ),
            tuple(
                (
                    str(row.layer),
                    f"{row.x_scale:.4f}",
                    f"{row.wx_scale:.5f}",
                    f"{row.x_out_scale:.4f}",
                    f"{row.ratio:.2f}",
                    f"{row.ratio_wx:.3g}",
                )
                for row in QUAMBA2_130M
            ),
        ),
        question=Question(
            say(
                "Layer {layer} has the published ratio {ratio}. Suppose its weights were twice as "
                "large and its inputs half as large, so that nothing changes after the "
                "convolution. What would the published ratio be?",
                layer=second.layer,
                ratio=f"{second.ratio:.2f}",
            ),
            (
                Answer(
                    f"{second.ratio:.2f}",
                    False,
                    say(
                        "x_out_scale stays, but the published ratio divides it by the scale of "
                        "the weights, and that has doubled."
                    ),
                ),
                Answer(
                    f"{second.ratio / 2:.2f}",
                    True,
                    say(
                        "The ratio halves and SiLU has done nothing else than before: it "
                        "measures the weights. The like-for-like ratio stays {ratio}. And "
                        "|SiLU(v)| ≤ |v| for every v, so SiLU widens no range.",
                        ratio=f"{second.ratio_wx:.0f}",
                    ),
                ),
                Answer(
                    f"{second.ratio * 2:.2f}",
                    False,
                    say("Twice the weights means twice their scale, and the ratio divides by it."),
                ),
            ),
        ),
        note=say(
            "Each published x_out_scale stands for {count} and is their mean (step {step}): these "
            "are ratios of means. Of the 2.7b model the ratios are printed, and one "
            "x_out_scale, layer {layer}'s: {scale}.",
            count=X_OUT_SCALES.scales,
            step=GROUPS_STEP,
            layer=first.layer,
            scale=f"{QUAMBA2_2_7B_PA_1_LAYER_0:.5f}",
        ),
    )


def _ask(model: CalibratedModel, layer: int, say: Language) -> str:
    others = [other.best_ratio_wx for other in model.layers if other.number != layer]
    question = say("What has layer {layer}? Set your guess, then look.", layer=layer)
    if not others:
        return question
    return (
        say(
            "The other layers of {checkpoint} have like-for-like ratios from {low} to {high}.",
            checkpoint=model.checkpoint,
            low=f"{min(others):.1f}",
            high=f"{max(others):.1f}",
        )
        + "\n\n"
        + question
    )


def _answer(guess: Guess, say: Language) -> str:
    if guess.off > 0:
        comparison = say(
            "Layer {layer} has {truth}; your {guess} is {off} too large.",
            layer=guess.layer,
            truth=f"{guess.truth:.1f}",
            guess=f"{guess.guess:.0f}",
            off=percent(abs(guess.off)),
        )
    else:
        comparison = say(
            "Layer {layer} has {truth}; your {guess} is {off} too small.",
            layer=guess.layer,
            truth=f"{guess.truth:.1f}",
            guess=f"{guess.guess:.0f}",
            off=percent(abs(guess.off)),
        )
    return (
        comparison
        + "\n\n"
        + say(
            "With the scale that the guess gives, the layer would lose {loss} dB and "
            "clip {clipped} of its values. Nothing in the other layers could tell: the scale "
            "has to be [[calibration|calibrated]].",
            loss=signed(guess.loss_db, 1),
            clipped=percent(guess.saturation_rate),
        )
    )


STEP = Step("ratios", introduce, controls, screen, on="model")
