"""What "best" is meant by: the most SQNR, or the least predicted loss.

Loss asks for gradients, which one backward pass counts. Once they were counted, on any page, loss
is what is meant unless the reader says otherwise; before, SQNR, which costs nothing.
"""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.messages import Message
from dashboard.pages import calibrating, waiting
from dashboard.pages.controls import Choice
from dashboard.pages.remembering import STATE, keep, kept, one_of, put_in_link
from dashboard.pages.waiting import Frame
from dashboard.rules.landscape import Measure
from dashboard.text.language import Language

NAMES: dict[Measure, Message] = {"sqnr_db": Message("SQNR"), "predicted_nats": Message("loss")}


def best_by(
    frame: Frame, choice: Choice, say: Language, place: DeltaGenerator | None = None
) -> Measure:
    """The box, and what it is set to; counts the gradients that loss asks for.

    A calibration file in which there are none goes by SQNR, and so does a page that shows the
    first batch while the rest is counted.

    Args:
        place: where the box stands; None is among what the page alone has.
    """
    source = choice.source
    default: Measure = "predicted_nats" if calibrating.has_gradients(source) else "sqnr_db"
    impossible = source.from_file and default == "sqnr_db"
    kept("best_by", one_of(tuple(NAMES)))
    if "best_by" not in STATE:
        STATE.best_by = default
    with place or frame.own:
        named = st.segmented_control(
            say("Best is meant by"),
            tuple(NAMES),
            key="best_by",
            required=True,
            format_func=lambda measure: say(NAMES[measure]),
            disabled=impossible,
            help=say("The calibration file holds no gradients of the loss.")
            if impossible
            else say(
                "The most SQNR, or the least predicted loss, in nats. Loss needs one backward pass "
                "over the calibration batches."
            ),
        )
    if named == default or impossible:
        STATE.kept.pop("best_by", None)
        put_in_link("best_by", None)
    else:
        keep("best_by", named)
    if impossible or named == "sqnr_db" or not choice.complete:
        return "sqnr_db"
    waiting.calibrated(frame, source, gradients=True)
    return "predicted_nats"
