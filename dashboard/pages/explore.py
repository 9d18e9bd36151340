"""Explore: one layer, one scale, live.

Choose a checkpoint, a layer, a rule and α; see whether a better α exists, what the scale does to a
value on its way to a code, what every other scale would have done, and what the kernel that just
ran really wrote.
"""

from dataclasses import replace

import streamlit as st

from dashboard import figures
from dashboard.analysis.report import (
    ScaleReport,
    baselines,
    distinct,
    format_alpha,
    run_kernel,
)
from dashboard.export import documents, tables
from dashboard.pages import choosing, loading
from dashboard.pages.drawing import show
from dashboard.pages.exporting import export_bar, quamba_file
from dashboard.pages.refusing import plain, refusals
from dashboard.pages.remembering import STATE, keep, kept, one_of
from dashboard.pages.speaking import spoken
from dashboard.rules.observers import (
    ALPHA_RULES,
    SYMMETRIC_RULES,
    ScaleRule,
)
from dashboard.text import captions

say = spoken()

MINMAX = "minmax"
COUNTS = ("log counts", "linear counts")


# Choose.


def rule_boxes() -> None:
    """The rule on show, the one beside it, and whether 0 may have another code than 0."""
    choosing.rule_box(asymmetric=True)
    kept("beside", one_of(SYMMETRIC_RULES))
    beside = st.selectbox(
        "Beside it",
        list(SYMMETRIC_RULES),
        index=SYMMETRIC_RULES.index(MINMAX),
        key="beside",
        width=170,
        help="Another rule, at the same α: its numbers stand under the metrics, its cut is dotted.",
    )
    keep("beside", beside, MINMAX)
    choosing.asymmetric_toggle(
        help="256 codes from the least value to the greatest: what the stranded codes would buy. "
        "The kernel writes symmetric codes, so it does not run.",
    )


choice, frame = choosing.choose(rule_boxes)
frame = replace(frame, note="; the charts show the first")
source, layer, part = choice.source, choice.layer, choice.part
strip_slot = st.container()
with st.container(horizontal=True, gap="medium"):
    with st.container(width=376, key="choice"):
        verdict_slot = st.container()
        alpha_slot = st.container()
        metric_slot = st.container()
    hero_slot = st.container(key="hero")
st.divider()
table_slot = st.container()
st.divider()
sweep_slot = st.container()


# Analyse. Until all batches are counted, the page shows what the first one says.

symmetric = choosing.symmetric()
complete = loading.is_calibrated(source)
if not complete:
    frame.progress.progress(0.0, plain(f"Loading {source.checkpoint}"))
on_show = source if complete else source.first_batch()
with refusals(frame):
    calibration = loading.calibration(on_show, frame.show)
counted = choice.of(calibration)
landscape = loading.landscape(on_show, layer, part, symmetric)


def use(wanted: ScaleRule) -> None:
    """Put a rule on show: it, its α, and whether it is asymmetric."""
    STATE.rule, STATE.asymmetric = wanted.observer, not wanted.symmetric
    if wanted.observer in ALPHA_RULES:
        STATE.alpha = wanted.alpha


def pick_alpha() -> None:
    """A click on the landscape chooses the nearest α of the slider, and the landscape's rule."""
    use(replace(landscape.best_rule, alpha=grid[STATE.landscape.picked]))


with alpha_slot:
    alpha, grid = choosing.alpha_slider(
        counted.silu_output.total * (1 if complete else source.batches),
        landscape.best_alpha,
        disabled=STATE.rule not in ALPHA_RULES,
    )

rule = ScaleRule(STATE.rule, alpha, symmetric=symmetric)
layer_report = loading.layer_report(on_show, layer, rule)
slices = layer_report.slices
report = slices[part]


def scaled(other: ScaleRule) -> ScaleReport:
    return loading.scale_report(on_show, layer, part, other)


beside = scaled(ScaleRule(STATE.beside, alpha))
best = layer_report.bests[part]
rows = distinct([report.chosen, beside, best, *map(scaled, baselines(rule))])


# Show. What the histograms say is on its way to the browser before the kernel runs.


def pick_layer() -> None:
    """A click on the strip chooses that layer."""
    STATE.layer = STATE.strip.picked


def pick_row() -> None:
    """A click on a row of the table chooses its rule."""
    use(rows[STATE.table.picked].rule)


with strip_slot:
    strip = figures.layer_strip(
        choice.outline.layers,
        [loading.slice_report(on_show, each, part, rule) for each in choice.outline.layers],
        [loading.best(on_show, each, part, symmetric) for each in choice.outline.layers],
        layer,
        say,
    )
    show(strip, key="strip", on_pick=pick_layer)

with verdict_slot:
    st.markdown(f"## {captions.verdict(report, landscape, say)}")
    st.markdown(captions.proof(report, landscape, say))

