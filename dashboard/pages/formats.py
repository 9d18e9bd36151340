"""Formats: where to put the codes, with INT8 as one answer of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import figures
from dashboard.analysis.format_runs import NO_INPUT, run_refusal
from dashboard.analysis.formats import (
    OPTIMAL,
    FormatPoints,
    SliceFormats,
    format_points,
    format_rows,
)
from dashboard.formats import REGISTERED, FormatReport
from dashboard.messages import Message
from dashboard.pages import controls, live, studies
from dashboard.pages.best_by import best_by
from dashboard.pages.controls import Choice
from dashboard.pages.exporting import export_rows, show_figure
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE, keep, kept, one_of, switched, whole
from dashboard.pages.waiting import Frame
from dashboard.rules.landscape import Measure
from dashboard.rules.observers import SYMMETRIC_RULES
from dashboard.text import captions
from dashboard.text.language import Language

BITS = 8  # of the first visit
FEWEST_BITS, MOST_BITS = 4, 9
BESIDE = "int8"


@page(
    "formats",
    title=Message("Formats"),
    question=Message("Where should the codes of so many bits lie, and what does INT8 give away?"),
    group="scale",
    drawings=("formats", "ruler", "format_layers"),
)
def formats(frame: Frame, say: Language) -> None:
    """Quality against bits; two formats on this layer; every layer under every format."""
    own_scale = say("Each format stands here with its own best scale.")
    choice = controls.choose(
        frame,
        SYMMETRIC_RULES,
        {"rule": own_scale, "alpha": own_scale, "asymmetric": own_scale},
    )
    by = best_by(frame, choice, say)
    with frame.own:
        bits = _bits_slider(say)
        over_model = _model_toggle(say)
    layers = choice.outline.layers if over_model else (choice.layer,)
    with st.spinner(say("Finding the best values there are …"), show_time=False):
        shown = [studies.formats(choice.source, layer, choice.slice_index, by) for layer in layers]
    points = format_points(shown)
    best = points.best_within(bits)
    with frame.own:
        chosen = _format_box("number_format", say("Format"), best.name if best else BESIDE, say)
        beside = _format_box("beside_format", say("Beside it"), BESIDE, say)

    st.markdown(f"## {captions.formats_headline(points, bits, say)}")
    st.markdown(captions.formats_verdict(points, bits, say))
    _show_points(choice, points, bits, chosen, beside, say)
    st.divider()
    report, kernel_slot = _show_pair(choice, chosen, beside, by, say)
    st.divider()
    _show_layers(choice, by, bits, say)
    kernel_slot.caption(_run_live(choice, report, frame, say))


def _bits_slider(say: Language) -> int:
    kept("bits", whole(FEWEST_BITS, MOST_BITS))
    bits = st.slider(
        say("Bits"),
        FEWEST_BITS,
        MOST_BITS,
        BITS,
        key="bits",
        width=120,
        help=say("As many as tell all values of a format apart, those of both signs counted."),
    )
    return keep("bits", bits, BITS)


def _model_toggle(say: Language) -> bool:
    kept("over_model", switched)
    over = st.toggle(
        say("All layers"),
        key="over_model",
        help=say("SQNR on average over the layers, predicted loss added up."),
    )
    return keep("over_model", over, False)


def _format_box(key: str, words: str, default: str, say: Language) -> str:
    """One of the formats; without a choice the default, which moves with the budget."""
    names = list(REGISTERED)
    kept(key, one_of(names))
    chosen = st.selectbox(
        words,
        names,
        index=None,
        key=key,
        width=200,
        placeholder=captions.format_label(default, say),
        format_func=lambda name: captions.format_label(name, say),
    )
    return keep(key, chosen) or default


def _show_points(
    choice: Choice, points: FormatPoints, bits: int, chosen: str, beside: str, say: Language
) -> None:
    """Quality against bits; a click chooses a format."""

    def pick_format() -> None:
        STATE.number_format = points.points[STATE.formats.picked].name

    drawing = figures.formats_over_bits(points, bits, chosen, beside, say)
    show_figure(drawing, "formats", choice, say, pick_format)
    st.caption(captions.formats_caption(points, say))


def _show_pair(
    choice: Choice, chosen: str, beside: str, by: Measure, say: Language
) -> tuple[FormatReport, DeltaGenerator]:
    """Two formats on the layer on show: where their codes lie, and every measure.

    Gives the chosen one, and the place for what the kernel makes of it.
    """
    st.markdown("### " + say("Two formats on layer {layer}", layer=choice.layer))
    study = studies.formats(choice.source, choice.layer, choice.slice_index, by)
    pair = study.reports[chosen], study.reports[beside]
    drawing = figures.format_ruler(choice.counted.silu_output, pair[0], pair[1], say)
    show_figure(drawing, "ruler", choice, say)
    st.caption(say.sentences(*(captions.ruler_caption(report, say) for report in pair)))
    kernel_slot = st.empty()
    columns = captions.format_columns(pair, study.baseline, say)
    st.dataframe(columns, hide_index=True, width="stretch", height="content")
    return pair[0], kernel_slot


def _run_live(choice: Choice, report: FormatReport, frame: Frame, say: Language) -> str:
    """The kernel with the chosen format on the slice on show, last of all; or why it cannot run."""
    if choice.source.from_file:
        return say(NO_INPUT)
    refusal = run_refusal([report])
    if refusal is not None:
        return say(refusal)
    kernel = live.run_format(choice, report, frame)
    return captions.format_kernel(report, kernel, say) if kernel else ""


def _show_layers(choice: Choice, by: Measure, bits: int, say: Language) -> None:
    """Every layer under every format of the budget; a click chooses both."""
    st.markdown("### " + say("Every layer under every format"))
    layers = choice.outline.layers
    with st.spinner(say("Finding the best values there are …"), show_time=False):
        by_layer = {
            layer: studies.formats(choice.source, layer, choice.slice_index, by) for layer in layers
        }
    names = _within(by_layer, bits)

    def pick_cell() -> None:
        row, column = divmod(STATE.format_layers.picked, len(names))
        STATE.layer, STATE.number_format = layers[row], names[column]

    if names:
        drawing = figures.format_heatmap(by_layer, names, bits, say)
        show_figure(drawing, "format_layers", choice, say, pick_cell)
    st.caption(captions.format_layers_caption(by_layer, bits, say))
    export_rows("formats", choice, None, format_rows(by_layer), say)


def _within(by_layer: Mapping[int, SliceFormats], bits: int) -> Sequence[str]:
    """The formats that need no more bits in any layer, the bounds last."""
    names = [
        name
        for name in REGISTERED
        if all(own.reports[name].codebook.bits_needed <= bits for own in by_layer.values())
    ]
    return sorted(names, key=lambda name: REGISTERED[name].family == OPTIMAL)
