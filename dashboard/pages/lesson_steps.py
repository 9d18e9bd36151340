"""The lesson's steps as a reader meets them: each draws its controls and returns its screen."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import streamlit as st

from dashboard.analysis.report import format_alpha
from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    CalibrationError,
)
from dashboard.checkpoints import sample_names
from dashboard.lesson import grouped, holding, outliers, shapes, toy, tracing
from dashboard.lesson.screens import Screen
from dashboard.lesson.screens import choosing as choosing_screen
from dashboard.lesson.screens import grouped as grouped_screen
from dashboard.lesson.screens import holding as holding_screen
from dashboard.lesson.screens import layers as layers_screen
from dashboard.lesson.screens import outliers as outliers_screen
from dashboard.lesson.screens import ratios as ratios_screen
from dashboard.lesson.screens import shapes as shapes_screen
from dashboard.lesson.screens import toy as toy_screen
from dashboard.lesson.screens import tracing as tracing_screen
from dashboard.lesson.trained import MOST_LAYERS, Chosen, Trained, TrainedLayer, guessed
from dashboard.pages import loading, waiting
from dashboard.pages.refusing import refusals
from dashboard.pages.remembering import STATE, keep, kept, one_of, switched, whole
from dashboard.pages.speaking import named
from dashboard.pages.waiting import Frame
from dashboard.rules.observers import DEFAULT_ALPHA, PUBLISHED_ALPHAS, ScaleRule, alpha_grid
from dashboard.rules.published import OUTLIERS, TOY
from dashboard.text.language import Language
from dashboard.text.numbers import percent

DEFAULT_MODEL = "mamba2-small"
DEFAULT_CHANNEL, DEFAULT_POSITION = 33, 112  # a large value, within a word
DEFAULT_GUESS = 100


def choice(
    key: str,
    options: tuple[float, ...],
    default: float,
    label: str,
    format_func: Callable[[float], str] = str,
) -> float:
    """A slider over given values, kept in the link and while another step is on show."""
    read = one_of(options, format_func)
    if kept(key, read) is not None and STATE[key] not in options:
        STATE[key] = min(options, key=lambda option: abs(option - STATE[key]))
    value = st.select_slider(label, options, default, format_func, key)
    return keep(key, value, default)


def studied(say: Language, frame: Frame) -> Studied:
    """The box that chooses the model, and the model calibrated."""
    kept("checkpoint")
    name = st.selectbox(
        say("Checkpoint"),
        sample_names(),
        sample_names().index(DEFAULT_MODEL),
        key="checkpoint",
        accept_new_options=True,
    )
    return prepare(frame, source_of(keep("checkpoint", name) or DEFAULT_MODEL))


@dataclass(frozen=True)
class Studied:
    """A model that is calibrated and ready to be looked at."""

    source: loading.Source
    outline: loading.Outline


def prepare(frame: Frame, source: loading.Source) -> Studied:
    """A source, calibrated; one that cannot be used ends the run with a sentence."""
    with refusals(frame):
        outline = loading.outline(source)
        for layer in waiting.calibrated(frame, outline.source).layers:
            if layer.slices[0].silu_output.absmax == 0:
                raise CalibrationError(
                    "layer {layer} of {checkpoint} gives nothing but zeros, so there is "
                    "nothing to learn from it; choose another checkpoint",
                    layer=layer.layer,
                    checkpoint=source.checkpoint,
                )
    return Studied(outline.source, outline)


def write_context(source: loading.Source, position: int) -> None:
    """The text around a position, where the model reads bytes."""
    if source.from_file or not loading.checkpoint(source.checkpoint).reads_bytes:
        return
    read = bytes(loading.text(source).tokens[0].tolist())
    before, here, after = (
        html.escape(part.decode("utf-8", "replace").replace("\n", "⏎"))
        for part in (read[max(0, position - 24) : position], read[position : position + 1],
                     read[position + 1 : position + 25])
    )  # fmt: skip
    st.html(f'<div class="context">{before}<mark>{here}</mark>{after}</div>')


def source_of(checkpoint: str) -> loading.Source:
    """A checkpoint on the default text, or a calibration file as it is."""
    if loading.is_calibration_file(checkpoint):
        return loading.Source(checkpoint, "", 0, 0)
    return loading.Source(checkpoint, DEFAULT_TEXT, DEFAULT_BATCHES, DEFAULT_SEQ_LEN)


def layer_box(say: Language, outline: loading.Outline) -> int:
    if kept("layer", int) is not None and STATE.layer not in outline.layers:
        STATE.layer = outline.layers[0]
    return keep("layer", st.selectbox(say("Layer"), outline.layers, key="layer"))  # fmt: skip


def trained(model: Studied) -> Trained:
    """The x slice of the model's first layers, every α tried."""
    layers = model.outline.layers[:MOST_LAYERS]
    counted = loading.calibration(model.source, lambda _: None)
    return Trained(model.source.checkpoint, tuple(
        TrainedLayer(each, counted.layer(each).slices[0], loading.landscape(model.source, each, 0))
        for each in layers
    ), loading.recommendation(model.source))  # fmt: skip


