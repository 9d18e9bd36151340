"""Explore: one layer, one scale, live.

Choose a checkpoint, a layer, a rule and α; see what the scale does to a value on its way to a code,
what every other scale would have done, and what the kernel that just ran really wrote.
"""

import time

import streamlit as st

from dashboard import captions, figures
from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    CalibrationError,
    Progress,
    text_names,
)
from dashboard.checkpoints import CheckpointError, sample_names
from dashboard.observers import DEFAULT_ALPHA, RULES, alpha_grid
from dashboard.pages import loading
from dashboard.pages.drawing import show
from dashboard.report import (
    LayerReport,
    compare_scales,
    format_alpha,
    report_slices,
    run_kernel,
)

STATE = st.session_state
PROGRESS_SECONDS = 0.1  # between two updates of the bar: each costs the browser as much as a layer


# Choose.


def asked(name: str, default: int) -> object:
    """A setting before its widget is made: as it was, as the link has it, or the default."""
    return STATE.get(name, st.query_params.get(name, default))


st.html(
    "<style>"
    "div:has(> .st-key-hero){min-width:min(600px,100%)}"
    ".st-key-counts,div:has(> .st-key-status){margin-left:auto}"
    "@media(max-width:1100px){div:has(> .st-key-choice){width:100%;flex:1 1 100%}"
    ".st-key-choice{width:100%}.st-key-metrics > div{flex:0 0 31%}}"
    "</style>"
)

with st.container(horizontal=True, vertical_alignment="center"):
    st.markdown("# Scalescope", width="content")
    status = st.container(key="status", width="content")

with st.container(horizontal=True, vertical_alignment="bottom", key="controls"):
    source_name = st.selectbox(
        "Checkpoint",
        sample_names(),
        key="checkpoint",
        width=250,
        accept_new_options=True,
        bind="query-params",
        help="A sample, or type a directory or a Hub id (owner/name).",
    )
    layer_slot = st.container(width=110)
    rule = st.selectbox(
        "Scale rule",
        RULES,
        key="rule",
        width=190,
        bind="query-params",
        help="percentile: the α-quantile of |y|. minmax: all of |y|. conv-absmax: the range before "
        "SiLU. scale-wx: x_scale · w_scale, uncalibrated.",
    )
    slice_slot = st.container(width="content")
    with st.popover(
        f"Calibration: {asked('batches', DEFAULT_BATCHES)} × "
        f"{asked('seq_len', DEFAULT_SEQ_LEN)} tokens",
        key="calibration",
    ):
        text_name = st.selectbox(
            "Text",
            text_names(),
            key="text",
            accept_new_options=True,
            bind="query-params",
            help="A text that comes with the project, or type the path of a UTF-8 file.",
        )
        batches = st.number_input(
            "Batches", 1, 1024, DEFAULT_BATCHES, key="batches", bind="query-params"
        )
        seq_len = st.number_input(
            "Tokens a batch", 1, 8192, DEFAULT_SEQ_LEN, key="seq_len", bind="query-params"
        )

source = loading.Source(
    source_name or sample_names()[0], text_name or DEFAULT_TEXT, int(batches), int(seq_len)
)
with st.container(horizontal=True, vertical_alignment="center"):
    progress_slot = st.empty()
    stop_slot = st.empty()


def refuse(error: ValueError) -> None:
    """One sentence about what cannot be used; the controls above stay."""
    progress_slot.error(str(error), icon=":material/error:")
    st.stop()


def show_progress(progress: Progress) -> None:
    """Update the bar. A press on Stop in the meantime ends the run here."""
    now = time.monotonic()
    if now - STATE.get("progress_shown_at", 0.0) >= PROGRESS_SECONDS:
        STATE.progress_shown_at = now
        shown = "; the charts show the first" if progress.batches > 1 else ""
        progress_slot.progress(progress.share, f"Calibrating: {progress}{shown}")


try:
    checkpoint = loading.checkpoint(source.checkpoint)
    loading.text(source)  # is it long enough?
except (CheckpointError, CalibrationError) as error:
    refuse(error)

if STATE.get("layer", 0) not in range(checkpoint.n_layers):
    STATE.layer = 0
with layer_slot:
    layer = st.selectbox("Layer", range(checkpoint.n_layers), key="layer", bind="query-params")
