"""The calibrated model that the lesson and the claims look at: its box, and the way to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from dashboard.analysis.impact import Impact, ImpactProgress
from dashboard.analysis.measurements import Setting
from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    Calibration,
    CalibrationError,
    Progress,
)
from dashboard.checkpoints import sample_names
from dashboard.lesson.calibrated import MOST_LAYERS, Activations, CalibratedLayer, CalibratedModel
from dashboard.lesson.group_scales import group_channels
from dashboard.lesson.screen import StepSample
from dashboard.pages import (
    calibrating,
    costing,
    loading,
    measuring,
    outlining,
    studies,
    uploads,
    waiting,
)
from dashboard.pages.refusing import refusals
from dashboard.pages.remembering import STATE, keep, kept
from dashboard.pages.source_boxes import CHOOSE, upload_form
from dashboard.pages.sources import Source, is_calibration_file
from dashboard.pages.waiting import Frame
from dashboard.rules.channels import GroupScales
from dashboard.rules.grouping import ChannelGrouping
from dashboard.rules.observers import ScaleRule
from dashboard.text.language import Language
from kernels.int8 import scale_from_amax

DEFAULT_MODEL = "mamba2-small"


def source_of(checkpoint: str) -> Source:
    """A checkpoint on the default text, or a calibration file as it is."""
    if is_calibration_file(checkpoint):
        return Source(checkpoint, "", 0, 0)
    return Source(checkpoint, DEFAULT_TEXT, DEFAULT_BATCHES, DEFAULT_SEQ_LEN)


def sample_source(sample: StepSample) -> Source:
    """A sample on its own text."""
    return Source(*sample, DEFAULT_BATCHES, DEFAULT_SEQ_LEN)


def sample_model(sample: StepSample) -> CalibratedModel:
    """The sample that a step is about, calibrated."""
    return calibrated_model(sample_source(sample))


def model_box(say: Language) -> Source:
    """The box that chooses the model."""
    kept("checkpoint")
    names = [*sample_names(), *uploads.names("calibration")]
    name = st.selectbox(
        say("Checkpoint"),
        names,
        names.index(DEFAULT_MODEL),
        key="checkpoint",
        accept_new_options=True,
        placeholder=say(CHOOSE),
        format_func=upload_form(say),
    )
    return source_of(keep("checkpoint", name) or DEFAULT_MODEL)


def layer_box(say: Language, layers: tuple[int, ...]) -> int:
    """The box that chooses one of a model's layers."""
    if kept("layer", int) is not None and STATE.layer not in layers:
        STATE.layer = layers[0]
    return keep("layer", st.selectbox(say("Layer"), layers, key="layer"))


def calibrated_model(source: Source, frame: Frame | None = None) -> CalibratedModel:
    """The model, calibrated, with every α tried in its first layers.

    Args:
        source: its checkpoint; the page's frame refuses what cannot be used.
        frame: where a wait is shown; without one, errors are raised.
    """
    if frame:
        with refusals(frame):
            source = outlining.outline(source).source
            check(waiting.calibrated(frame, source), source)
    source = outlining.outline(source).source
    calibration = calibrating.calibration(source, _silent)
    layers = outlining.outline(source).layers[:MOST_LAYERS]
    return CalibratedModel(
        uploads.title(source.checkpoint),
        tuple(
            CalibratedLayer(
                layer, calibration.layer(layer).slices[0], studies.landscape(source, layer, 0)
            )
            for layer in layers
        ),
        studies.recommendation(source),
        None if source.from_file else _activations(source, frame),
    )


def check(calibration: Calibration, source: Source) -> None:
    """Raise CalibrationError where a layer gives nothing to learn from."""
    for layer in calibration.layers:
        if layer.slices[0].silu_output.absmax == 0:
            raise CalibrationError(
                "layer {layer} of {checkpoint} gives nothing but zeros, so there is nothing to "
                "learn from it; choose another checkpoint",
                layer=layer.layer,
                checkpoint=source.checkpoint,
            )


def _activations(source: Source, frame: Frame | None) -> Activations:
    show = frame.show if frame else _silent
    checkpoint = loading.checkpoint(source.checkpoint)
    first = loading.text(source).tokens[0]

    def minmax(layer: int) -> list[float]:
        slices = calibrating.calibration(source, show).layer(layer).slices
        return [scale_from_amax(conv_slice.silu_output.absmax) for conv_slice in slices]

    return Activations(
        minmax=minmax,
        conv=lambda layer: calibrating.quantized_conv(source, layer, show),
        groups=lambda layer: _groups(source, layer),
        has_heads=checkpoint.architecture.head_dim is not None,
        text=bytes(first.tolist()) if checkpoint.reads_bytes else None,
        costs=lambda rules: _costs(source, rules, frame),
    )


def _costs(
    source: Source, rules: Sequence[ScaleRule], frame: Frame | None
) -> dict[ScaleRule, Impact]:
    """What rules cost in all layers, on the windows that the Impact page has without a choice."""
    held_out = costing.HeldOutText(source, "", costing.WINDOWS)
    if frame and not costing.has_float_run(held_out):
        frame.wait_for(source.checkpoint)
    run = costing.float_run(held_out, _silent_window)
    asked = costing.measurements(held_out, run, "output")
    layers = outlining.outline(source).layers
    settings = {rule: Setting(rule, layers) for rule in rules}

    def show(progress: ImpactProgress) -> None:
        if frame:
            measuring.show_progress(frame, progress)

    missing = asked.missing(list(settings.values()))
    if missing:
        costing.measure_settings(held_out, asked, missing, (0, 0.0), math.inf, show)
    if frame:
        frame.progress.empty()
    measured = {rule: asked.impact(setting) for rule, setting in settings.items()}
    return {rule: impact for rule, impact in measured.items() if impact is not None}


@st.cache_resource(max_entries=32, show_spinner=False)
def _groups(source: Source, layer: int) -> tuple[ChannelGrouping, GroupScales]:
    architecture = loading.checkpoint(source.checkpoint).architecture
    outputs = calibrating.channels(source, layer, 0)
    return group_channels(outputs, architecture.head_dim, architecture.n_groups)


def _silent_window(_: int) -> None:
    """A window of the float model takes no longer than a layer's drawing."""


def _silent(_: Progress) -> None:
    """What is asked for here was calibrated before, with its progress on show."""
