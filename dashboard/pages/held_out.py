"""Held-out: calibrate on one text, judge on another."""

from dataclasses import replace

import streamlit as st

from dashboard import figures
from dashboard.analysis.report import evaluate_held_out_layers
from dashboard.export import tables
from dashboard.messages import Message
from dashboard.pages import controls, studies, waiting
from dashboard.pages.exporting import export_rows, show_figure
from dashboard.pages.grid import show_layers
from dashboard.pages.registry import page
from dashboard.pages.remembering import keep, kept
from dashboard.pages.source_boxes import CHOOSE, upload_form
from dashboard.pages.sources import text_choices
from dashboard.pages.waiting import Frame
from dashboard.rules.observers import ALPHA_RULES, SYMMETRIC_RULES
from dashboard.text import captions
from dashboard.text.language import Language

JUDGED = "out-of-domain.txt"


@page(
    "held-out",
    title=Message("Held-out"),
    question=Message("Does a scale that was calibrated on one text hold on another?"),
    group="scale",
    drawings=("held_out",),
)
def held_out(frame: Frame, say: Language) -> None:
    """Scales of one text, and what they make of another, layer by layer."""
    choice = controls.choose(frame, SYMMETRIC_RULES)
    if choice.source.from_file:
        frame.progress.info(say(captions.NO_SECOND_TEXT), icon=":material/info:")
        st.stop()
    with frame.own:
        other = replace(choice.source, text=_second_text(say))
    elsewhere = waiting.calibrated(frame, other)
    index, layers = choice.slice_index, choice.outline.layers
    judged = evaluate_held_out_layers(choice.calibration, elsewhere, index, choice.rule)
    names = (choice.calibration.origin.text, elsewhere.origin.text)
    pairs = [
        (studies.landscape(choice.source, layer, index), studies.landscape(other, layer, index))
        for layer in layers
    ]
    pair = pairs[layers.index(choice.layer)]
    here = judged[layers.index(choice.layer)]

    st.markdown(f"## {captions.held_out_headline(here, names, pair[1], say)}")
    st.markdown(captions.held_out_verdict(here, names, pair, say))
    st.markdown("### " + say("SQNR over α, layer {layer}, on both texts", layer=choice.layer))
    alpha = choice.rule.alpha if choice.rule.observer in ALPHA_RULES else None
    drawing = figures.held_out_landscapes(*pair, names, say, alpha=alpha)
    show_figure(drawing, "held_out", choice, say)
    st.caption(captions.held_out_caption(pair, names, say))
    st.divider()
    st.markdown("### " + say("Every layer"))
    st.markdown(say("Scales calibrated on {text}; each column says on which text.", text=names[0]))
    rows = captions.held_out_rows(judged, pairs, names, say)
    show_layers(rows, layers, lambda _: choice.rule, "judged_layers", say)
    export_rows("held-out", choice, choice.rule, tables.held_out_rows(judged, names), say)


def _second_text(say: Language) -> str:
    kept("judged")
    judged = st.selectbox(
        say("Judge on"),
        text_choices(),
        index=text_choices().index(JUDGED),
        format_func=upload_form(say),
        key="judged",
        width=210,
        accept_new_options=True,
        placeholder=say(CHOOSE),
        help=say("A text that comes with the project, or type the path of a UTF-8 file."),
    )
    return keep("judged", judged, JUDGED) or JUDGED
