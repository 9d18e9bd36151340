"""Beside Explore's figure, under the slider: every α, every scale, and the numbers of this one."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard import figures
from dashboard.pages import controls
from dashboard.pages.controls import Choice
from dashboard.pages.exporting import show_figure
from dashboard.pages.remembering import STATE
from dashboard.pages.studies import SliceStudy
from dashboard.text import captions
from dashboard.text.language import Language


def draw(choice: Choice, study: SliceStudy, say: Language) -> None:
    """What every other α and every other scale would have done, beside this one's measures."""
    _show_landscape(choice, study, say)
    _show_utilization(choice, study, say)
    _show_metrics(study, say)


def _show_landscape(choice: Choice, study: SliceStudy, say: Language) -> None:
    """SQNR or predicted cost at every α, under the slider; a click chooses an α."""
    best = study.landscape.best_rule

    def pick_alpha() -> None:
        controls.use(replace(best, alpha=choice.alphas[STATE.landscape.picked]))

    chosen = study.report.chosen if choice.rule.observer == "percentile" else None
    drawing = figures.landscape_under_slider(study.landscape, choice.alphas, chosen, say)
    show_figure(drawing, "landscape", choice, say, pick_alpha)
    by_loss = study.landscape.by == "predicted_nats"
    describe = captions.cost_caption if by_loss else captions.landscape_caption
    st.caption(describe(study.landscape, say))


def _show_utilization(choice: Choice, study: SliceStudy, say: Language) -> None:
    """What each scale_out would use and lose, from scale_wx up to the whole conv output."""
    st.markdown("### " + say("Utilization against scale_wx"))
    curves = figures.utilization_sweep(study.sweep, study.held_to, say)
    show_figure(curves, "sweep", choice, say)
    with st.container(key="sweep_note"):
        st.caption(captions.sweep_caption(study.report, say))


def _show_metrics(study: SliceStudy, say: Language) -> None:
    """The numbers of the scale, each held to its companion's."""
    with st.container(horizontal=True, key="metrics"):
        for metric in captions.metrics(study.report, study.beside, say):
            with st.container(key=f"metric_{metric.name}", width=176):
                own = (metric.name, metric.value, metric.beside)
                st.metric(*own, "off", help=metric.help, delta_arrow="off")
