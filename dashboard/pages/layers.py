"""Layers: the whole model at a glance; a row or a cell opens its layer in Explore."""

import streamlit as st

from dashboard import captions, export, figures, tables
from dashboard.observers import ALPHA_RULES, ASYMMETRIC_RULES, RULES, ScaleRule
from dashboard.pages import choosing, loading
from dashboard.pages.choosing import STATE, keep, kept
from dashboard.pages.drawing import show
from dashboard.pages.exporting import export_bar
from dashboard.pages.grid import filtered, show_table, table_row
from dashboard.pages.stored import show_stored
from dashboard.report import baselines, distinct


def boxes() -> None:
    """The rule, and whether 0 may have another code than 0."""
    kept("rule")
    keep("rule", st.selectbox("Scale rule", RULES, key="rule", width=170, bind="query-params"))
    kept("asymmetric")
    asymmetric = st.toggle("asymmetric", key="asymmetric", bind="query-params",
                           disabled=STATE.rule not in ASYMMETRIC_RULES)  # fmt: skip
    keep("asymmetric", asymmetric)


choice, frame = choosing.choose(boxes, layers=False, stored=True)
if choice.outline.stored:
    show_stored(choice, frame)
    st.stop()
calibration = choosing.calibrated(choice, frame)
source, layers, part = choice.source, choice.outline.layers, choice.part
alpha, _ = choosing.alpha_slider(
    calibration.layers[0].slices[part].silu_output.total,
    loading.landscape(source, layers[0], part).best_alpha,
    width=376,
    disabled=STATE.rule not in ALPHA_RULES,
)
symmetric = not (STATE.asymmetric and STATE.rule in ASYMMETRIC_RULES)
rule = ScaleRule(STATE.rule, alpha, symmetric=symmetric)
reports = [loading.layer_report(source, layer, rule) for layer in layers]
rules = [rule, ScaleRule("percentile", loading.recommendation(source).alpha), *baselines(rule)]
scales = [
    distinct(loading.scale_report(source, layer, part, each) for each in rules) for layer in layers
]
heat = figures.rule_heatmap(layers, scales, [each.bests[part] for each in reports])


def pick_cell() -> None:
    """A click on the heatmap chooses a layer and a rule, for Explore."""
    row, column = divmod(STATE.rules.picked, len(scales[0]))
    picked = scales[row][column].rule
    keep("rule", picked.observer)
    keep("asymmetric", not picked.symmetric)
    if picked.observer in ALPHA_RULES:
        keep("alpha", picked.alpha)
    STATE.opened = layers[row]


def pick_row() -> None:
    """A selected row chooses its layer, for Explore."""
    for row in STATE.table.selection.rows:
        STATE.opened = shown[row]["layer"]


if "opened" in STATE:
    keep("layer", STATE.pop("opened"))
    st.switch_page("dashboard/pages/explore.py")

st.markdown(f"## {captions.layers_headline(reports, part)}")
st.markdown(captions.layers_verdict(reports, part))
shown = filtered([table_row(each, part) for each in reports])
if shown:
    show_table(shown, key="table", on_select=pick_row)
else:
    st.info(captions.NO_ROW, icon=":material/filter_alt_off:")

st.divider()
st.markdown(
    "### Every layer under every rule\nSQNR in dB. The darker a cell, the more it loses against "
    "the layer's best α; a green rim is the best of a row. Click a cell to open it in Explore."
)
show(heat, key="rules", on_pick=pick_cell)
st.caption(captions.rules_caption(layers, scales))

document = export.document(calibration.origin, rule, reports)
export_bar(
    "layers",
    {
        "csv": lambda: tables.as_csv(document),
        "json": lambda: tables.as_json(document),
        "safetensors": lambda: export.quamba_scales(reports),
        "html": lambda: export.report_html(
            f"{calibration.origin.checkpoint}: scales of every layer",
            [
                export.Section(
                    captions.layers_headline(reports, part),
                    [captions.layers_verdict(reports, part)],
                    rows=list(tables.slice_rows(document)),
                ),
                export.Section(
                    "Every layer under every rule",
                    [captions.rules_caption(layers, scales)],
                    sheet=heat,
                ),
            ],
        ),
    },
    "safetensors: the scales under the names of Quamba's checkpoints.",
)
