"""Layers: the whole model at a glance; a row or a cell leads to its layer in Explore."""

import streamlit as st

from dashboard import figures
from dashboard.analysis.report import baselines, distinct, format_alpha, rule_label
from dashboard.export import documents, tables
from dashboard.pages import choosing, loading
from dashboard.pages.drawing import show
from dashboard.pages.exporting import export_bar, quamba_file
from dashboard.pages.grid import filtered, show_table, table_row
from dashboard.pages.remembering import STATE
from dashboard.pages.speaking import spoken
from dashboard.pages.stored import show_stored
from dashboard.rules.observers import ALPHA_RULES, ScaleRule
from dashboard.text import captions

say = spoken()


def boxes() -> None:
    """The rule, and whether 0 may have another code than 0."""
    choosing.rule_box(asymmetric=True)
    choosing.asymmetric_toggle()


choice, frame = choosing.choose(boxes, layers=False, stored=True)
if choice.outline.stored:
    show_stored(choice, frame, say)
    st.stop()
calibration = choosing.calibrated(choice, frame)
source, layers, part = choice.source, choice.outline.layers, choice.part
symmetric = choosing.symmetric()
alpha, _ = choosing.alpha_slider(
    calibration.layers[0].slices[part].silu_output.total,
    loading.landscape(source, layers[0], part, symmetric).best_alpha,
    width=376,
    disabled=STATE.rule not in ALPHA_RULES,
)
rule = ScaleRule(STATE.rule, alpha, symmetric=symmetric)
reports = [loading.layer_report(source, layer, rule) for layer in layers]
recommended = loading.recommendation(source, symmetric).alpha
rules = [rule, ScaleRule("percentile", recommended, symmetric=symmetric), *baselines(rule)]
scales = [
    distinct(loading.scale_report(source, layer, part, each) for each in rules) for layer in layers
]
heat = figures.rule_heatmap(layers, scales, [each.bests[part] for each in reports], say)


def pick_cell() -> None:
    """A click on the heatmap chooses a rule, and a layer to go on with."""
    row, column = divmod(STATE.rules.picked, len(scales[0]))
    picked = scales[row][column].rule
    STATE.rule, STATE.asymmetric = picked.observer, not picked.symmetric
    if picked.observer in ALPHA_RULES:
        STATE.alpha = picked.alpha
    STATE.picked_layer = source, layers[row]


def link_to(layer: int) -> None:
    """The way to a layer in Explore, under the rule on show."""
    st.page_link(
        "dashboard/pages/explore.py",
        label=f"Open layer {layer} in Explore, {rule_label(rule)}",
        icon=":material/arrow_forward:",
        query_params=st.query_params.to_dict() | {"layer": str(layer)},
    )


st.markdown(f"## {captions.layers_headline(reports, part, say)}")
st.markdown(captions.layers_verdict(reports, part, say))
settings: dict[str, str | int] = {
    "checkpoint": source.checkpoint,
    "rule": rule.observer,
    "alpha": format_alpha(alpha),
}
if not symmetric:
    settings["asymmetric"] = "true"
if not source.from_file:
    settings |= {"text": source.text, "batches": source.batches, "seq_len": source.seq_len}
shown = filtered([table_row(each, part, settings) for each in reports])
if shown:
    selected = show_table(shown, key="table")
    if selected is not None:
        link_to(shown[selected]["layer"])
else:
    st.info(captions.NO_ROW, icon=":material/filter_alt_off:")

st.divider()
st.markdown(
    "### Every layer under every rule\nSQNR in dB. The stronger a cell's colour, the more it loses "
    f"against the layer's best{'' if symmetric else ' asymmetric'} α; a green rim is the best of a "
    "row. A click on a cell chooses its rule."
)
show(heat, key="rules", on_pick=pick_cell)
picked_of, picked_layer = STATE.get("picked_layer", (None, None))
if picked_of == source and picked_layer in layers:
    link_to(picked_layer)
st.caption(captions.rules_caption(layers, scales, say))

document = documents.document(calibration.origin, rule, reports)
known = None if source.from_file else loading.checkpoint(source.checkpoint)
quamba, note = quamba_file(reports, known)
export_bar(
    "layers",
    {
        "csv": lambda: tables.as_csv(document),
        "json": lambda: tables.as_json(document),
        **quamba,
        "html": lambda: documents.report_html(
            f"{calibration.origin.checkpoint}: scales of every layer",
            [
                documents.Section(
                    captions.layers_headline(reports, part, say),
                    [captions.layers_verdict(reports, part, say)],
                    rows=list(tables.slice_rows(document)),
                ),
                documents.Section(
                    "Every layer under every rule",
                    [captions.rules_caption(layers, scales, say)],
                    figure=heat,
                ),
            ],
            say,
        ),
    },
    note,
)
