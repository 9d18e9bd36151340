"""What scales cost a source's model: held-out text, the float model on it, and what was measured.

Settings are measured by ``dashboard.analysis``; here what is known of them stands for all users,
in memory and, with the command line's own measurements, on disk (``result_store``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import streamlit as st
from torch import Tensor

from dashboard.analysis import impact
from dashboard.analysis.budget import BudgetPlan, LayerOption, choose, options_of
from dashboard.analysis.impact import FloatRun, Impact, ImpactProgress
from dashboard.analysis.measurements import Measurements, Scales, Setting
from dashboard.analysis.measurements import measure_settings as run_settings
from dashboard.analysis.prediction import PlannedLayer
from dashboard.analysis.result_store import ResultStore, default_store
from dashboard.analysis.scale_choices import ScaleChoice, plan_choice
from dashboard.analysis.token_damage import TokenDamage, token_damage
from dashboard.calibration import (
    CalibrationText,
    Progress,
    decoder,
    whole_text,
)
from dashboard.pages import calibrating, loading, uploads
from dashboard.pages.shelves import shelf
from dashboard.pages.sources import Edition, Source, text_edition
from dashboard.rules.observers import ScaleRule

WINDOWS = 8  # of held-out text, where nobody says another number


@dataclass(frozen=True)
class HeldOutText:
    """The windows that settings are judged on: of another text, or of the calibration's own after
    the batches that were calibrated on (``name`` is empty)."""

    source: Source
    name: str
    windows: int
    edition: Edition = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "edition", text_edition(self.name) if self.name else ())

    @property
    def first(self) -> int:
        """The window to begin with, counted in windows."""
        return 0 if self.name else self.source.batches


def held_out_text(held_out: HeldOutText) -> CalibrationText:
    """Raises CalibrationError for a text that is too short, and for one that cannot be read;
    CheckpointError for a path that is not open."""
    source, name = held_out.source, held_out.name or held_out.source.text
    return shelf("text").get_or_make(
        held_out, lambda: loading.windows(source, name, held_out.windows, held_out.first)
    )


def has_float_run(held_out: HeldOutText) -> bool:
    """Whether the float model has run on the held-out text."""
    return shelf("float_run").get(held_out) is not None


def float_run(held_out: HeldOutText, on_window: Callable[[int], None]) -> FloatRun:
    """The float model on the held-out windows; stored, it is not run again."""
    kept, name = shelf("float_run"), held_out.source.checkpoint
    known = kept.get(held_out)
    if known is None:
        loaded, tokens = loading.language_model(name), held_out_text(held_out)
        with loaded.lock:
            known = impact.float_run(
                loading.checkpoint(name), loaded.network, tokens, on_window, _store(held_out)
            )
        kept.put(held_out, known)
    return known


@st.cache_resource
def result_store() -> ResultStore | None:
    """Where measurements are kept between visits; the command line's own."""
    return default_store()


def _store(held_out: HeldOutText) -> ResultStore | None:
    """What comes of a visitor's own text is not kept on the disk."""
    is_uploaded = held_out.source.is_uploaded or uploads.is_upload(held_out.name)
    return None if is_uploaded else result_store()


def planned(source: Source, choice: ScaleChoice) -> dict[int, PlannedLayer]:
    """Every layer's scales as they were chosen, and what they are predicted to cost."""
    return shelf("planned").get_or_make(
        (source, choice, calibrating.has_gradients(source)),
        lambda: plan_choice(
            loading.checkpoint(source.checkpoint),
            calibrating.calibration(source, lambda _: None),
            choice,
        ),
    )


def measurements(
    held_out: HeldOutText, run: FloatRun, mode: str, source: Source | None = None
) -> Measurements:
    """What is known, and can be asked, of settings on a held-out text.

    Args:
        source: of the scales, of the same checkpoint; None is the held-out text's own.
    """
    kept, counted = shelf("impact"), source or held_out.source

    def known(key: str) -> Impact | None:
        measured = kept.get(key)
        if measured is None:
            measured = impact.stored_impact(run, key, _store(held_out))
            if measured is not None:
                kept.put(key, measured)
        return measured

    return Measurements(run, mode, lambda scales: _scales(counted, scales), known)


