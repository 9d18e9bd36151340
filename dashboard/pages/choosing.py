"""The controls that every page has: what to calibrate on what, and which slice of it to show.

A choice outlives the page that it was made on, and is in the link: see ``remembering``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import streamlit as st

from dashboard.analysis.report import format_alpha
from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    Calibration,
    Progress,
    SliceCalibration,
    text_names,
)
from dashboard.checkpoints import quantized_sample_names, sample_names
from dashboard.pages import loading
from dashboard.pages.refusing import plain, refusals, refuse
from dashboard.pages.remembering import (
    STATE,
    keep,
    kept,
    one_of,
    switched,
    take_link,
    whole,
)
from dashboard.rules.observers import (
    ASYMMETRIC_RULES,
    DEFAULT_ALPHA,
    DEFAULT_RULE,
    REGISTERED,
    RULES,
    SYMMETRIC_RULES,
    alpha_grid,
)
from dashboard.text import captions

MOST_BATCHES, MOST_TOKENS = 1024, 8192
PROGRESS_SECONDS = 0.1  # between two updates of the bar: each costs the browser as much as a layer

STYLE = """<style>
div:has(> .st-key-hero){min-width:min(600px,100%)}
.st-key-counts,div:has(> .st-key-status){margin-left:auto}
@media(max-width:1100px){div:has(> .st-key-choice){width:100%;flex:1 1 100%}
.st-key-choice{width:100%}.st-key-metrics > div{flex:0 0 31%}}
</style>"""


@dataclass(frozen=True)
class Choice:
    """What is on show: a source, one of its layers, one of the layer's slices."""

    source: loading.Source
    outline: loading.Outline
    layer: int
    part: int  # index in outline.slices

    @property
    def part_name(self) -> str:
        return self.outline.slices[self.part]

    def of(self, calibration: Calibration) -> SliceCalibration:
        return calibration.layer(self.layer).slices[self.part]


@dataclass(frozen=True)
class Frame:
    """Where a page reports: kernel status on top, progress and faults under the controls."""

    status: Any
    progress: Any
    stop: Any
    note: str = ""  # what the page shows while a calibration runs
    subject: str = ""  # which of several calibrations it is

    def refuse(self, error: ValueError | str) -> NoReturn:
        """One sentence about what cannot be used; the controls above stay."""
        refuse(self.progress, str(error))

    def show(self, progress: Progress) -> None:
        """Update the bar. A press on a button in the meantime ends the run here."""
        now = time.monotonic()
        if now - STATE.get("progress_shown_at", 0.0) >= PROGRESS_SECONDS:
            STATE.progress_shown_at = now
            note = self.note if progress.batches > 1 else ""
            self.progress.progress(progress.share, f"Calibrating{self.subject}: {progress}{note}")


def heading() -> Any:
    """The page's head; the place in it for what the live kernel reports."""
    st.html(STYLE)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("# Scalescope", width="content")
        return st.container(key="status", width="content")


def choose(
    own: Callable[[], None] = lambda: None,
    layers: bool = True,
    slices: bool = True,
    stored: bool = False,
) -> tuple[Choice, Frame]:
    """Draw the heading and the controls; a page's ``own`` stand between layer and slice.

    Args:
        layers, slices: whether the page shows one of them; else it is the first.
        stored: whether the page has something to say of a checkpoint that is quantized already.

    A source that cannot be used is told in a sentence, and ends the run.
    """
    status = heading()
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls"):
        kept("checkpoint")
        name = st.selectbox(
            "Checkpoint",
            [*sample_names(), *quantized_sample_names()],
            key="checkpoint",
            width=250,
            accept_new_options=True,
            help="A sample, or type a directory, a Hub id (owner/name) or a calibration file.",
        )
        layer_slot = st.container(width=110)
        own()
        slice_slot = st.container(width="content")
        source = _calibration_box(keep("checkpoint", name) or sample_names()[0])
    with st.container(horizontal=True, vertical_alignment="center"):
        frame = Frame(status, st.empty(), st.empty())
    with refusals(frame):
        outline = loading.outline(source)
    if outline.stored and not stored:
        frame.progress.info(captions.NO_FLOAT_WEIGHTS, icon=":material/info:")
        st.page_link("dashboard/pages/layers.py", label="Its layers")
        st.page_link("dashboard/pages/groups.py", label="Its groups")
        st.stop()
    source = outline.source
    layer = _layer_box(layer_slot, outline) if layers else outline.layers[0]
    part = _slice_box(slice_slot, outline) if slices else 0
    return Choice(source, outline, layer, part), frame


def tell_symmetric() -> None:
    """On a page of symmetric scales: that it has no asymmetric ones, where others show them."""
    if kept("asymmetric", switched):
        st.caption(captions.SYMMETRIC_HERE)


