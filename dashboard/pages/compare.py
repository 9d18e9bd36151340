"""Compare: what the bar says, held against whatever else has scales, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from dashboard import figures
from dashboard.analysis.compare import (
    QUANTITIES,
    Column,
    ColumnCost,
    are_comparable,
    column_costs,
    compared_rows,
    layer_numbers,
    stored_column,
)
from dashboard.analysis.measurements import Measurements, Setting
from dashboard.analysis.scale_choices import (
    BestAlpha,
    FormatScales,
    ScaleChoice,
    choice_label,
    choose_scales,
)
from dashboard.calibration import DEFAULT_TEXT
from dashboard.export import documents, tables
from dashboard.formats import DEFAULT_FORMAT
from dashboard.formats import REGISTERED as FORMATS
from dashboard.messages import Message
from dashboard.pages import controls, costing, loading, measuring, outlining, studies, uploads
from dashboard.pages.column_boxes import BEST, LETTERS, PUBLISHED, ColumnChoice, column_boxes
from dashboard.pages.controls import Choice
from dashboard.pages.exporting import export_bar, origin_of, show_figure
from dashboard.pages.grid import show_layers
from dashboard.pages.measuring import Study
from dashboard.pages.refusing import refusals
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE, keep, kept, one_of, switched
from dashboard.pages.sources import Source
from dashboard.pages.waiting import Frame
from dashboard.refusals import Refusal
from dashboard.rules.observers import ALPHA_RULES, REGISTERED, SYMMETRIC_RULES, ScaleRule
from dashboard.text import captions
from dashboard.text.language import Language

QUANTITY = "x_out_scale"
COLUMN = Message(
    "Calibrating column {column}, {checkpoint}: batch {batch} of {batches}, layer {layer}"
)


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
        first_format, others = column_boxes(say)
    entries = [_first_column(choice, first_format, frame)]
    entries += [_column(i, other, choice, frame) for i, other in enumerate(others, start=1)]
    columns = [entry.column for entry in entries]
    frame.progress.empty()

    headline_slot = st.container()
    quantity = _quantity_box(columns, say)
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
    if any(column.number_format != columns[0].number_format for column in columns):
        st.caption(
            say(
                "x_out_scale is in units of its column's number format: of two formats it is shown "
                "and not compared."
            )
        )
    _show_side_by_side(choice, entries, say)
    studies_of_cost, costs = _show_costs(choice, entries, frame, say)

    flat = compared_rows(columns)
    origin = origin_of(choice, None if choice.outline.stored else choice.rule)
    cost_sections = (
        [documents.Section(_cost_heading(say), rows=captions.cost_rows(costs, say))]
        if costs
        else []
    )
    export_bar(
        "compared",
        origin,
        {
            "csv": lambda: tables.rows_as_csv([row | {"date": origin.date} for row in flat]),
            "json": lambda: tables.as_json(
                {
                    "columns": [column.label for column in columns],
                    "number_formats": [column.number_format for column in columns],
                    "batches": choice.source.batches,
                    "seq_len": choice.source.seq_len,
                    "date": origin.date,
                    "rows": flat,
                    "costs": [cost.as_dict() for cost in costs],
                }
            ),
            "html": lambda: documents.report_html(
                say("Scales compared"),
                origin.sentence(say),
                [
                    documents.Section(headline, [verdict]),
                    documents.Section(quantity, figure=lines, rows=rows),
                    *cost_sections,
                ],
                say,
            ),
        },
        say,
    )
    measuring.go_on(frame, studies_of_cost)


@dataclass(frozen=True, eq=False)
class Entry:
    """A column on the page, and what it was made of; None where that is no calibration."""

    column: Column
    source: Source | None = None
    scales: ScaleChoice | None = None


def _first_column(choice: Choice, number_format: str, frame: Frame) -> Entry:
    say, name = frame.say, choice.source.checkpoint
    with refusals(frame):
        if choice.outline.stored:
            _check_int8(number_format, name)
            label = say("{checkpoint}, stored", checkpoint=_short(name))
            return Entry(replace(stored_column("", loading.checkpoint(name)), label=label))
        scales = choose_scales(number_format, choice.rule)
        column = _calibrated(choice.source, scales, frame)
    label = _label(choice.source, say(choice_label(scales)), say)
    return Entry(replace(column, label=label), choice.source, scales)


def _column(i: int, wanted: ColumnChoice, choice: Choice, frame: Frame) -> Entry:
    """What a row of boxes stands for; what cannot be used is refused, and ends the run."""
    say = frame.say
    if wanted.name in PUBLISHED:
        with refusals(frame):
            _check_int8(wanted.number_format, PUBLISHED[wanted.name].label)
        return Entry(PUBLISHED[wanted.name])
    source = wanted.source(choice)
    subject = {"column": LETTERS[i], "checkpoint": source.checkpoint}
    frame = replace(frame, calibrating=COLUMN, subject=subject)
    with refusals(frame):
        outline = outlining.outline(source)
        if outline.stored:
            _check_int8(wanted.number_format, source.checkpoint)
            column = stored_column("", loading.checkpoint(source.checkpoint))
            label = say("{checkpoint}, stored", checkpoint=_short(source.checkpoint))
            return Entry(replace(column, label=label))
        scales = choose_scales(wanted.number_format, _rule(wanted, choice))
        column = _calibrated(outline.source, scales, frame)
    label = _label(outline.source, say(choice_label(scales)), say)
    return Entry(replace(column, label=label), outline.source, scales)


def _calibrated(source: Source, scales: ScaleChoice, frame: Frame) -> Column:
    if isinstance(scales, FormatScales) and FORMATS[scales.number_format].is_fitted:
        with st.spinner(frame.say("Finding the best values there are …"), show_time=False):
            return studies.column(source, scales, frame.show)
    return studies.column(source, scales, frame.show)


def _check_int8(number_format: str, name: str) -> None:
    """Raises Refusal for scales that were stored or printed, and another format."""
    if number_format != DEFAULT_FORMAT:
        raise Refusal(
            "{name} has stored INT8 scales; the format {value} needs a checkpoint with float "
            "weights",
            name=name,
            value=number_format,
        )


def _rule(wanted: ColumnChoice, choice: Choice) -> ScaleRule | BestAlpha:
    """A column's rule; each layer's best α where that is asked of one that has an α."""
    alpha = _alpha(wanted)
    if alpha is None and wanted.observer in ALPHA_RULES:
        return BestAlpha(wanted.observer)
    return ScaleRule(wanted.observer, alpha or choice.rule.alpha)


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


def _quantity_box(columns: Sequence[Column], say: Language) -> str:
    """Of the quantities; until one is chosen, of different formats what they can be compared by."""
    alike = all(are_comparable(columns[0], column, QUANTITY) for column in columns)
    default = QUANTITY if alike else "sqnr_db"
    kept("quantity", one_of(QUANTITIES))
    quantity = st.segmented_control(
        say("Quantity"),
        QUANTITIES,
        default=default,
        key="quantity",
        required=True,
        label_visibility="collapsed",
    )
    return keep("quantity", quantity, default)


def _show_side_by_side(choice: Choice, entries: Sequence[Entry], say: Language) -> None:
    """A layer of A and one of B, each from SiLU's input to its code."""
    first, second = entries[:2]
    if first.source is None or second.source is None:
        return
    outline = outlining.outline(second.source)
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
            say("**A**: {column}, layer {layer}", column=first.column.label, layer=choice.layer)
        )
        _show_side("a", first, choice, say)
    with sides.container(key="side_b"):
        st.markdown(say("**B**: {column}, layer {layer}", column=second.column.label, layer=layer))
        of_b = replace(choice, source=outline.source, shown=outline.source, layer=layer)
        _show_side("b", second, of_b, say)