def _scales(source: Source, scales: Scales) -> Mapping[int, PlannedLayer]:
    if isinstance(scales, BudgetPlan):
        return {o.layer: PlannedLayer(o.quantization, o.predicted_nats) for o in scales.options}
    return planned(source, scales)


def measure_settings(
    held_out: HeldOutText,
    asked: Measurements,
    settings: Sequence[Setting],
    already: tuple[int, float],
    seconds: float,
    on_progress: Callable[[ImpactProgress], None],
) -> None:
    """``measurements.measure_settings``, each result known as soon as it is there."""
    name = held_out.source.checkpoint
    loaded = loading.language_model(name)
    with loaded.lock:
        for key, measured in run_settings(
            loading.checkpoint(name),
            loaded.network,
            asked,
            settings,
            already,
            seconds,
            _store(held_out),
            on_progress,
        ):
            shelf("impact").put(key, measured)


def budget_plan(
    source: Source,
    kinds: Sequence[str],
    budget_nats: float,
    on_progress: Callable[[Progress], None],
) -> BudgetPlan:
    """The cheapest scales that are predicted to keep to a budget; arguments as below."""
    return shelf("options").get_or_make(
        (source, tuple(kinds), budget_nats),
        lambda: choose(budget_options(source, kinds, on_progress), budget_nats),
    )


def budget_options(
    source: Source, kinds: Sequence[str], on_progress: Callable[[Progress], None]
) -> dict[int, tuple[LayerOption, ...]]:
    """The ways in which each layer can be quantized, each with its predicted cost.

    Args:
        kinds: of ``budget.KINDS``; groups and channels where ``calibrating.gradients_fit``.
    """

    def make() -> dict[int, tuple[LayerOption, ...]]:
        counted = calibrating.counted_gradients(source, on_progress)
        if FINER_KINDS.intersection(kinds):
            counted = replace(
                counted, captures=calibrating.captures_with_gradients(source, on_progress)
            )
        return options_of(loading.checkpoint(source.checkpoint), counted, kinds)

    return shelf("options").get_or_make((source, tuple(kinds)), make)


FINER_KINDS = {"groups", "channels"}  # which need conv inputs


def damage(
    held_out: HeldOutText, mode: str, ids: Tensor, rule: ScaleRule, layers: Sequence[int]
) -> tuple[TokenDamage, ...]:
    """A text's tokens under the float model and under a rule in some layers."""
    name = held_out.source.checkpoint

    def make() -> tuple[TokenDamage, ...]:
        loaded = loading.language_model(name)
        scales = planned(held_out.source, rule)
        with loaded.lock:
            return token_damage(
                loading.checkpoint(name),
                loaded.network,
                ids,
                [scales[layer].quantization for layer in layers],
                decoder(loading.checkpoint(name), loading.tokenizer(held_out.source)),
                mode,
            )

    key = (held_out.source, mode, tuple(ids.tolist()), rule, tuple(layers))
    return shelf("damage").get_or_make(key, make)


def sentence(source: Source, words: str) -> CalibrationText:
    """A text that a visitor typed, as tokens: one window of all of it.

    Raises CalibrationError for less than two tokens, CheckpointError without a tokenizer.
    """
    known, tokenizer = loading.checkpoint(source.checkpoint), loading.tokenizer(source)
    return whole_text(known, words, LONGEST_SENTENCE, tokenizer)


LONGEST_SENTENCE = 512  # tokens


def forward_seconds(held_out: HeldOutText) -> float:
    """How long the float model takes for one window, timed once."""

    def make() -> float:
        loaded, known = loading.language_model(held_out.source.checkpoint), held_out_text(held_out)
        with loaded.lock:
            begun = time.perf_counter()
            impact.window_logits(
                loading.checkpoint(held_out.source.checkpoint), loaded.network, known.tokens[0]
            )
            return time.perf_counter() - begun

    key = held_out.source.checkpoint, held_out.source.edition, held_out.source.seq_len
    return shelf("pace").get_or_make(key, make)