def trained_with_layer(say: Language, frame: Frame) -> tuple[Trained, int]:
    with st.container(horizontal=True):
        with st.container(width=200):
            found = trained(studied(say, frame))
        with st.container(width=100):
            layers = [each.layer for each in found.layers]
            if kept("layer", int) is not None and STATE.layer not in layers:
                STATE.layer = layers[0]
            layer = st.selectbox(say("Layer"), layers, key="layer")
    return found, keep("layer", layer)


def scaled_by(source: loading.Source, layer: int, alpha: float) -> float:
    """The x slice's scale by a percentile."""
    return loading.scale_report(source, layer, 0, ScaleRule("percentile", alpha)).x_out_scale


def _grid(found: Trained, layer: int) -> tuple[float, ...]:
    """The slider's α, the layer's best among them."""
    if layer not in [each.layer for each in found.layers]:
        return found.grid
    best = found.layer(layer).landscape.best_alpha
    return alpha_grid(found.layers[0].silu_output.total, [best])


@st.cache_resource(max_entries=32, show_spinner=False)
def groups_of(source: loading.Source, layer: int) -> grouped.Groups:
    """The layer's channels in (4, 4) groups, which no control of the step changes."""
    head_dim = loading.checkpoint(source.checkpoint).architecture.head_dim
    return grouped.group(loading.channels(source, layer, 0), head_dim)


# 1


def hold(say: Language, _frame: Frame) -> Screen:
    scale = choice("held_scale", holding.SCALES, holding.DEFAULT_SCALE, say("Scale"))
    return holding_screen.screen(holding.Holding.of(scale), say)


# 2


def _nothing_to_follow(say: Language) -> str:
    return say("A calibration file has no activations to follow. Choose a checkpoint.")


def follow(say: Language, frame: Frame) -> Screen:
    with st.container(horizontal=True):
        with st.container(width=170):
            model = studied(say, frame)
        with st.container(width=90):
            layer = layer_box(say, model.outline)
        with st.container(width=110):
            width = model.outline.widths[0] if model.outline.widths else 1
            if (kept("channel", whole(0, width - 1)) or 0) >= width:
                STATE.channel = width - 1
            channel = st.number_input(
                say("Channel"),
                0,
                width - 1,
                min(DEFAULT_CHANNEL, width - 1),
                key="channel",
            )
            keep("channel", channel)
    if model.source.from_file:
        frame.refuse(_nothing_to_follow(say))
    with refusals(frame):
        conv = loading.quantized_conv(model.source, layer, frame.show)
    last = conv.x_q.shape[2] - 1
    if (kept("position", whole(0, last)) or 0) > last:
        STATE.position = last
    position = keep("position", st.slider(
        say("Position in the text"), 0, last, min(DEFAULT_POSITION, last),
        key="position"))  # fmt: skip
    alphas = (*PUBLISHED_ALPHAS, 1.0)
    alpha = named("trace_alpha", alphas, alphas[0], say("Output scale by percentile α"),
                     format_func=format_alpha)  # fmt: skip
    write_context(model.source, int(position))
    scale = scaled_by(model.source, layer, alpha)
    found = tracing.trace(conv, 0, int(channel), int(position), scale)
    return tracing_screen.screen(found, say, model.source.checkpoint, layer)


# 3


def reshape(say: Language, _frame: Frame) -> Screen:
    spread = choice("spread", shapes.SPREADS, shapes.DEFAULT_SPREAD,
                    say("Spread of the convolution's output"))  # fmt: skip
    return shapes_screen.screen(shapes.reshape(spread), say)


# 4


def replay(say: Language, _frame: Frame) -> Screen:
    names = {
        "step": say("step {step}", step=TOY.step),
        "six": say("the six listed"),
        "fine": say("evenly spread"),
    }
    points = named("points", tuple(names), "step", say("Convolution outputs"),
                      format_func=names.__getitem__)  # fmt: skip
    scale = choice("toy_scale", toy.SCALES, TOY.straightforward.scale, say("Scale"))
    return toy_screen.screen(scale, points, say)


# 5


def strew(say: Language, _frame: Frame) -> Screen:
    share = choice("outlier_share", outliers.SHARES, OUTLIERS.outlier_share,
                   say("Share of outliers"), format_func=percent)  # fmt: skip
    size = choice("outlier_size", outliers.SIZES, OUTLIERS.outlier, say("Where they lie"))
    return outliers_screen.screen(outliers.outlying(size, share), say)


# 6


def compare(say: Language, frame: Frame) -> Screen:
    found, layer = trained_with_layer(say, frame)
    grid = _grid(found, layer)
    alpha = choice("lesson_alpha", grid, DEFAULT_ALPHA, say("Percentile α"),
                   format_func=format_alpha)  # fmt: skip
    return layers_screen.screen(found, layer, alpha, say)


# 7


