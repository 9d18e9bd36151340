"""Kernel: one channel's way from INT8 to INT8, how fast the kernel is, and what it compiles to."""

import streamlit as st

from dashboard import figures
from dashboard.analysis.pipeline import trace_channel, window_around
from dashboard.analysis.recorded import benchmark, roofline
from dashboard.analysis.report import QuantizedConv
from dashboard.messages import Message
from dashboard.pages import calibrating, controls, studies
from dashboard.pages.dragging import live_slider
from dashboard.pages.drawing import show
from dashboard.pages.exporting import show_figure
from dashboard.pages.refusing import refusals
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE, keep, kept, whole
from dashboard.pages.waiting import Frame
from dashboard.rules.observers import SYMMETRIC_RULES
from dashboard.text import captions
from dashboard.text.language import Language
from kernels.listing import LAYOUTS, generated_ptx

POSITION = 100  # where the first visit begins


@page(
    "kernel",
    title=Message("Kernel"),
    question=Message("How does the kernel turn INT8 into INT8, and how fast?"),
    group="",
    drawings=("pipeline", "speed", "roofline"),
)
def kernel(frame: Frame, say: Language) -> None:
    """One channel, step by step; below it what was measured of the kernel, and its PTX."""
    choice = controls.choose(frame, SYMMETRIC_RULES, stored=True)
    if choice.source.from_file or choice.outline.stored:
        reason = (
            say(captions.NO_TRACE_STORED) if choice.outline.stored else say(captions.NO_TRACE_FILE)
        )
        frame.progress.info(reason, icon=":material/info:")
    else:
        _show_channel(choice, frame, say)
    _show_speed(say)
    _show_listing(say)


def _show_channel(choice: controls.Choice, frame: Frame, say: Language) -> None:
    """The live kernel on the whole layer, then one channel of it."""
    scales = [
        report.chosen.x_out_scale
        for report in studies.layer_report(choice.source, choice.layer, choice.rule).slices
    ]
    with refusals(frame):
        if not calibrating.is_captured(choice.source, choice.layer):
            frame.wait_for(choice.source.checkpoint)
        conv = calibrating.quantized_conv(choice.source, choice.layer, frame.show)
        frame.progress.empty()
        run = calibrating.run_live(conv, scales)
    frame.status.markdown(captions.kernel_status(run, say))
    _show_pipeline(choice, conv, scales[choice.slice_index], say)


@st.fragment
def _show_pipeline(
    choice: controls.Choice, conv: QuantizedConv, scale: float, say: Language
) -> None:
    """Every step at one place: all that changes while the place does."""
    channel, batch, position = _place_boxes(choice, say)
    first = window_around(position, choice.source.seq_len)
    start = conv.slices[choice.slice_index].start
    trace = trace_channel(conv, scale, batch, start + channel, first)
    at = position - first

    def pick_position() -> None:
        """A click on the pipeline moves to its position."""
        STATE.position = first + STATE.pipeline.picked

    st.markdown(f"## {captions.pipeline_headline(trace, at, say)}")
    st.markdown(captions.pipeline_caption(trace, at, say))
    show_figure(figures.pipeline(trace, at, say), "pipeline", choice, say, pick_position)
    st.table(captions.pipeline_rows(trace, at, say))
    st.caption(say(captions.PIPELINE_NOTE))


def _place_boxes(choice: controls.Choice, say: Language) -> tuple[int, int, int]:
    """The channel of the slice, the batch and the position to follow."""
    most = {
        "channel": choice.outline.widths[choice.slice_index] - 1,
        "batch": choice.source.batches - 1,
        "position": choice.source.seq_len - 1,
    }
    for key, last in most.items():
        if (kept(key, whole(0, last)) or 0) > last:
            STATE[key] = 0 if key == "channel" else last
    last = most["position"]
    positions = range(last + 1)
    with st.container(horizontal=True):
        channel = st.number_input(say("Channel"), 0, most["channel"], key="channel", width=130)
        batch = st.number_input(say("Batch"), 0, most["batch"], key="batch", width=130)
        position = live_slider(
            say("Position"), positions, min(POSITION, last), str, "position", 600
        )
    for key, value in (("channel", channel), ("batch", batch), ("position", position)):
        keep(key, value)
    return int(channel), int(batch), min(int(position), last)


def _show_speed(say: Language) -> None:
    """What was recorded of the kernel, which depends on no checkpoint."""
    st.divider()
    st.markdown("### " + say("How fast it is"))
    st.markdown(say("Each variant against a device-to-device copy of the same bytes."))
    recorded = benchmark()
    shapes = {" × ".join(map(str, shape)): shape for shape in recorded.shapes}
    shape = st.segmented_control(
        say("Shape (B × D × L)"), shapes, default=list(shapes)[2], key="shape", required=True
    )
    rows = [row for row in recorded.rows if row.shape == shapes[shape] and row.kind != "copy"]
    origin = captions.recorded_caption(recorded, say)
    show(figures.copy_shares(shapes[shape], rows, say), key="speed")
    st.caption(say.sentences(captions.speed_caption(rows, say), origin))
    st.markdown("### " + say("What binds it"))
    st.markdown(
        say(
            "Nothing runs above the lowest of three ceilings: what memory moves in a copy, how "
            "many instructions the chip can issue, and how fast its special-function units "
            "compute SiLU's exponentials and reciprocals."
        )
    )
    show(figures.roofline(roofline(), say), key="roofline")
    st.caption(say.sentences(captions.roofline_caption(roofline(), say), origin))


def _show_listing(say: Language) -> None:
    """The kernel's PTX: compiled here where there is a GPU, else as it was recorded."""
    st.divider()
    st.markdown("### " + say("What it compiles to"))
    modes = {"exact": say("exact"), "fast": say("fast")}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layout = st.segmented_control(
            say("Layout"), LAYOUTS, default=LAYOUTS[0], key="layout", required=True
        )
        mode = st.segmented_control(
            say("Mode"),
            modes,
            default="exact",
            key="mode",
            required=True,
            format_func=modes.__getitem__,
        )
        asked = st.toggle(say("Show the PTX"), key="ptx")
    if asked:
        listing = generated_ptx(layout, mode)
        st.caption(captions.listing_caption(listing, say))
        st.code(listing.text, language=None, height=420, line_numbers=True)
