"""Layers: the whole model at a glance; a row or a cell leads to its layer in Explore."""

import streamlit as st

from dashboard import figures
from dashboard.analysis.report import baselines
from dashboard.export import documents, tables
from dashboard.export.provenance import labelled
from dashboard.messages import Message
from dashboard.pages import controls, studies
from dashboard.pages.best_by import best_by
from dashboard.pages.exporting import export_bar, origin_of, quamba_file, show_figure
from dashboard.pages.grid import filtered, show_table, table_row
from dashboard.pages.registry import lead_to_layer, page
from dashboard.pages.remembering import STATE
from dashboard.pages.stored import show_stored
from dashboard.pages.waiting import Frame
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions
from dashboard.text.language import Language


@page(
    "layers",
    title=Message("Layers"),
    question=Message("Which layers lose most under a rule, and what would another give them?"),
    group="model",
    drawings=("rules",),
)
def layers(frame: Frame, say: Language) -> None:
    """Every layer under one rule in a table, and under every rule in a heatmap."""
    choice = controls.choose(
        frame, without={"layer": say("This page shows every layer.")}, stored=True
    )
    if choice.outline.stored:
        show_stored(choice, frame, say)
        return
    by = best_by(frame, choice, say)
    by_loss = by == "predicted_nats"
    source, rule, index = choice.source, choice.rule, choice.slice_index
    numbers = choice.outline.layers
    reports = [studies.layer_report(source, layer, rule, by) for layer in numbers]
    recommended = studies.recommendation(source, rule.symmetric, by).alpha
    one_alpha = ScaleRule("percentile", recommended, symmetric=rule.symmetric)
    rules = (rule, one_alpha, *baselines(rule))
    scales = [studies.scale_reports(source, layer, index, rules) for layer in numbers]

    if by_loss:
        headline = captions.layers_headline_by_loss(reports, index, say)
        verdict = captions.layers_verdict_by_loss(reports, index, say)
    else:
        headline = captions.layers_headline(reports, index, say)
        verdict = captions.layers_verdict(reports, index, say)
    st.markdown(f"## {headline}")
    st.markdown(verdict)
    rows = filtered([table_row(report, index) for report in reports], say)
    if rows:
        show_table(rows, rule, "layers_table", say)
    else:
        st.info(say(captions.NO_ROW), icon=":material/filter_alt_off:")

    def pick_cell() -> None:
        """A click on the heatmap opens a layer in Explore under a rule."""
        row, column = divmod(STATE.rules.picked, len(scales[0]))
        lead_to_layer(numbers[row], scales[row][column].rule)

    st.divider()
    st.markdown("### " + say("Every layer under every rule"))
    st.markdown(
        say(
            "Predicted nats. The stronger a cell's colour, the more times the best of its row it "
            "costs, which has a green rim. A click on a cell opens its layer in Explore, under its "
            "rule."
        )
        if by_loss
        else say(
            "SQNR in dB. The stronger a cell's colour, the more it loses against the layer's best "
            "α; a green rim is the best of a row. A click on a cell opens its layer in Explore, "
            "under its rule."
        )
    )
    bests = [report.bests[index] for report in reports]
    if by_loss:
        heatmap = figures.cost_heatmap(numbers, scales, say)
        caption = captions.rules_caption_by_loss(numbers, scales, say)
    else:
        heatmap = figures.rule_heatmap(numbers, scales, bests, say)
        caption = captions.rules_caption(numbers, scales, say)
    show_figure(heatmap, "rules", choice, say, pick_cell)
    st.caption(caption)

    origin = origin_of(choice, rule)
    document = documents.document(choice.calibration.origin, rule, reports) | {"date": origin.date}
    quamba, note = quamba_file(reports, choice, say)
    by_slice = list(tables.slice_rows(document))
    export_bar(
        "layers",
        origin,
        {
            "csv": lambda: tables.rows_as_csv(labelled(by_slice, origin)),
            "json": lambda: tables.as_json(document),
            **quamba,
            "html": lambda: documents.report_html(
                say("{checkpoint}: scales of every layer", checkpoint=origin.checkpoint),
                origin.sentence(say),
                [
                    documents.Section(headline, [verdict], rows=by_slice),
                    documents.Section(say("Every layer under every rule"), [caption], heatmap),
                ],
                say,
            ),
        },
        say,
        note,
    )