def predict(say: Language, frame: Frame) -> Screen:
    model = studied(say, frame)
    found = trained(model)
    last = found.layers[-1]
    guess = choice("guess", tuple(range(10, 301, 2)), DEFAULT_GUESS,
                   say("Your guess for layer {layer}", layer=last.layer))  # fmt: skip
    kept("shown", switched)
    shown = keep("shown", st.toggle(say("Show the answer"), key="shown"), False)
    return ratios_screen.screen(found, guessed(last, float(guess)), shown, say)


# 8


def _nothing_to_group(say: Language) -> str:
    return say("A calibration file has no channels to group. Choose a checkpoint.")


def part(say: Language, frame: Frame) -> Screen:
    with st.container(horizontal=True):
        with st.container(width=200):
            model = studied(say, frame)
        with st.container(width=100):
            layer = layer_box(say, model.outline)
    if model.source.from_file:
        frame.refuse(_nothing_to_group(say))
    with refusals(frame):
        parts = groups_of(model.source, layer)
    grid = _grid(trained(model), layer)
    alpha = choice("lesson_alpha", grid, DEFAULT_ALPHA, say("Percentile α"),
                   format_func=format_alpha)  # fmt: skip
    made = grouped.scaled(parts, alpha)
    return grouped_screen.screen(parts, made, model.source.checkpoint, layer, say)


# 9


def decide(say: Language, frame: Frame) -> Screen:
    model = studied(say, frame)
    found = trained(model)
    alphas = []
    with st.container(horizontal=True, key="choices"):
        for each in found.layers:
            grid = found.grid
            with st.container(width=180):
                alphas.append(choice(
                    f"alpha_{each.layer}", grid, DEFAULT_ALPHA,
                    say("Layer {layer}", layer=each.layer), format_func=format_alpha,
                ))  # fmt: skip
    return choosing_screen.screen(Chosen(found, tuple(alphas)), say)


# On paper


def _tried(found: Trained, alpha: float) -> float:
    """An α set for another model may leave out less than one of this one's values."""
    if all(alpha in each.landscape.alphas for each in found.layers):
        return alpha
    return min(found.grid, key=lambda offered: abs(offered - alpha))


def printed(say: Language, source: loading.Source, settings: Mapping) -> list[Screen | str]:
    """Every step's screen as the reader last set it, or as it comes; or why it cannot be shown.

    Args:
        settings: what ``keep`` noted, by key. The page's state cannot be read here: a download is
            made outside a page's run.
    """

    def silent(_: object) -> None:
        """No page to show progress on."""

    held = settings.get
    outline = loading.outline(source)
    model = Studied(outline.source, outline)
    loading.calibration(model.source, silent)
    found = trained(model)
    layer = held("layer", found.layers[0].layer)
    if layer not in [each.layer for each in found.layers]:
        layer = found.layers[0].layer
    alpha = _tried(found, held("lesson_alpha", DEFAULT_ALPHA))
    last = found.layers[-1]
    scale = scaled_by(model.source, layer, held("trace_alpha", PUBLISHED_ALPHAS[0]))
    screens: list[Screen | str] = [holding_screen.screen(
        holding.Holding.of(held("held_scale", holding.DEFAULT_SCALE)), say)]  # fmt: skip
    if model.source.from_file:
        screens.append(_nothing_to_follow(say))
    else:
        conv = loading.quantized_conv(model.source, layer, silent)
        _, channels, length = conv.x_q.shape
        value = tracing.trace(
            conv, 0, min(int(held("channel", DEFAULT_CHANNEL)), channels - 1),
            min(int(held("position", DEFAULT_POSITION)), length - 1), scale,
        )  # fmt: skip
        screens.append(tracing_screen.screen(value, say, model.source.checkpoint, layer))
    screens += [
        shapes_screen.screen(shapes.reshape(held("spread", shapes.DEFAULT_SPREAD)), say),
        toy_screen.screen(held("toy_scale", TOY.straightforward.scale),
                          held("points", "step"), say),
        outliers_screen.screen(outliers.outlying(
            held("outlier_size", OUTLIERS.outlier),
            held("outlier_share", OUTLIERS.outlier_share)), say),
        layers_screen.screen(found, layer, alpha, say),
        ratios_screen.screen(found, guessed(last, float(held("guess", DEFAULT_GUESS))),
                             held("shown", False), say),
    ]  # fmt: skip
    if model.source.from_file:
        screens.append(_nothing_to_group(say))
    else:
        try:
            parts = groups_of(model.source, layer)
        except ValueError as error:
            screens.append(str(error))
        else:
            screens.append(grouped_screen.screen(
                parts, grouped.scaled(parts, alpha), model.source.checkpoint, layer,
                say))  # fmt: skip
    alphas = tuple(
        _tried(found, held(f"alpha_{each.layer}", DEFAULT_ALPHA)) for each in found.layers
    )
    screens.append(choosing_screen.screen(Chosen(found, alphas), say))
    return screens


STEPS: tuple[Callable[..., Screen], ...] = (
    hold, follow, reshape, replay, strew, compare, predict, part, decide,
)  # fmt: skip
