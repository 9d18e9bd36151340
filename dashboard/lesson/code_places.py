"""Step 12: a scale is one choice among many. Where would you put 256 codes?

Codes are placed by one law: how dense they are is a power of how dense the values are. The power 0
is INT8's even steps, 1 uses every code alike, and 1/3 makes the least squared error where codes are
many (Panter and Dite 1951, "Quantization Distortion in Pulse-Count Modulation with Nonuniform
Spacing of Levels", Proc. IRE 39(1)).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dashboard.calibration.histogram import Histogram
from dashboard.figures import lesson_code_places as figures
from dashboard.formats import REGISTERED, Codebook, best_format
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step, Table
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent

CODES = 256
POWERS = (0.0, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1.0)
POWER_NAMES = ("0", "1/6", "1/4", "1/3", "1/2", "2/3", "1")
REACHES = (0.25, 0.5, 0.75, 1.0)  # of the greatest value, where the codes end
BINS = 64  # in which density is counted: enough values in each for a power of it to mean something
ALMOST_DB = 1.0  # as near to the best as a law can be asked to come


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("Where would you put 256 codes?"),
        claim=say(
            "A [[scale]] puts codes at even steps. But a code may stand for any value: what are "
            "256 of them worth if they lie closer where values are many?"
        ),
        task=say("Place the codes until they are within {gap} of the best there are.",
                 gap=decibels(ALMOST_DB, 0)),
    )  # fmt: skip


def controls(model: CalibratedModel, layer: int, say: Language) -> tuple[Control, ...]:
    names = dict(zip(POWERS, POWER_NAMES, strict=True))
    return (
        Control(
            "code_power",
            say("Density of the codes: which power of the values' density"),
            POWERS,
            POWERS[0],
            lambda power: names[power],
        ),
        Control("code_reach", say("Codes reach to, of the greatest value"), REACHES, 0.75, percent),
    )


def placed(output: Histogram, power: float, reach: float) -> Codebook:
    """256 codes from the least value to a share of the greatest, by the law above."""
    low, high = min(output.min, 0.0), max(output.max * reach, 1e-6)
    edges = np.linspace(low, high, BINS + 1)
    density = output.rebin(edges).astype(np.float64) ** power
    cumulative = np.concatenate([[0.0], np.cumsum(density)])
    shares = (np.arange(CODES) + 0.5) / CODES * cumulative[-1]
    return Codebook.nearest(np.unique(np.interp(shares, cumulative, edges)))


@lru_cache(maxsize=16)
def best_codes(output: Histogram) -> Codebook:
    """The best 256 values of a layer's output: a second of work, the same for every setting."""
    fit = REGISTERED["optimal8"].fit
    assert fit is not None
    return fit(output.values, output.counts.astype(np.float64))


def screen(
    model: CalibratedModel, layer: int, code_power: float, code_reach: float, say: Language
) -> Screen:
    shown = model.layer(layer)
    output, low = shown.silu_output, PUBLISHED_ALPHAS[0]
    mine, best = placed(output, code_power, code_reach), best_codes(output)
    made, bound = mine.quantize(output), best.quantize(output)
    laws = {p: placed(output, p, 1.0).quantize(output).sqnr_db for p in (0.0, 1 / 3, 1.0)}
    winner = max(laws, key=lambda power: laws[power])
    shifted = best_format(REGISTERED["int8-asymmetric"], shown.calibration).output.sqnr_db

    def reply(power: float) -> str:
        return say(
            "To the greatest value, that has {sqnr}; the best 256 there are have {best}.",
            sqnr=decibels(laws[power], 1),
            best=decibels(bound.sqnr_db, 1),
        )

    return Screen(
        figure=figures.code_places(output, mine, best, made.sqnr_db, bound.sqnr_db, say),
        reading=say(
            "Your codes have {sqnr}, the best 256 have {best}. {used} of yours occur; {clipped} of "
            "the values lie above them.",
            sqnr=decibels(made.sqnr_db, 1),
            best=decibels(bound.sqnr_db, 1),
            used=made.codes_used,
            clipped=percent(1 - output.share_within(output.min, mine.points[-1])),
        ),
        success=(
            say("That is within {gap} of the best there are.", gap=decibels(ALMOST_DB, 0))
            if made.sqnr_db >= bound.sqnr_db - ALMOST_DB
            else ""
        ),
        table=Table(
            (say("256 codes"), "SQNR"),
            (
                (say("yours"), decibels(made.sqnr_db, 1)),
                (say("INT8, α = 0.9995"), decibels(shown.sqnr_db(low), 1)),
                (say("INT8 with a zero point, at its best"), decibels(shifted, 1)),
                (say("the best there are"), decibels(bound.sqnr_db, 1)),
            ),
            chosen=0,
        ),
        question=Question(
            say("Which codes make the least squared error?"),
            (
                Answer(say("Those at even steps."), winner == 0.0, reply(0.0)),
                Answer(
                    say("Those that are closer where values are many, by the cube root."),
                    winner == 1 / 3,
                    reply(1 / 3),
                ),
                Answer(
                    say("Those that lie as the values do, so that all are used alike."),
                    winner == 1.0,
                    reply(1.0),
                ),
            ),
        ),
        note=say(
            "The cube root is the law of many codes (Panter and Dite 1951): a step's error grows "
            "with its cube, and is made as often as its values are many."
        ),
    )


STEP = Step("code_places", introduce, controls, screen, on="layer")
