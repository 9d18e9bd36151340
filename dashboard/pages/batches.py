"""Batches: what a moving average keeps of them, and what it owes to their order."""

import streamlit as st

from dashboard import figures
from dashboard.analysis.averages import ORDERS, study_average
from dashboard.export import tables
from dashboard.messages import Message
from dashboard.pages import controls
from dashboard.pages.exporting import export_rows, show_figure
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE, keep, kept, one_of, whole
from dashboard.pages.waiting import Frame
from dashboard.rules.observers import DEFAULT_SIGMA, SYMMETRIC_RULES, ScaleRule
from dashboard.text import captions
from dashboard.text.language import Language

SIGMAS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@page(
    "batches",
    title=Message("Batches"),
    question=Message("How much does a moving average owe to its first batch, and to their order?"),
    group="scale",
    drawings=("average", "orders"),
)
def batches(frame: Frame, say: Language) -> None:
    """One moving average, batch by batch, and where other orders would have ended."""
    choice = controls.choose(
        frame, SYMMETRIC_RULES, {"rule": say("This page is about percentile-ema alone.")}
    )
    with frame.own:
        sigma, taken, order = _average_boxes(len(choice.counted.batches), say)
    rule = ScaleRule("percentile-ema", choice.rule.alpha, sigma, order)
    study = study_average(choice.counted.batches[:taken], rule.alpha, sigma, order)
    average, pooled = study.average, study.pooled

    st.markdown(f"## {captions.average_headline(average, pooled, say)}")
    st.markdown(captions.average_verdict(average, pooled, say))
    chart = figures.moving_average_chart(average, pooled, say)
    show_figure(chart, "average", choice, say, rule=rule)
    st.caption(captions.average_caption(average, sigma, say))
    st.divider()
    st.markdown("### " + say("The same batches in {count} orders", count=ORDERS))
    st.markdown(say("How often each final value comes out."))
    orders = figures.orders_chart(study.finals, average.final, pooled, say)
    show_figure(orders, "orders", choice, say, rule=rule)
    st.caption(captions.orders_caption(study.finals, pooled, say))
    export_rows("moving-average", choice, rule, tables.average_rows(average), say)


def _average_boxes(count: int, say: Language) -> tuple[float, int, int | None]:
    """The weight σ, how many of the batches, and the seed of their order; None as they were read.

    All three are in the link.
    """
    kept("sigma", one_of(SIGMAS))
    sigma = st.select_slider(
        say("Weight σ of a new batch"),
        SIGMAS,
        DEFAULT_SIGMA,
        key="sigma",
        width=230,
        help=say("m ← m + σ·(q − m), m seeded by the first batch. Quamba: 0.01."),
    )
    keep("sigma", sigma, DEFAULT_SIGMA)
    if (kept("taken", whole(1, count)) or 1) > count:
        STATE.taken = count
    taken = st.slider(
        say("Batches taken"), 1, max(2, count), count, key="taken", width=230, disabled=count == 1
    )
    keep("taken", taken, count)
    seed = kept("order", whole(0, 10**6)) or 0

    def shuffle() -> None:
        """Another order."""
        STATE.order = STATE.kept["order"] = seed + 1

    def as_read() -> None:
        STATE.order = STATE.kept["order"] = 0

    st.button(say("Shuffle the order"), key="shuffle", on_click=shuffle)
    st.button(say("As read"), key="as_read", on_click=as_read, disabled=seed == 0)
    keep("order", seed, 0)
    return sigma, min(taken, count), seed or None
