"""The bar: what every page is about, chosen in one place and kept from page to page.

Checkpoint and calibration, layer and slice, scale rule and α stand in the same order on every page.
A part that a page has no use for stays where it is, switched off, and its help says why. All of it
is in the link: see ``remembering``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import streamlit as st

from dashboard.analysis.report import format_alpha
from dashboard.calibration import Calibration, SliceCalibration
from dashboard.messages import Message
from dashboard.pages import calibrating, outlining, registry, studies, waiting
from dashboard.pages.refusing import refusals
from dashboard.pages.remembering import STATE, keep, kept, one_of, switched, take_link
from dashboard.pages.source_boxes import calibration_box, checkpoint_box, say_origin
from dashboard.pages.sources import Source
from dashboard.pages.waiting import Frame
from dashboard.refusals import Refusal
from dashboard.rules.landscape import Measure
from dashboard.rules.observers import (
    ALPHA_RULES,
    ASYMMETRIC_RULES,
    DEFAULT_ALPHA,
    DEFAULT_RULE,
    REGISTERED,
    RULES,
    SYMMETRIC_RULES,
    ScaleRule,
    alpha_grid,
)
from dashboard.text import captions
from dashboard.text.language import Language

COMPANION = "minmax"  # of the first visit
FIRST_BATCH = Message(
    "Calibrating: batch {batch} of {batches}, layer {layer}; the charts show the first batch"
)


@dataclass(frozen=True)
class Choice:
    """What the bar says.

    While a page shows the first batch and the rest is still to be counted, ``shown`` is the source
    cut down to that batch; else it is ``source``.
    """

    source: Source
    shown: Source
    outline: outlining.Outline
    layer: int  # by the model's own number
    slice_index: int  # in outline.slices
    rule: ScaleRule
    alphas: tuple[float, ...]  # what the slider offers; empty where nothing is calibrated

    @property
    def slice_name(self) -> str:
        """ "x", "B" or "C"."""
        return self.outline.slices[self.slice_index]

    @property
    def complete(self) -> bool:
        """Whether all batches are counted."""
        return self.shown == self.source

    @property
    def calibration(self) -> Calibration:
        """Every layer's histograms; of a checkpoint that is quantized already there are none."""
        return calibrating.calibration(self.shown, lambda _: None)

    @property
    def counted(self) -> SliceCalibration:
        """The histograms of the slice on show."""
        return self.calibration.layer(self.layer).slices[self.slice_index]


def choose(
    frame: Frame,
    rules: Sequence[str] = RULES,
    without: Mapping[str, str] | None = None,
    stored: bool = False,
    preview: bool = False,
    gradients: bool = False,
) -> Choice:
    """Draw the bar, and calibrate what it says.

    A source that cannot be used is refused in a sentence, and ends the run.

    Args:
        rules: those that the page has room for; another gives way to the default.
        without: parts that the page has no use for ("layer", "slice", "rule", "alpha",
            "asymmetric"), each with the reason, in the reader's language.
        stored: whether the page has something to say of a checkpoint that is quantized already.
        preview: whether one batch is enough to begin with.
        gradients: whether the page needs the gradients of the loss.
    """
    say, reasons = frame.say, dict(without or {})
    with frame.bar:
        name = checkpoint_box(say)
        source = calibration_box(name, say)
    waiting.fetched(frame, source.checkpoint)
    with refusals(frame):
        outline = outlining.outline(source)
    if source.from_file:
        with frame.bar:
            say_origin(outline.source, say)
    if outline.stored:
        if not stored:
            _lead_to_stored(frame)
        reason = say("This checkpoint is quantized already: its scales are stored.")
        reasons = {control: reason for control in ("rule", "alpha", "asymmetric")} | reasons
    with frame.bar:
        layer = layer_box(outline.layers, say, reasons.get("layer", ""))
        index = _slice_box(outline, say, reasons.get("slice", ""))
        observer = _rule_box(rules, say, reasons.get("rule", ""))
        symmetric = _asymmetric_toggle(observer, rules, say, reasons.get("asymmetric", ""))
    source = shown = outline.source
    alpha = kept_alpha() or DEFAULT_ALPHA
    alphas: tuple[float, ...] = ()
    if not outline.stored:
        if preview and not calibrating.is_calibrated(source):
            shown = source.first_batch()
        waiting.calibrated(frame, shown, gradients)
        _say_whence(frame, shown)
        if observer not in ALPHA_RULES:
            reasons.setdefault("alpha", say("The rule on show has no α."))
        alphas = _alphas(source, shown, outline, layer, index, symmetric)
        with frame.alpha:
            alpha = _alpha_slider(alphas, say, reasons.get("alpha", ""))
    rule = ScaleRule(observer, alpha, symmetric=symmetric)
    return Choice(source, shown, outline, layer, index, rule, alphas)