def _show_side(side: str, entry: Entry, choice: Choice, say: Language) -> None:
    """INT8 from SiLU's input to its code; of another format where its codes lie, beside INT8's."""
    assert entry.source is not None and entry.scales is not None
    if isinstance(entry.scales, FormatScales):
        report = studies.format_report(entry.source, choice.layer, 0, entry.scales)
        int8 = studies.int8_report(entry.source, choice.layer, 0)
        output = studies.slice_output(entry.source, choice.layer, 0)
        show_figure(figures.format_ruler(output, report, int8, say), f"ruler_{side}", choice, say)
        st.caption(captions.ruler_caption(report, say))
        return
    rule = studies.column_rule(entry.source, choice.layer, entry.scales)
    own = studies.slice_report(entry.source, choice.layer, 0, rule)
    drawing = figures.transfer(own, [], True, say)
    show_figure(drawing, f"transfer_{side}", choice, say, rule=own.chosen.rule)


def _cost_heading(say: Language) -> str:
    return say("What the columns cost the model")


def _show_costs(
    choice: Choice, entries: Sequence[Entry], frame: Frame, say: Language
) -> tuple[list[Study], list[ColumnCost]]:
    """The columns that are scales of A's model, all its layers and slices quantized, once asked."""
    st.divider()
    runs = not (choice.outline.stored or choice.source.from_file)
    kept("costs", switched)
    st.markdown("### " + _cost_heading(say))
    wanted = st.toggle(
        say("Run the model with each column's scales"),
        key="costs",
        disabled=not runs,
        help=say(
            "On {windows} windows after the calibrated batches, in nats of KL from the float "
            "model. Columns of another model are not measured.",
            windows=costing.WINDOWS,
        )
        if runs
        else say("A has no float model to run: it is quantized already, or a calibration file."),
    )
    keep("costs", wanted, False)
    if not wanted or not runs:
        return [], []
    held_out = costing.HeldOutText(choice.source, "", costing.WINDOWS)
    with refusals(frame):
        run = costing.float_run(held_out, lambda _: None)
    asked: list[Measurements | None] = []
    settings: list[Setting | None] = []
    with st.spinner(say("Finding the best values there are …"), show_time=False):
        for entry in entries:
            own, setting = None, None
            if entry.scales is not None and _is_of_model(entry.source, choice):
                own = costing.measurements(held_out, run, "output", entry.source)
                setting = Setting(entry.scales, choice.outline.layers)
            asked.append(own)
            settings.append(setting)
    costs = column_costs([entry.column for entry in entries], asked, settings)
    shown = [
        measuring.study_of(f"compare_{letter.lower()}", held_out, own, [setting])
        for letter, own, setting in zip(LETTERS, asked, settings, strict=False)
        if own is not None and setting is not None
    ]
    if any(study.missing and not measuring.is_running(study) for study in shown):
        measuring.buttons(shown, say)
    st.dataframe(captions.cost_rows(costs, say), hide_index=True, width="stretch")
    st.caption(captions.costs_caption(costs, say))
    return shown, costs


def _is_of_model(source: Source | None, choice: Choice) -> bool:
    """Whether a column's scales are of A's model."""
    return source is not None and source.checkpoint == choice.source.checkpoint