def _calibration_box(name: str) -> loading.Source:
    if loading.is_calibration_file(name):
        st.markdown("calibration file: its text and batches", width="content")
        return loading.Source(name, "", 0, 0)
    kept("text")
    batches = kept("batches", whole(1, MOST_BATCHES)) or DEFAULT_BATCHES
    seq_len = kept("seq_len", whole(1, MOST_TOKENS)) or DEFAULT_SEQ_LEN
    with st.popover(f"Calibration: {batches} × {seq_len} tokens", key="calibration"):
        text = st.selectbox(
            "Text",
            text_names(),
            key="text",
            accept_new_options=True,
            help="A text that comes with the project, or type the path of a UTF-8 file.",
        )
        batches = st.number_input("Batches", 1, MOST_BATCHES, DEFAULT_BATCHES, key="batches")
        seq_len = st.number_input("Tokens a batch", 1, MOST_TOKENS, DEFAULT_SEQ_LEN, key="seq_len")
    return loading.Source(
        name,
        keep("text", text, DEFAULT_TEXT) or DEFAULT_TEXT,
        int(keep("batches", batches, DEFAULT_BATCHES)),
        int(keep("seq_len", seq_len, DEFAULT_SEQ_LEN)),
    )


def _layer_box(slot: Any, outline: loading.Outline) -> int:
    kept("layer", int)
    if STATE.get("layer", outline.layers[0]) not in outline.layers:
        STATE.layer = outline.layers[0]
    with slot:
        layer = st.selectbox("Layer", outline.layers, key="layer")
    return keep("layer", layer)


def _slice_box(slot: Any, outline: loading.Outline) -> int:
    if len(outline.slices) == 1:
        return 0
    kept("slice", one_of(outline.slices))
    with slot:
        name = st.segmented_control(
            "Slice",
            outline.slices,
            default=outline.slices[0],
            key="slice",
            required=True,
            help="The convolution of Mamba-2 runs over x, B and C, each with its own scales.",
        )
    return outline.slices.index(keep("slice", name, outline.slices[0]))


def alpha_slider(total: int, best: float, **options: Any) -> tuple[float, tuple[float, ...]]:
    """The slider of α over ``alpha_grid(total)``: its value, and all that it offers.

    The best α of the slice and the one that a link asked for are on it exactly.
    """
    wanted = kept_alpha() or DEFAULT_ALPHA
    grid = alpha_grid(total, [alpha for alpha in (best, STATE.get("asked_alpha")) if alpha])
    if wanted not in grid:
        wanted = min(grid, key=lambda alpha: abs(alpha - wanted))
    if STATE.get("alpha") != wanted and (wanted != DEFAULT_ALPHA or "alpha" in STATE):
        STATE.alpha = wanted
    alpha = st.select_slider(
        "Percentile α",
        grid,
        DEFAULT_ALPHA if DEFAULT_ALPHA in grid else wanted,
        format_func=format_alpha,
        key="alpha",
        help="Code 127 stands for the α-quantile of |y|. Used by the percentile rules alone.",
        **options,
    )
    return keep("alpha", alpha, DEFAULT_ALPHA), grid


def kept_alpha() -> float | None:
    """The α that was chosen or that the link asks for, if any."""
    take_link()
    asked = "alpha" in STATE.asked
    alpha = kept("alpha", _share)
    if asked:
        STATE.asked_alpha = alpha
    return alpha


def _share(text: str) -> float:
    """An α as a link has it; raises ValueError for anything else."""
    alpha = float(text)
    if not 0.0 < alpha <= 1.0:
        raise ValueError(f"α is {text}; give a number with 0 < α <= 1")
    return alpha


def rule_box(asymmetric: bool = False) -> str:
    """The scale rule; ``asymmetric`` where a page has room for rules without a symmetric scale.

    Elsewhere the default takes the place of such a rule.
    """
    options = list(RULES if asymmetric else SYMMETRIC_RULES)
    if kept("rule", one_of(RULES)) not in (None, *options):
        STATE.rule = DEFAULT_RULE
    rule = st.selectbox("Scale rule", options, key="rule", width=170, help=rule_help(options))
    return keep("rule", rule, DEFAULT_RULE)


def rule_help(names: Iterable[str]) -> str:
    """What each rule does, a line a rule."""
    return "\n".join(f"- {name}: {REGISTERED[name].help}" for name in names)


def asymmetric_toggle(**options: Any) -> bool:
    """Whether 0 may have another code than 0, where the rule on show leaves the choice."""
    kept("asymmetric", switched)
    if STATE.rule not in SYMMETRIC_RULES:
        return st.toggle("asymmetric", True, key="only_asymmetric", disabled=True, **options)
    asymmetric = st.toggle(
        "asymmetric",
        key="asymmetric",
        disabled=STATE.rule not in ASYMMETRIC_RULES,
        **options,
    )
    return keep("asymmetric", asymmetric, False)


def symmetric() -> bool:
    """Whether the scales on show are: as the toggle says, where the rule leaves the choice."""
    if STATE.rule not in SYMMETRIC_RULES:
        return False
    return not (STATE.asymmetric and STATE.rule in ASYMMETRIC_RULES)


def calibrated(choice: Choice, frame: Frame, text: str | None = None) -> Calibration:
    """The choice's calibration, made now if need be; ``text`` in place of its own."""
    source = choice.source if text is None else replace(choice.source, text=text)
    with refusals(frame):
        if not loading.is_calibrated(source):
            frame.progress.progress(0.0, plain(f"Loading {source.checkpoint}"))
        found = loading.calibration(source, frame.show)
    frame.progress.empty()
    return found