def count_the_rest(choice: Choice, frame: Frame) -> None:
    """Count the batches that are not on show yet, unless that was stopped; ends the run."""
    say = frame.say
    if STATE.get("stopped") == choice.source:
        frame.progress.info(
            say(
                "Stopped. The charts show the first of {count} batches.",
                count=choice.source.batches,
            ),
            icon=":material/pause_circle:",
        )
        frame.stop.button(say("Calibrate"), key="resume", on_click=lambda: STATE.pop("stopped"))
        st.stop()

    def stop() -> None:
        STATE.stopped = choice.source
        calibrating.stop(choice.source)

    frame.stop.button(say("Stop calibrating"), key="stop", on_click=stop)
    with refusals(frame):
        calibrating.calibration(choice.source, replace(frame, calibrating=FIRST_BATCH).show)
    st.rerun()


def _say_whence(frame: Frame, shown: Source) -> None:
    """In the heading: whether what is on show was counted now, or kept from an earlier time."""
    whence = calibrating.whence(shown)
    words = captions.whence_words(whence.how, whence.day, frame.say)
    if words:
        frame.status.caption(words, help=captions.whence_help(whence.how, frame.say))


def _lead_to_stored(frame: Frame) -> None:
    """Of a quantized checkpoint: that there is nothing to calibrate, and where its scales are."""
    frame.progress.info(frame.say(captions.NO_FLOAT_WEIGHTS), icon=":material/info:")
    registry.link("layers", frame.say("Its layers"))
    registry.link("groups", frame.say("Its groups"))
    st.stop()


def layer_box(layers: Sequence[int], say: Language, reason: str = "") -> int:
    """The layer, by the model's own number; ``reason``: why the page has no use for it."""
    kept("layer", int)
    if STATE.get("layer", layers[0]) not in layers:
        STATE.layer = layers[0]
    layer = st.selectbox(
        say("Layer"), layers, key="layer", width=90, disabled=bool(reason), help=reason or None
    )
    return keep("layer", layer)


def _slice_box(outline: outlining.Outline, say: Language, reason: str) -> int:
    if len(outline.slices) == 1:
        return 0
    kept("slice", one_of(outline.slices))
    name = st.segmented_control(
        say("Slice"),
        outline.slices,
        default=outline.slices[0],
        key="slice",
        required=True,
        disabled=bool(reason),
        help=reason
        or say("The convolution of Mamba-2 runs over x, B and C, each with its own scales."),
    )
    index = outline.slices.index(keep("slice", name, outline.slices[0]))
    return 0 if reason else index


def _rule_box(rules: Sequence[str], say: Language, reason: str) -> str:
    if kept("rule", one_of(RULES)) not in (None, *rules):
        STATE.rule = DEFAULT_RULE
    observer = st.selectbox(
        say("Scale rule"),
        list(rules),
        key="rule",
        width=170,
        disabled=bool(reason),
        help=reason or rules_help(rules, say),
    )
    return keep("rule", observer, DEFAULT_RULE)


