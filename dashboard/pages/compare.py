"""Compare: what the bar says, held against whatever else has scales, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import streamlit as st

from dashboard import figures
from dashboard.analysis.compare import (
    QUANTITIES,
    Column,
    compared_rows,
    layer_numbers,
    published_columns,
    stored_column,
)
from dashboard.analysis.report import format_alpha, rule_label
from dashboard.calibration import DEFAULT_TEXT
from dashboard.checkpoints import quantized_sample_names, sample_names
from dashboard.export import documents, tables
from dashboard.messages import Message
from dashboard.pages import controls, loading, outlining, studies, uploads
from dashboard.pages.controls import Choice
from dashboard.pages.exporting import export_bar, origin_of, show_figure
from dashboard.pages.grid import show_layers
from dashboard.pages.refusing import refusals
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE, keep, kept, one_of, whole
from dashboard.pages.sources import Source, text_choices
from dashboard.pages.waiting import Frame
from dashboard.rules.observers import (
    ALPHA_RULES,
    DEFAULT_RULE,
    PUBLISHED_ALPHAS,
    REGISTERED,
    SYMMETRIC_RULES,
    ScaleRule,
)
from dashboard.text import captions
from dashboard.text.language import Language

MOST = 6
LETTERS = "ABCDEF"
SAME, BEST = "same", "best"  # as A has it; each layer's own best α. In links, too.
ALPHAS = (BEST, *map(format_alpha, (0.9, 0.99, 0.999, *PUBLISHED_ALPHAS)))
PUBLISHED = published_columns()
# What each column shows on the first visit: B what A loses, C the published table, …
FIRST = (SAME, SAME, next(iter(PUBLISHED)), "mamba2-small-quamba2", "mamba-small", "mamba2-small")
QUANTITY = "x_out_scale"
COLUMN = Message(
    "Calibrating column {column}, {checkpoint}: batch {batch} of {batches}, layer {layer}"
)


@dataclass(frozen=True)
class ColumnChoice:
    """What one column after A stands for; words as they are in a link."""

    name: str  # a checkpoint, a published table, or SAME
    observer: str
    alpha: str
    text: str

    def source(self, choice: Choice) -> Source:
        """Its calibration: as many batches of as many tokens as A's."""
        name = choice.source.checkpoint if self.name == SAME else self.name
        text = choice.source.text if self.text == SAME else self.text
        return replace(choice.source, checkpoint=name, text=text or DEFAULT_TEXT)


@page(
    "compare",
    title=Message("Compare"),
    question=Message("How do two checkpoints, rules or percentiles differ, layer by layer?"),
    group="model",
    drawings=("lines",),
)
def compare(frame: Frame, say: Language) -> None:
    """Columns of scales: one quantity of them in lines and in a table, and two layers in full."""
    choice = controls.choose(
        frame,
        SYMMETRIC_RULES,
        {"slice": say("Columns are compared by their x slice, which published tables have.")},
        stored=True,
    )
    with frame.own:
        others = _column_boxes(say)
    columns = [_first_column(choice, say)]
    columns += [_column(i, other, choice, frame) for i, other in enumerate(others, start=1)]
    frame.progress.empty()

    headline_slot = st.container()
    quantity = _quantity_box(say)
    headline = captions.compare_headline(columns, quantity, say)
    verdict = captions.compare_verdict(columns, say)
    with headline_slot:
        st.markdown(f"## {headline}")
        st.markdown(verdict)
    lines = figures.compared_lines(columns, quantity, say)
    show_figure(lines, "lines", choice, say)
    rows = captions.compare_rows(columns, quantity, say)
    show_layers(rows, layer_numbers(columns), lambda _: choice.rule, "compared", say)
    st.caption(
        say(
            "Of the x slice. Of grouped scales x_out_scale and the ratios are of the mean, as the "
            "published ones are; their least and greatest are quantities too. Every column against "
            "A."
        )
    )
    _show_side_by_side(choice, others[0], columns, say)

    flat = compared_rows(columns)
    origin = origin_of(choice, None if choice.outline.stored else choice.rule)
    export_bar(
        "compared",
        origin,
        {
            "csv": lambda: tables.rows_as_csv([row | {"date": origin.date} for row in flat]),
            "json": lambda: tables.as_json(
                {
                    "columns": [column.label for column in columns],
                    "batches": choice.source.batches,
                    "seq_len": choice.source.seq_len,
                    "date": origin.date,
                    "rows": flat,
                }
            ),
            "html": lambda: documents.report_html(
                say("Scales compared"),
                origin.sentence(say),
                [
                    documents.Section(headline, [verdict]),
                    documents.Section(quantity, figure=lines, rows=rows),
                ],
                say,
            ),
        },
        say,
    )


