"""Step 5: why not simply MinMax, and why not simply a percentile."""

from dashboard.figures.lesson_ideas import two_rulers
from dashboard.lesson.outliers import Outlying, outlying
from dashboard.lesson.screen import Answer, Question, Screen, Table
from dashboard.rules.published import OUTLIERS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, number, percent, scale_text


def screen(found: Outlying, say: Language) -> Screen:
    minmax, cut = found.minmax, found.percentile
    value = number(OUTLIERS.value)
    if found.share == 0 or minmax.scale == cut.scale:
        reading = say("Without outliers both scales are the same. Add some.")
    else:
        reading = say(
            "{value} becomes code {minmax_code} by [[minmax|MinMax]] and {code} by the "
            "[[percentile]]: its steps are {times} times finer. The bulk gains, {bulk} in place of "
            "{bulk_minmax}; each outlier loses {lost}. In the mean error {mean_winner} is "
            "{mean_times} times better; in the [[mse|mean squared error]], {winner}, "
            "{square_times} times. The least squared error has the range {best}.",
            value=value, minmax_code=minmax.code, code=cut.code,
            times=number(minmax.scale / cut.scale, 1), bulk=number(cut.bulk_error, 4),
            bulk_minmax=number(minmax.bulk_error, 4), lost=number(cut.outlier_error, 1),
            mean_winner=_winner(cut.mean_error, minmax.mean_error, say),
            mean_times=_times(cut.mean_error, minmax.mean_error),
            winner=_winner(cut.mse, minmax.mse, say), square_times=_times(cut.mse, minmax.mse),
            best=number(found.best_amax, 2),
        )  # fmt: skip
    asked = outlying(OUTLIERS.outlier, OUTLIERS.outlier_share)
    a, b = asked.minmax, asked.percentile
    return Screen(
        title=say("Outliers: somebody pays"),
        claim=say(
            "[[minmax|MinMax]] stretches the range to the largest value, so a few [[outlier|"
            "outliers]] make every step coarse. A [[percentile]] ignores them, so the steps stay "
            "fine and the outliers are [[saturation|clipped]]. The published example prints the "
            "fine steps, {minmax} against {percentile}, and not what the clipping costs.",
            minmax=number(OUTLIERS.minmax_scale, 4),
            percentile=number(OUTLIERS.percentile_scale, 4),
        ),
        task=say("Add outliers and move them away. Watch both sides of the trade."),
        sheet=two_rulers(found, say),
        reading=reading,
        table=Table(
            ("", "MinMax", say("percentile")),
            (
                (say("scale"), scale_text(minmax.scale), scale_text(cut.scale)),
                (say("code of {value}", value=value), str(minmax.code), str(cut.code)),
                (say("mean error, bulk"), number(minmax.bulk_error, 4), number(cut.bulk_error, 4)),
                (say("mean error, outliers"), number(minmax.outlier_error, 4),
                 number(cut.outlier_error, 4)),
                (say("mean error, all"), number(minmax.mean_error, 4), number(cut.mean_error, 4)),
                ("[[sqnr|SQNR]]", decibels(float(minmax.output.sqnr_db), 1),
                 decibels(float(cut.output.sqnr_db), 1)),
            ),
        ),
        question=Question(
            say("{share} of the values at {size}: which scale has the higher SQNR?",
                share=percent(OUTLIERS.outlier_share), size=number(OUTLIERS.outlier)),
            (
                Answer(say("the percentile: its steps are {times} times finer",
                           times=number(a.scale / b.scale, 1)), b.mse < a.mse,
                       say("SQNR squares the errors. Each clipped outlier is off by {lost}, and "
                           "{square} outweighs all that fine steps gain: {cut} against {minmax}.",
                           lost=number(b.outlier_error, 1), square=number(b.outlier_error**2, 0),
                           cut=decibels(float(b.output.sqnr_db), 1),
                           minmax=decibels(float(a.output.sqnr_db), 1))),
                Answer("MinMax", a.mse < b.mse,
                       say("Yes: {minmax} against {cut}. In the mean error it is the other way "
                           "round, {minmax_mean} against {cut_mean}. Which is right depends on "
                           "what errors do to the model.",
                           minmax=decibels(float(a.output.sqnr_db), 1),
                           cut=decibels(float(b.output.sqnr_db), 1),
                           minmax_mean=number(a.mean_error, 4), cut_mean=number(b.mean_error, 4))),
            ),
        ),
    )  # fmt: skip


def _winner(percentile: float, minmax: float, say: Language) -> str:
    return say("the percentile") if percentile < minmax else "MinMax"


def _times(first: float, second: float) -> str:
    ratio = max(first, second) / min(first, second)
    return number(ratio, 1 if ratio < 10 else 0)