part_names = [part.name for part in checkpoint.slices]
part_name = part_names[0]
if len(part_names) > 1:
    with slice_slot:
        part_name = st.segmented_control(
            "Slice",
            part_names,
            default=part_names[0],
            key="slice",
            required=True,
            bind="query-params",
            help="The convolution of Mamba-2 runs over x, B and C, each with its own scales.",
        )
part = part_names.index(part_name)
grid = alpha_grid(source.batches * source.seq_len * checkpoint.slices[part].width)
if STATE.get("alpha", DEFAULT_ALPHA) not in grid:
    STATE.alpha = min(grid, key=lambda alpha: abs(alpha - STATE.alpha))

strip_slot = st.container()
with st.container(horizontal=True, gap="medium"):
    with st.container(width=376, key="choice"):
        headline_slot = st.container()
        alpha = st.select_slider(
            "Percentile α",
            grid,
            DEFAULT_ALPHA,
            format_func=format_alpha,
            key="alpha",
            disabled=rule != "percentile",
            bind="query-params",
            help="Code 127 stands for the α-quantile of |y|. Used by the rule percentile alone.",
        )
        metric_slot = st.container()
    hero_slot = st.container(key="hero")
st.divider()
table_slot = st.container()
st.divider()
sweep_slot = st.container()


# Analyse. Until all batches are counted, the page shows what the first one says.

complete = loading.is_calibrated(source)
if not complete:
    progress_slot.progress(0.0, f"Loading {source.checkpoint}")
on_show = source if complete else source.first_batch()
try:
    calibration = loading.calibration(on_show, show_progress)
except (CheckpointError, CalibrationError) as error:
    refuse(error)
every_layer = [report_slices(checkpoint, entry, rule, alpha) for entry in calibration.layers]
slices = every_layer[layer]
report = slices[part]
rows = compare_scales(calibration.layer(layer).slices[part], report.scales, report.chosen)


# Show. What the histograms say is on its way to the browser before the kernel runs.


def pick_layer() -> None:
    """A click on the strip chooses that layer."""
    STATE.layer = STATE.strip.picked


with strip_slot:
    strip = figures.layer_strip([entry[part] for entry in every_layer], layer)
    show(strip, key="strip", on_pick=pick_layer)

with headline_slot:
    st.markdown(f"## {captions.headline(report)}")
    st.markdown(captions.proof(report))

with metric_slot:
    with st.container(horizontal=True, key="metrics"):
        for metric in captions.metrics(report):
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
        counts = st.segmented_control(
            "Counts",
            ["log counts", "linear counts"],
            default="log counts",
            key="counts",
            required=True,
            bind="query-params",
            label_visibility="collapsed",
            help="How tall a count is drawn in both histograms.",
        )
    baselines = [row for row in rows if row.observer in ("minmax", "scale-wx")]
    show(figures.transfer(report, baselines, counts == "log counts"), key="transfer")
    st.caption(captions.transfer_caption(report))

with table_slot:
    st.markdown(
        "### How each scale uses INT8\n"
        "Number of outputs in each of the 256 codes (log height), and what it costs."
    )
    show(figures.scale_table(rows), key="table")
    st.caption(captions.table_caption(rows))

with sweep_slot:
    st.markdown(
        "### Utilization against scale_wx\n"
        "What each scale_out would use and lose, from scale_wx up to the whole conv output."
    )
    show(figures.utilization_sweep(loading.sweep(on_show, layer, part), rows), key="sweep")
    st.caption(captions.sweep_caption(report))

if not complete:
    if STATE.get("stopped") == source:
        progress_slot.info(
            f"Stopped. The charts show the first of {source.batches} batches.",
            icon=":material/pause_circle:",
        )
        stop_slot.button("Calibrate", key="resume", on_click=lambda: STATE.pop("stopped"))
        st.stop()
    stop_slot.button("Stop calibrating", key="stop", on_click=lambda: STATE.update(stopped=source))
    try:
        loading.calibration(source, show_progress)
    except CalibrationError as error:
        refuse(error)
    st.rerun()

try:
    conv = loading.quantized_conv(source, layer, show_progress)
    kernel = run_kernel(conv, [entry.chosen.x_out_scale for entry in slices])
except ValueError as error:
    refuse(error)
status.markdown(captions.kernel_status(kernel))
layer_report = LayerReport(layer, slices, kernel)
with kernel_slot:
    st.markdown(captions.kernel_sentence(layer_report, part_name))
    with st.expander("All scales and errors of this slice"):
        st.table(captions.all_measures(layer_report, part_name))