def _column_boxes(say: Language) -> list[ColumnChoice]:
    """How many columns, and what each after A stands for."""
    kept("columns", whole(2, MOST))
    count = st.number_input(say("Columns"), 2, MOST, 2, key="columns", width=100)
    keep("columns", count, 2)
    with st.container(key="column_boxes"):
        return [_boxes_of(i, say) for i in range(1, int(count))]


def _boxes_of(i: int, say: Language) -> ColumnChoice:
    """One column's source, rule, α and text; only the first row of boxes has labels over it."""
    sources = [SAME, *sample_names(), *quantized_sample_names(), *PUBLISHED]
    texts = [SAME, *text_choices()]
    uploaded = controls.upload_form(say)
    words = {SAME: say("same as A"), BEST: say("each layer's best")}
    keys = [f"{name}_{LETTERS[i].lower()}" for name in ("source", "rule", "alpha", "text")]
    for key in keys:
        kept(key, one_of(SYMMETRIC_RULES) if key.startswith("rule") else str)
    shown: Literal["visible", "collapsed"] = "visible" if i == 1 else "collapsed"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{LETTERS[i]}**", width="content")
        name = st.selectbox(
            say("Source of {column}", column=LETTERS[i]),
            sources,
            sources.index(FIRST[i]),
            format_func=lambda option: words.get(option, option),
            key=keys[0],
            width=200,
            accept_new_options=True,
            placeholder=say(controls.CHOOSE),
            label_visibility=shown,
            help=say(
                "A sample, a published table, or type a directory, a Hub id or a calibration file."
            ),
        )
        given = name in PUBLISHED or name in quantized_sample_names()
        observer = st.selectbox(
            say("Scale rule of {column}", column=LETTERS[i]),
            list(SYMMETRIC_RULES),
            key=keys[1],
            width=140,
            disabled=given,
            label_visibility=shown,
        )
        alpha = st.selectbox(
            say("α of {column}", column=LETTERS[i]),
            ALPHAS,
            format_func=lambda option: words.get(option, option),
            key=keys[2],
            width=150,
            accept_new_options=True,
            placeholder=say(controls.CHOOSE),
            disabled=given or observer not in ALPHA_RULES,
            label_visibility=shown,
        )
        text = st.selectbox(
            say("Text of {column}", column=LETTERS[i]),
            texts,
            format_func=lambda option: words.get(option) or uploaded(option),
            key=keys[3],
            width=150,
            accept_new_options=True,
            placeholder=say(controls.CHOOSE),
            disabled=given,
            label_visibility=shown,
        )
    defaults = (FIRST[i], DEFAULT_RULE, BEST, SAME)
    for key, value, default in zip(keys, (name, observer, alpha, text), defaults, strict=True):
        keep(key, value, default)
    return ColumnChoice(name or FIRST[i], observer, alpha or BEST, text or SAME)


def _first_column(choice: Choice, say: Language) -> Column:
    name = choice.source.checkpoint
    if choice.outline.stored:
        column = stored_column("", loading.checkpoint(name))
        return replace(column, label=say("{checkpoint}, stored", checkpoint=_short(name)))
    column = studies.column(choice.source, choice.rule.observer, choice.rule.alpha)
    return replace(column, label=_label(choice.source, say(rule_label(choice.rule)), say))


