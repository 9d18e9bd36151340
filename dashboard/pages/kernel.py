"""Kernel: one channel's way from INT8 to INT8, how fast the kernel is, and what it compiles to."""

import streamlit as st

from dashboard import figures
from dashboard.analysis.pipeline import trace_channel
from dashboard.analysis.recorded import benchmark, roofline
from dashboard.analysis.report import run_kernel
from dashboard.pages import choosing, loading
from dashboard.pages.drawing import show
from dashboard.pages.refusing import refusals
from dashboard.pages.remembering import STATE, keep, kept, whole
from dashboard.pages.speaking import spoken
from dashboard.rules.observers import ALPHA_RULES, DEFAULT_ALPHA, ScaleRule
from dashboard.text import captions
from kernels.listing import LAYOUTS, generated_ptx

say = spoken()

WINDOW = 48  # positions on show


def boxes() -> None:
    """The rule; α is what it was on the page before."""
    choosing.rule_box()


def show_speed() -> None:
    """Recorded figures of the kernel, which depend on no checkpoint, and what it compiles to."""
    st.divider()
    st.markdown(
        "### How fast it is\nEach variant against a device-to-device copy of the same bytes."
    )
    recorded = benchmark()
    shapes = {" × ".join(map(str, shape)): shape for shape in recorded.shapes}
    shape = st.segmented_control(
        "Shape (B × D × L)", shapes, default=list(shapes)[2], key="shape", required=True
    )
    rows = [row for row in recorded.rows if row.shape == shapes[shape] and row.kind != "copy"]
    show(figures.copy_shares(shapes[shape], rows, say), key="speed")
    st.caption(f"{captions.speed_caption(rows, say)} {captions.recorded_caption(recorded, say)}")
    st.markdown("### What binds it")
    show(figures.roofline(roofline(), say), key="roofline")
    st.caption(
        f"{captions.roofline_caption(roofline(), say)} {captions.recorded_caption(recorded, say)}"
    )

    st.divider()
    st.markdown("### What it compiles to")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layout = st.segmented_control("Layout", LAYOUTS, default=LAYOUTS[0], key="layout",
                                      required=True)  # fmt: skip
        mode = st.segmented_control("Mode", ("exact", "fast"), default="exact", key="mode",
                                    required=True)  # fmt: skip
        asked = st.toggle("Show the PTX", key="ptx")
    if asked:
        listing = generated_ptx(layout, mode)
        st.caption(captions.listing_caption(listing, say))
        st.code(listing.text, language=None, height=420, line_numbers=True)


choice, frame = choosing.choose(boxes, stored=True)
if choice.source.from_file or choice.outline.stored:
    frame.progress.info(
        captions.NO_TRACE_STORED if choice.outline.stored else captions.NO_TRACE_FILE,
        icon=":material/info:",
    )
    show_speed()
    st.stop()
calibration = choosing.calibrated(choice, frame)
source, layer, part = choice.source, choice.layer, choice.part
counted = choice.of(calibration)
width = choice.outline.widths[part]
last = source.seq_len - 1
for key, most in (("channel", width - 1), ("batch", source.batches - 1), ("position", last)):
    if (kept(key, whole(0, most)) or 0) > most:
        STATE[key] = 0 if key == "channel" else most
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    alpha, _ = choosing.alpha_slider(
        counted.silu_output.total,
        loading.landscape(source, layer, part).best_alpha,
        width=300,
        disabled=STATE.rule not in ALPHA_RULES,
    )
    channel = st.number_input("Channel", 0, width - 1, key="channel", width=130)  # fmt: skip
    batch = st.number_input("Batch", 0, source.batches - 1, key="batch", width=130)  # fmt: skip
    position = st.slider("Position", 0, max(last, 1), min(100, last), key="position", width=376,
                         disabled=last == 0)  # fmt: skip
for key, value in (("channel", channel), ("batch", batch), ("position", position)):
    keep(key, value)

rule = ScaleRule(STATE.rule, alpha if STATE.rule in ALPHA_RULES else DEFAULT_ALPHA)
report = loading.layer_report(source, layer, rule)
with refusals(frame):
    conv = loading.quantized_conv(source, layer, frame.show)
first = max(0, min(position - WINDOW // 2, source.seq_len - WINDOW))
start = loading.checkpoint(source.checkpoint).slices[part].start
with refusals(frame):
    trace = trace_channel(
        conv,
        report.slices[part].chosen.x_out_scale,
        int(batch),
        start + int(channel),
        first,
        WINDOW,
    )
    run = run_kernel(conv, [entry.chosen.x_out_scale for entry in report.slices])
at = min(int(position), last) - first


def pick_position() -> None:
    """A click on the pipeline moves to its position."""
    STATE.position = first + STATE.pipeline.picked


st.markdown(f"## {captions.pipeline_headline(trace, at, say)}")
st.markdown(captions.pipeline_caption(trace, at, say))
show(figures.pipeline(trace, at, say), key="pipeline", on_pick=pick_position)
st.table(captions.pipeline_rows(trace, at, say))
st.caption(captions.PIPELINE_NOTE)

frame.status.markdown(captions.kernel_status(run, say))
show_speed()
