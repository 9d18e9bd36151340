"""The lesson's steps as a reader meets them: each draws its controls and returns its screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from dashboard.calibration import DEFAULT_BATCHES, DEFAULT_SEQ_LEN, DEFAULT_TEXT
from dashboard.checkpoints import sample_names
from dashboard.language import Language
from dashboard.lesson import holding, shapes, tracing
from dashboard.observers import PUBLISHED_ALPHAS, ScaleRule
from dashboard.pages import loading
from dashboard.pages.choosing import STATE, keep, kept
from dashboard.report import format_alpha
from dashboard.screens import Screen
from dashboard.screens import holding as holding_screen
from dashboard.screens import shapes as shapes_screen
from dashboard.screens import tracing as tracing_screen

DEFAULT_MODEL = "mamba2-small"


def choice(key: str, options: tuple, default: object, label: str, **more: object) -> object:
    """A slider over given values, kept in the link and while another step is on show."""
    if kept(key) is not None and STATE[key] not in options:
        STATE[key] = min(options, key=lambda option: abs(option - STATE[key]))
    value = st.select_slider(
        label, options, default, key=key, bind="query-params", **more
    )
    return keep(key, value)


@dataclass(frozen=True)
class Studied:
    """The model that the lesson is about just now."""

    source: loading.Source
    outline: loading.Outline


def studied(say: Language, frame) -> Studied:
    """The box that chooses the model, and the model calibrated."""
    kept("checkpoint")
    name = st.selectbox(
        say("Checkpoint"),
        sample_names(),
        sample_names().index(DEFAULT_MODEL),
        key="checkpoint",
        accept_new_options=True,
        bind="query-params",
    )
    source = loading.Source(
        keep("checkpoint", name) or DEFAULT_MODEL, DEFAULT_TEXT, DEFAULT_BATCHES, DEFAULT_SEQ_LEN
    )
    return frame.prepare(source)


def layer_box(say: Language, outline: loading.Outline) -> int:
    if kept("layer") is not None and STATE.layer not in outline.layers:
        STATE.layer = outline.layers[0]
    return keep("layer", st.selectbox(say("Layer"), outline.layers, key="layer",
                                      bind="query-params"))  # fmt: skip


# 1


def hold(say: Language, _frame) -> Screen:
    scale = choice("held_scale", holding.SCALES, holding.DEFAULT_SCALE, say("Scale"))
    return holding_screen.screen(holding.Holding.of(scale), say)


# 2


def follow(say: Language, frame) -> Screen:
    with st.container(horizontal=True):
        with st.container(width=170):
            model = studied(say, frame)
        with st.container(width=90):
            layer = layer_box(say, model.outline)
        with st.container(width=110):
            kept("channel")
            width = model.outline.widths[0]
            if STATE.get("channel", 0) >= width:
                STATE.channel = width - 1
            channel = keep("channel", st.number_input(
                say("Channel"), 0, width - 1, 0, key="channel", bind="query-params"))  # fmt: skip
    conv = loading.quantized_conv(model.source, layer, frame.show)
    last = conv.x_q.shape[2] - 1
    kept("position")
    position = keep("position", st.slider(
        say("Position in the text"), 0, last, min(100, last), key="position",
        bind="query-params"))  # fmt: skip
    frame.write_context(model.source, int(position))
    alphas = (*PUBLISHED_ALPHAS, 1.0)
    kept("trace_alpha")
    alpha = st.segmented_control(
        say("Output scale by percentile α"), alphas,
        default=None if "trace_alpha" in STATE else alphas[0], required=True,
        format_func=format_alpha, key="trace_alpha", bind="query-params",
    )  # fmt: skip
    keep("trace_alpha", alpha)
    scale = loading.scale_report(model.source, layer, 0, ScaleRule("percentile", alpha)).x_out_scale
    found = tracing.trace(conv, 0, int(channel), int(position), scale)
    return tracing_screen.screen(found, say, model.source.checkpoint, layer)


# 3


def reshape(say: Language, _frame) -> Screen:
    spread = choice("spread", shapes.SPREADS, shapes.DEFAULT_SPREAD,
                    say("Spread of the convolution's output"))  # fmt: skip
    return shapes_screen.screen(shapes.reshape(spread), say)


STEPS: tuple[Callable[..., Screen], ...] = (hold, follow, reshape)