def _column(i: int, wanted: ColumnChoice, choice: Choice, frame: Frame) -> Column:
    """What a row of boxes stands for; what cannot be used is refused, and ends the run."""
    say = frame.say
    if wanted.name in PUBLISHED:
        return PUBLISHED[wanted.name]
    source = wanted.source(choice)
    subject = {"column": LETTERS[i], "checkpoint": source.checkpoint}
    frame = replace(frame, calibrating=COLUMN, subject=subject)
    with refusals(frame):
        outline = outlining.outline(source)
        if outline.stored:
            column = stored_column("", loading.checkpoint(source.checkpoint))
            label = say("{checkpoint}, stored", checkpoint=_short(source.checkpoint))
            return replace(column, label=label)
        alpha = _alpha(wanted)
        column = studies.column(outline.source, wanted.observer, alpha, frame.show)
    if alpha is None and wanted.observer in ALPHA_RULES:
        rule = say("best α by {rule}", rule=wanted.observer)
    else:
        rule = say(rule_label(ScaleRule(wanted.observer, alpha or choice.rule.alpha)))
    return replace(column, label=_label(outline.source, rule, say))


def _alpha(wanted: ColumnChoice) -> float | None:
    """A column's α; None for each layer's best, and for a rule that has none."""
    if wanted.alpha == BEST or not REGISTERED[wanted.observer].uses_alpha:
        return None
    return controls.read_alpha(wanted.alpha)


def _label(source: Source, rule: str, say: Language) -> str:
    name = _short(source.checkpoint)
    if source.from_file or source.text == DEFAULT_TEXT:
        return say("{checkpoint}, {rule}", checkpoint=name, rule=rule)
    return say("{checkpoint}, {rule}, {text}", checkpoint=name, rule=rule, text=_short(source.text))


def _short(name: str) -> str:
    return uploads.title(name).rsplit("/", 1)[-1]


def _quantity_box(say: Language) -> str:
    kept("quantity", one_of(QUANTITIES))
    quantity = st.segmented_control(
        say("Quantity"),
        QUANTITIES,
        default=QUANTITY,
        key="quantity",
        required=True,
        label_visibility="collapsed",
    )
    return keep("quantity", quantity, QUANTITY)


def _show_side_by_side(
    choice: Choice, other: ColumnChoice, columns: list[Column], say: Language
) -> None:
    """A layer of A and one of B, each from SiLU's input to its code."""
    if choice.outline.stored or other.name in PUBLISHED:
        return
    outline = outlining.outline(other.source(choice))
    if outline.stored:
        return
    st.divider()
    kept("layer_b", int)
    if STATE.get("layer_b", choice.layer) not in outline.layers:
        STATE.layer_b = outline.layers[0]
    default = choice.layer if choice.layer in outline.layers else outline.layers[0]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.markdown("### " + say("A and B, side by side"), width="content")
        layer = st.selectbox(
            say("Layer of B"),
            outline.layers,
            outline.layers.index(default),
            key="layer_b",
            width=110,
        )
    keep("layer_b", layer, default)
    sides = st.container(horizontal=True, gap="medium")
    with sides.container(key="side_a"):
        st.markdown(
            say("**A**: {column}, layer {layer}", column=columns[0].label, layer=choice.layer)
        )
        a = studies.slice_report(choice.source, choice.layer, 0, choice.rule)
        show_figure(figures.transfer(a, [], True, say), "transfer_a", choice, say)
    with sides.container(key="side_b"):
        st.markdown(say("**B**: {column}, layer {layer}", column=columns[1].label, layer=layer))
        alpha = _alpha(other) or studies.landscape(outline.source, layer, 0).best_alpha
        b = studies.slice_report(outline.source, layer, 0, ScaleRule(other.observer, alpha))
        of_b = replace(choice, source=outline.source, shown=outline.source, layer=layer)
        drawing = figures.transfer(b, [], True, say)
        show_figure(drawing, "transfer_b", of_b, say, rule=b.chosen.rule)