with alpha_slot:
    st.button(
        f"Use {format_alpha(landscape.best_alpha)}, the best α",
        key="use_best",
        type="tertiary",
        disabled=rule == landscape.best_rule,
        on_click=use,
        args=(landscape.best_rule,),
    )
    shown = report.chosen if rule.observer == "percentile" else None
    drawn = figures.landscape_under_slider(landscape, grid, shown, say)
    show(drawn, key="landscape", on_pick=pick_alpha)
    st.caption(captions.landscape_caption(landscape, say))

with metric_slot:
    with st.container(horizontal=True, key="metrics"):
        for metric in captions.metrics(report, beside, say):
            st.metric(
                metric.name,
                metric.value,
                metric.beside,
                delta_color="off",
                delta_arrow="off",
                help=metric.help,
                width=176,
            )
    kernel_slot = st.container()

with hero_slot:
    with st.container(horizontal=True, vertical_alignment="top"):
        st.markdown(
            "### From SiLU input to INT8 code\n"
            "Follow a value: up from the input, across the curve, onto the ruler of codes."
        )
        kept("counts", one_of(COUNTS))
        counts = st.segmented_control(
            "Counts",
            COUNTS,
            default=COUNTS[0],
            key="counts",
            required=True,
            label_visibility="collapsed",
            help="How tall a count is drawn in both histograms.",
        )
        keep("counts", counts, COUNTS[0])
    others = [(beside, "beside"), (best, "best")]
    others += [(row, "baseline") for row in rows if row.observer in ("minmax", "scale-wx")]
    hero = figures.transfer(report, others, counts == COUNTS[0], say)
    show(hero, key="transfer")
    st.caption(captions.transfer_caption(report, say))

with table_slot:
    st.markdown(
        "### How each scale uses INT8\n"
        "Number of outputs in each of the 256 codes (log height), and what it costs. "
        "Click a row to choose its rule."
    )
    paired = len(rows) > 1 and rows[1].label == beside.label
    scale_table = figures.scale_table(rows, paired, say)
    show(scale_table, key="table", on_pick=pick_row)
    st.caption(captions.table_caption(rows, say))
    if complete:
        st.markdown(captions.recommendation(loading.recommendation(source, symmetric), say))

with sweep_slot:
    st.markdown(
        "### Utilization against scale_wx\n"
        "What each scale_out would use and lose, from scale_wx up to the whole conv output."
    )
    utilization = figures.utilization_sweep(loading.sweep(on_show, layer, part), rows, say)
    show(utilization, key="sweep")
    st.caption(captions.sweep_caption(report, say))

if not complete:
    if STATE.get("stopped") == source:
        frame.progress.info(
            f"Stopped. The charts show the first of {source.batches} batches.",
            icon=":material/pause_circle:",
        )
        frame.stop.button("Calibrate", key="resume", on_click=lambda: STATE.pop("stopped"))
        st.stop()
    frame.stop.button("Stop calibrating", key="stop", on_click=lambda: STATE.update(stopped=source))
    with refusals(frame):
        loading.calibration(source, frame.show)
    st.rerun()

kernel = None
if source.from_file:
    frame.status.markdown(captions.NO_KERNEL_FILE)
elif not rule.symmetric:
    frame.status.markdown(captions.NO_KERNEL_ASYMMETRIC)
else:
    with refusals(frame):
        conv = loading.quantized_conv(source, layer, frame.show)
        kernel = run_kernel(conv, [entry.chosen.x_out_scale for entry in slices])
    frame.status.markdown(captions.kernel_status(kernel, say))
layer_report = replace(layer_report, kernel=kernel)
with kernel_slot:
    if kernel:
        st.markdown(captions.kernel_sentence(layer_report, kernel, choice.part_name, say))
    with st.expander("All scales and errors of this slice"):
        st.table(captions.all_measures(layer_report, choice.part_name, say))
        if not rule.symmetric:
            st.caption(captions.NO_RATIOS)
    if not source.from_file:
        wanted = loading.checkpoint(source.checkpoint).slices[part]
        code = documents.snippet(
            source.checkpoint, source.text, source.batches, source.seq_len, layer, wanted, rule
        )
        if code:
            with st.expander("This scale again, in plain torch"):
                st.code(code)

document = documents.document(calibration.origin, rule, [layer_report])
known = None if source.from_file else loading.checkpoint(source.checkpoint)
quamba, note = quamba_file([layer_report], known)
export_bar(
    "explore",
    {
        "csv": lambda: tables.as_csv(document),
        "json": lambda: tables.as_json(document),
        **quamba,
        "html": lambda: documents.report_html(
            f"{calibration.origin.checkpoint}, layer {layer}, slice {choice.part_name}",
            [
                documents.Section(
                    captions.verdict(report, landscape, say),
                    [captions.proof(report, landscape, say)],
                    hero,
                ),
                documents.Section(
                    "How each scale uses INT8", [captions.table_caption(rows, say)], scale_table
                ),
                documents.Section(
                    "Utilization against scale_wx",
                    [captions.sweep_caption(report, say)],
                    utilization,
                ),
                documents.Section("Every measure", rows=list(tables.slice_rows(document))),
            ],
            say,
        ),
    },
    note,
)
