"""Step 7: the ratio trap."""

from dashboard.figures.lesson_models import ratios
from dashboard.lesson.calibrated import Guess, Trained
from dashboard.lesson.screen import Answer, Question, Screen, Table
from dashboard.rules.published import QUAMBA2_2_7B_PA_1_LAYER_0, QUAMBA2_130M, X_OUT_SCALES
from dashboard.text.language import Language
from dashboard.text.numbers import percent, signed

GROUPS_STEP = 8  # of the lesson: what (1, 4, 4) means


def screen(trained: Trained, guess: Guess, shown: bool, say: Language) -> Screen:
    others = [each.best_ratio_wx for each in trained.layers if each.layer != guess.layer]
    if shown:
        reading = say(
            "Layer {layer} has {truth}; your {guess} is {off} {side}. With the scale that it "
            "gives, the layer would lose {loss} dB and clip {clipped} of its values. Nothing in "
            "the other layers told you: the scale has to be [[calibration|calibrated]].",
            layer=guess.layer, truth=f"{guess.truth:.1f}", guess=f"{guess.guess:.0f}",
            off=percent(abs(guess.off)), side=say("too large") if guess.off > 0 else
            say("too small"), loss=signed(guess.loss_db, 1),
            clipped=percent(guess.saturation_rate),
        )  # fmt: skip
    else:
        reading = say(
            "The other layers of {checkpoint} have like-for-like ratios from {low} to {high}. What "
            "has layer {layer}? Set your guess, then look.",
            checkpoint=trained.checkpoint, low=f"{min(others):.1f}", high=f"{max(others):.1f}",
            layer=guess.layer,
        )  # fmt: skip
    first, second = QUAMBA2_130M[:2]
    return Screen(
        title=say("The ratio trap"),
        claim=say(
            "The published table divides x_out_scale by wx_scale and reads the ratio as what SiLU "
            "does to the range. But that wx_scale is the scale of the **weights**: the ratio "
            "compares an activation with a weight. [[ratio_wx|Like for like]], over "
            "[[scale_wx|x_scale · w_scale]], the same rows give {low} to {high} in place of "
            "{first} to {last}.",
            low=f"{min(each.ratio_wx for each in QUAMBA2_130M):.0f}",
            high=f"{max(each.ratio_wx for each in QUAMBA2_130M):.0f}",
            first=f"{min(each.ratio_weight for each in QUAMBA2_130M):.1f}",
            last=f"{max(each.ratio_weight for each in QUAMBA2_130M):.1f}",
        ),
        task=say("Look at the layers that you can see, and predict the one that you cannot."),
        sheet=ratios(trained, guess, shown, say),
        reading=reading,
        table=Table(
            (say("layer"), "x_scale", say("wx_scale (of weights)"), "x_out_scale",
             say("published ratio"), say("like for like")),
            tuple(
                (str(each.layer), f"{each.x_scale:.4f}", f"{each.wx_scale:.5f}",
                 f"{each.x_out_scale:.4f}", f"{each.ratio:.2f}", f"{each.ratio_wx:.3g}")
                for each in QUAMBA2_130M
            ),
        ),
        question=Question(
            say("Layer {layer} has the published ratio {ratio}. Did SiLU widen its range?",
                layer=second.layer, ratio=f"{second.ratio:.2f}"),
            (
                Answer(say("Yes, about {ratio} times.", ratio=f"{second.ratio:.0f}"), False,
                       say("SiLU widens nothing: |SiLU(v)| ≤ |v| for every v. The ratio is large "
                           "because weights are small numbers.")),
                Answer(say("No, and the ratio cannot say: it compares an activation with "
                           "a weight."),
                       True,
                       say("Yes. Layer {layer}, at {ratio}, is no different in kind: its weights "
                           "and inputs are, not its SiLU.", layer=first.layer,
                           ratio=f"{first.ratio:.2f}")),
                Answer(say("Only the positive part."), False,
                       say("For positive v SiLU(v) is a little less than v, never more.")),
            ),
        ),
        note=say(
            "Each published x_out_scale stands for {count} and is their mean (step {step}): these "
            "are ratios of means. Of the 2.7b model the ratios are printed, and one "
            "x_out_scale, layer {layer}'s: {scale}.",
            count=X_OUT_SCALES.scales, step=GROUPS_STEP, layer=first.layer,
            scale=f"{QUAMBA2_2_7B_PA_1_LAYER_0:.5f}",
        ),
    )  # fmt: skip
