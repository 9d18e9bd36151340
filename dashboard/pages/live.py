"""The live kernel beside a slice's scales: it runs after everything that the counts alone say."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard.analysis.format_runs import slice_conv
from dashboard.analysis.report import KernelRun, QuantizedConv
from dashboard.export import documents
from dashboard.formats import FormatReport
from dashboard.messages import Message
from dashboard.pages import calibrating, loading
from dashboard.pages.controls import Choice
from dashboard.pages.refusing import refusals
from dashboard.pages.studies import SliceStudy
from dashboard.pages.waiting import Frame
from dashboard.text import captions
from dashboard.text.language import Language

CAPTURING = Message(
    "Running the model for the live kernel: batch {batch} of {batches}, layer {layer}"
)


def is_ready(choice: Choice) -> bool:
    """Whether the kernel need not wait for the model to run again."""
    return calibrating.is_quantized(choice.source, choice.layer)


def run(choice: Choice, study: SliceStudy, frame: Frame) -> KernelRun | None:
    """Run the kernel with the scales of every slice, where it can; the heading says how it went."""
    if choice.source.from_file:
        frame.status.markdown(frame.say(captions.NO_KERNEL_FILE))
        return None
    with refusals(frame):
        conv = _quantized_conv(choice, frame)
        chosen = [report.chosen for report in study.layer.slices]
        scales = [scale.x_out_scale for scale in chosen]
        zero_points = [scale.zero_point for scale in chosen]
        kernel = calibrating.run_live(conv, scales, zero_points, frame.progress.empty)
    frame.status.markdown(captions.kernel_status(kernel, frame.say))
    return kernel


def run_format(choice: Choice, report: FormatReport, frame: Frame) -> KernelRun | None:
    """Run the kernel on the slice on show in a number format that it can write."""
    if choice.source.from_file:
        frame.status.markdown(frame.say(captions.NO_KERNEL_FILE))
        return None
    with refusals(frame):
        conv = slice_conv(_quantized_conv(choice, frame), choice.slice_index)
        kernel = calibrating.run_live_format(conv, report, frame.progress.empty)
    frame.status.markdown(captions.kernel_status(kernel, frame.say))
    return kernel


def _quantized_conv(choice: Choice, frame: Frame) -> QuantizedConv:
    if not calibrating.is_captured(choice.source, choice.layer):
        frame.wait_for(choice.source.checkpoint)
    capturing = replace(frame, calibrating=CAPTURING)
    conv = calibrating.quantized_conv(choice.source, choice.layer, capturing.show)
    frame.progress.empty()
    return conv


def show(choice: Choice, study: SliceStudy, kernel: KernelRun | None, say: Language) -> None:
    """What the kernel's codes are worth; every measure of the slice; the scale in plain torch."""
    name = choice.slice_name
    layer = replace(study.layer, kernel=kernel)
    if kernel:
        with st.container(key="kernel_word"):
            st.markdown(captions.kernel_sentence(layer, kernel, name, say))
    with st.expander(say("All scales and errors of this slice")):
        st.table(captions.all_measures(layer, name, say))
        if not choice.rule.symmetric:
            st.caption(say(captions.NO_RATIOS))
    if not choice.source.from_file:
        source, conv = choice.source, loading.checkpoint(choice.source.checkpoint)
        code = documents.snippet(
            source.checkpoint,
            source.text,
            source.batches,
            source.seq_len,
            choice.layer,
            conv.slices[choice.slice_index],
            choice.rule,
        )
        if code:
            with st.expander(say("This scale again, in plain torch")):
                st.code(code)
