"""Explore: one layer, one scale, live.

Is there a better α, what does the scale do to a value on its way to a code, what would every other
scale have done, and what did the kernel that just ran write?
"""

from __future__ import annotations

import streamlit as st

from dashboard import figures
from dashboard.analysis.report import format_alpha
from dashboard.messages import Message
from dashboard.pages import beside, controls, instrument, live, pinning, studies, welcome
from dashboard.pages.best_by import best_by
from dashboard.pages.controls import Choice
from dashboard.pages.exporting import export_layer, show_figure
from dashboard.pages.heading import ALPHA_WIDTH
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE
from dashboard.pages.studies import SliceStudy
from dashboard.pages.waiting import Frame
from dashboard.rules.landscape import Measure
from dashboard.text import captions
from dashboard.text.language import Language


@page(
    "explore",
    title=Message("Explore"),
    question=Message("What does one INT8 scale do to this layer, and is there a better one?"),
    group="",
    drawings=("strip", "landscape", "transfer", "table", "sweep"),
)
def explore(frame: Frame, say: Language) -> None:
    """One slice of one layer under one rule: what the histograms say, then the live kernel."""
    with frame.lead:
        welcome.draw(say)
    choice = controls.choose(frame, preview=True)
    with frame.bar:
        companion = controls.companion(choice.rule, say)
        by = best_by(frame, choice, say, frame.bar)
    chosen = (choice.layer, choice.slice_index, choice.rule)
    study = studies.study_slice(choice.shown, *chosen, companion, by)
    # Where it can run at once, the kernel speaks before the figures are drawn anew.
    at_once = choice.complete and live.is_ready(choice)
    kernel = live.run(choice, study, frame) if at_once else None

    # First what this layer says, then what all layers do.
    with frame.own:
        strip_slot = st.container(key="strip_slot")
    with st.container(horizontal=True, gap="medium"):
        side = st.container(width=ALPHA_WIDTH, key="side")
        with st.container(key="hero"):
            _show_verdict(choice, study, say)
            instrument.transfer(choice, study, say)
            way_slot = st.container()
            kernel_slot = st.container()
    with side:
        beside.draw(choice, study, say)
    with strip_slot:
        _show_strip(choice, study.landscape.by, say)
    pinning.show(choice, instrument.log_counts(), say)
    st.divider()
    _show_table(choice, study, say)
    with way_slot:
        instrument.arrived(choice, study, say)
    if not choice.complete:
        controls.count_the_rest(choice, frame)
    if not at_once:
        kernel = live.run(choice, study, frame)
    with kernel_slot:
        live.show(choice, study, kernel, say)
    instrument.confirm()
    instrument.follow(choice, study, say)
    export_layer(choice, study, kernel, say)


def _show_strip(choice: Choice, by: Measure, say: Language) -> None:
    """Every layer's output in small; a click chooses a layer."""

    def pick_layer() -> None:
        STATE.layer = STATE.strip.picked

    layers, index = choice.outline.layers, choice.slice_index
    reports = [studies.slice_report(choice.shown, layer, index, choice.rule) for layer in layers]
    symmetric = choice.rule.symmetric
    bests = [studies.best(choice.shown, layer, index, symmetric, by) for layer in layers]
    strip = figures.layer_strip(layers, reports, bests, choice.layer, say, by)
    show_figure(strip, "strip", choice, say, pick_layer)


def _show_verdict(choice: Choice, study: SliceStudy, say: Language) -> None:
    """Whether there is a better percentile, a press to use it, and what the scale costs."""
    best = study.landscape.best_rule
    with st.container(horizontal=True, vertical_alignment="center", key="verdict"):
        st.markdown(f"## {captions.verdict(study.report, study.landscape, say)}")
        st.button(
            say("Use {alpha}, the best α", alpha=format_alpha(best.alpha)),
            key="use_best",
            disabled=choice.rule == best,
            on_click=controls.use,
            args=(best,),
        )
    with st.container(key="proof"):
        st.markdown(captions.proof(study.report, study.landscape, say))


def _show_table(choice: Choice, study: SliceStudy, say: Language) -> None:
    """Every scale's use of the 256 codes; a click on a row chooses its rule."""

    def pick_row() -> None:
        controls.use(study.rows[STATE.table.picked].rule)

    st.markdown("### " + say("How each scale uses INT8"))
    lead = Message(
        "Number of outputs in each of the 256 codes (log height), and the squared error; a bar "
        "that is cut says how many times the least it is. Click a row to choose its rule."
    )
    st.markdown(say(lead))
    by = study.landscape.by
    table = figures.scale_table(study.rows, study.has_beside, say, by)
    show_figure(table, "table", choice, say, pick_row)
    st.caption(captions.table_caption(study.rows, say))
    if choice.complete:
        recommended = studies.recommendation(choice.source, choice.rule.symmetric, by)
        st.markdown(captions.recommendation(recommended, say))