def _asymmetric_toggle(observer: str, rules: Sequence[str], say: Language, reason: str) -> bool:
    """Whether the scales on show are symmetric."""
    kept("asymmetric", switched)
    if not reason and not set(rules) - set(SYMMETRIC_RULES):
        reason = say("Scales on this page are symmetric; Explore and Layers have asymmetric ones.")
    if not reason and observer not in SYMMETRIC_RULES:
        st.toggle(
            say("asymmetric"),
            True,
            key="only_asymmetric",
            disabled=True,
            help=say("The rule on show has no symmetric scale."),
        )
        return False
    if not reason and observer not in ASYMMETRIC_RULES:
        reason = say("The rule on show has no asymmetric scale.")
    asymmetric = st.toggle(
        say("asymmetric"),
        key="asymmetric",
        disabled=bool(reason),
        help=reason
        or say(
            "256 codes from the least value to the greatest: what the stranded codes would buy."
        ),
    )
    return not keep("asymmetric", asymmetric, False) or bool(reason)


def _alphas(
    source: Source,
    shown: Source,
    outline: outlining.Outline,
    layer: int,
    index: int,
    symmetric: bool,
) -> tuple[float, ...]:
    """What the slider offers: each α that leaves out at least one of the slice's values.

    The best α of the slice and the one that a link asked for are on it exactly.
    """
    take_link()
    kept_alpha()
    counted = calibrating.calibration(shown, lambda _: None).layer(layer).slices[index]
    measures: list[Measure] = ["sqnr_db"]
    if counted.gradients is not None:
        measures.append("predicted_nats")
    bests = [studies.landscape(shown, layer, index, symmetric, by).best_alpha for by in measures]
    total = counted.silu_output.total * (1 if shown == source else source.batches)
    return alpha_grid(total, [alpha for alpha in (*bests, STATE.get("asked_alpha")) if alpha])


def _alpha_slider(alphas: tuple[float, ...], say: Language, reason: str) -> float:
    wanted = kept_alpha() or DEFAULT_ALPHA
    if wanted not in alphas:
        wanted = min(alphas, key=lambda alpha: abs(alpha - wanted))
    if STATE.get("alpha") != wanted and (wanted != DEFAULT_ALPHA or "alpha" in STATE):
        STATE.alpha = wanted
    alpha = st.select_slider(
        say("Percentile α"),
        alphas,
        DEFAULT_ALPHA if DEFAULT_ALPHA in alphas else wanted,
        format_func=format_alpha,
        key="alpha",
        disabled=bool(reason),
        help=reason
        or say("Code 127 stands for the α-quantile of |y|. Used by the percentile rules alone."),
    )
    return keep("alpha", alpha, DEFAULT_ALPHA)


def kept_alpha() -> float | None:
    """The α that was chosen or that the link asks for, if any."""
    take_link()
    asked = "alpha" in STATE.asked
    alpha = kept("alpha", read_alpha)
    if asked:
        STATE.asked_alpha = alpha
    return alpha


def read_alpha(text: str) -> float:
    """An α as a link or a box has it; raises Refusal for anything else."""
    try:
        alpha = float(text)
    except ValueError:
        alpha = 0.0
    if not 0.0 < alpha <= 1.0:
        raise Refusal("α is {given}; give a number with 0 < α <= 1", given=repr(text))
    return alpha


def companion(rule: ScaleRule, say: Language) -> ScaleRule:
    """A box for another rule, to be shown beside the one on show, at the same α."""
    kept("beside", one_of(SYMMETRIC_RULES))
    beside = st.selectbox(
        say("Beside it"),
        list(SYMMETRIC_RULES),
        index=SYMMETRIC_RULES.index(COMPANION),
        key="beside",
        width=150,
        help=say(
            "Another rule, at the same α: its numbers stand under the metrics, its cut is dotted."
        ),
    )
    return ScaleRule(keep("beside", beside, COMPANION), rule.alpha)


def use(rule: ScaleRule) -> None:
    """Put a rule into the bar: it, its α, and whether it is asymmetric. For a press or a click."""
    STATE.rule, STATE.asymmetric = rule.observer, not rule.symmetric
    if rule.observer in ALPHA_RULES:
        STATE.alpha = rule.alpha


def rules_help(rules: Sequence[str], say: Language) -> str:
    """What each rule does, as Markdown, a line a rule."""
    return "\n".join(f"- {name}: {say(REGISTERED[name].help)}" for name in rules)
