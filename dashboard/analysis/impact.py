"""A quantized model against the float one, on held-out text: what it costs, in nats, and how sure.

Three measures, each a mean over the tokens that have a next token in their window:

- ``kl_nats``: KL(float ‖ quantized) of the next-token distributions. Never negative, and small
  where the predictions hardly change: the measure to rank by.
- ``delta_nats``: the quantized model's loss less the float model's, on the text's own next tokens.
  It can be negative, and on a short text it is mostly luck.
- ``same_top``: the share of tokens whose most likely next token stays.

Both models see the same tokens, so they are compared token by token: a hard passage is hard for
both, and drops out of the difference. Tokens of one window depend on each other, and windows hardly
do. So each mean has the standard error of the windows' own means, and two settings are compared by
the windows' differences, again paired. A difference below ``ERRORS`` of its standard errors is
noise, and is called that.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from dashboard.analysis.prediction import PlannedLayer
from dashboard.analysis.quantized_forward import LayerQuantization, quantized_outputs
from dashboard.analysis.result_store import ResultStore
from dashboard.calibration import CalibrationError, CalibrationText
from dashboard.calibration.archive import fingerprint
from dashboard.calibration.faults import model_fault
from dashboard.calibration.forward import forward_of
from dashboard.checkpoints import Checkpoint, backbone_of
from dashboard.rules.observers import ScaleRule

ERRORS = 2.0  # standard errors below which a difference is noise: 95 % of what chance alone gives
KEPT_LOGITS = 2**30  # bytes of the float model's logits that are kept; else it runs again
CHUNK = 2**22  # logits that are widened to float64 at once


@dataclass(frozen=True)
class Estimate:
    """A mean over windows and its standard error; the error is None of a single window."""

    mean: float
    error: float | None

    @staticmethod
    def of(windows: np.ndarray) -> Estimate:
        """From each window's own mean, (W,)."""
        count = len(windows)
        error = float(np.std(windows, ddof=1) / math.sqrt(count)) if count > 1 else None
        return Estimate(float(windows.mean()), error)

    @property
    def is_noise(self) -> bool:
        """Whether it could as well be 0: within ``ERRORS`` standard errors, or of one window."""
        return self.error is None or abs(self.mean) <= ERRORS * self.error


@dataclass(frozen=True, eq=False)
class Impact:
    """What a quantized model does differently, token by token.

    ``kl`` and ``delta`` (W, L - 1) float64 in nats, ``same`` (W, L - 1) bool: of each window's
    tokens that have a next one. W windows of L tokens.
    """

    kl: np.ndarray
    delta: np.ndarray
    same: np.ndarray

    @property
    def kl_nats(self) -> Estimate:
        """Mean KL(float ‖ quantized) a token, in nats, with its standard error over windows."""
        return Estimate.of(self.kl.mean(1))

    @property
    def delta_nats(self) -> Estimate:
        """The loss's mean difference from the float model's, in nats, paired by token."""
        return Estimate.of(self.delta.mean(1))

    @property
    def same_top(self) -> Estimate:
        """The share of tokens whose most likely next token stays."""
        return Estimate.of(self.same.mean(1))

    def measures(self) -> dict:
        """Under the names of the definitions; an error is None of a single window."""
        kl, delta, same = self.kl_nats, self.delta_nats, self.same_top
        return {
            "kl_nats": kl.mean,
            "kl_nats_error": kl.error,
            "delta_nats": delta.mean,
            "delta_nats_error": delta.error,
            "same_top": same.mean,
            "same_top_error": same.error,
        }


def kl_difference(one: Impact, other: Impact) -> Estimate:
    """How much more KL ``one`` has, paired by window; ask it for ``is_noise``."""
    return Estimate.of((one.kl - other.kl).mean(1))


def delta_difference(one: Impact, other: Impact) -> Estimate:
    """How much more loss ``one`` has, paired by window."""
    return Estimate.of((one.delta - other.delta).mean(1))


@dataclass(frozen=True, eq=False)
class FloatRun:
    """What the float model says of held-out text: what every quantized model is paired with."""

    text: CalibrationText
    loss: np.ndarray  # (W, L - 1) float64, nats
    key: str  # of the checkpoint's files, what it ran on and the text
    # Of the windows that were run in this process, (L - 1, V) on the CPU, where there is room for
    # all of them.
    logits: dict[int, Tensor] = field(default_factory=dict)

    @property
    def loss_nats(self) -> Estimate:
        """The float model's mean loss a token, in nats."""
        return Estimate.of(self.loss.mean(1))

    def first(self, windows: int) -> FloatRun:
        """The same run of the first windows alone."""
        tokens = self.text.tokens[:windows]
        return FloatRun(
            replace(self.text, tokens=tokens),
            self.loss[:windows],
            f"{self.key}|{windows}",
            {window: own for window, own in self.logits.items() if window < windows},
        )


@dataclass(frozen=True)
class ImpactProgress:
    """How far a study is: ``done`` of ``windows`` windows, ``setting`` of ``settings`` settings."""

    setting: int
    settings: int
    window: int
    windows: int
    elapsed_s: float

    @property
    def share(self) -> float:
        """How much of all settings and windows is done, in (0, 1]."""
        return (self.setting * self.windows + self.window + 1) / (self.settings * self.windows)

    @property
    def left_s(self) -> float:
        """Seconds left, if the rest goes as fast."""
        return self.elapsed_s * (1 - self.share) / self.share

    def __str__(self) -> str:
        return (
            f"setting {self.setting + 1} of {self.settings}, window {self.window + 1} of "
            f"{self.windows}"
        )


OnWindow = Callable[[int], None]  # called with each window's number when it is done


def float_run(
    checkpoint: Checkpoint,
    model: nn.Module,
    text: CalibrationText,
    on_window: OnWindow | None = None,
    store: ResultStore | None = None,
) -> FloatRun:
    """Run the float model over the windows of a held-out text; where it is stored, only read it.

    Args:
        model: with its LM head, as ``load_language_model`` gives it.
        text: as ``read_text`` gives it; a batch is a window, of 2 tokens at least.
        on_window: called with each window's number that was run.
        store: where its losses are looked up first, and kept afterwards. It goes by the hash of
            the checkpoint's files, so ``checkpoint`` has to be on a disk.

    Raises CalibrationError for windows of one token, and where the model cannot be run.
    """
    if text.seq_len < 2:
        raise CalibrationError(
            "windows of {seq_len} token have no next token to predict; give 2 at least",
            seq_len=text.seq_len,
        )
    shape = (text.batches, text.seq_len - 1)
    key = _run_key(checkpoint, model, text, stored=store is not None)
    if (known := _stored(store, f"{key}|float", {"loss": shape})) is not None:
        return FloatRun(text, known["loss"], key)
    run = FloatRun(text, np.empty(shape), key)
    for window, ids in enumerate(text.tokens):
        run.loss[window] = _losses(_float_logits(checkpoint, model, run, window), ids)
        if on_window:
            on_window(window)
    if store is not None:
        store.put(f"{key}|float", {"loss": run.loss})
    return run


EDITION = "1"  # of how things are measured; with another, stored results mean nothing


def _run_key(checkpoint: Checkpoint, model: nn.Module, text: CalibrationText, stored: bool) -> str:
    """What the float model's losses depend on. Without a store the name stands for the files."""
    files = fingerprint(checkpoint) if stored else checkpoint.name
    tokens = hashlib.sha256(text.tokens.numpy().astype("<i8").tobytes()).hexdigest()
    shape = tuple(text.tokens.shape)
    return f"{EDITION}|{files}|{forward_of(backbone_of(model))}|{shape}|{tokens}"


def _stored(
    store: ResultStore | None, key: str, shapes: Mapping[str, tuple[int, int]]
) -> dict[str, np.ndarray] | None:
    """What a store has under a key, if it is what belongs there."""
    arrays = None if store is None else store.get(key)
    if arrays is None or {name: own.shape for name, own in arrays.items()} != shapes:
        return None
    return arrays


def _float_logits(checkpoint: Checkpoint, model: nn.Module, run: FloatRun, window: int) -> Tensor:
    """The float model's logits of one window: at hand, or run now."""
    known = run.logits.get(window)
    if known is None:
        known = window_logits(checkpoint, model, run.text.tokens[window])
        if known.numel() * known.element_size() * run.text.batches <= KEPT_LOGITS:
            run.logits[window] = known
    return known


@torch.no_grad()
def window_logits(checkpoint: Checkpoint, model: nn.Module, ids: Tensor) -> Tensor:
    """Logits of one window's tokens (L,) that have a next token: (L - 1, V) on the CPU.

    Raises CalibrationError where the model cannot be run.
    """
    device = next(model.parameters()).device
    try:
        logits = model(ids[None].to(device), use_cache=False).logits
    except Exception as error:  # of a strange configuration
        raise model_fault(error, checkpoint, len(ids)) from error
    return logits[0, :-1].cpu()


def _losses(logits: Tensor, ids: Tensor) -> np.ndarray:
    """(L - 1,) float64: −log p of each next token."""
    following = ids[1:].tolist()
    pieces = _chunks(logits)
    chosen = [piece.gather(1, torch.tensor(following[rows])[:, None]) for rows, piece in pieces]
    return -torch.cat(chosen)[:, 0].numpy()


def _chunks(logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Runs of rows, with their log-probabilities in float64."""
    rows = max(1, CHUNK // logits.shape[1])
    for first in range(0, len(logits), rows):
        span = slice(first, first + rows)
        yield span, torch.log_softmax(logits[span].to(torch.float64), dim=-1)


def compare_logits(ours: Tensor, theirs: Tensor, ids: Tensor) -> tuple[np.ndarray, ...]:
    """One window's KL(ours ‖ theirs), loss difference and whether the top token stays.

    Args:
        ours, theirs: (L - 1, V) logits, the float model's and the quantized one's.
        ids: (L,) tokens.

    Returns (L - 1,) float64 nats twice, and bool. Of equal logits the first is the top.
    """
    kl, delta, same = [], [], []
    following = ids[1:]
    for (span, p), (_, q) in zip(_chunks(ours), _chunks(theirs), strict=True):
        gap = p - q
        # Where p is 0 in float64 its logarithm is finite still, and the product 0. Rounding can
        # leave −1e-17 of a divergence of 0.
        kl.append((p.exp() * gap).sum(-1).clamp(min=0.0))
        delta.append(gap.gather(1, following[span][:, None])[:, 0])
        same.append(p.argmax(-1) == q.argmax(-1))
    return torch.cat(kl).numpy(), torch.cat(delta).numpy(), torch.cat(same).numpy()


def impact_key(run: FloatRun, quantizations: Sequence[LayerQuantization], mode: str) -> str:
    """The same for the same checkpoint, text, layers, scales and mode."""
    layers = sorted((entry.layer, entry.digest) for entry in quantizations)
    return f"{run.key}|{mode}|{layers}"


def stored_impact(run: FloatRun, key: str, store: ResultStore | None) -> Impact | None:
    """What was measured under an ``impact_key`` of this run; None where nothing was."""
    shapes = dict.fromkeys(("kl", "delta", "same"), run.loss.shape)
    known = _stored(store, key, shapes)
    return None if known is None else Impact(**known)


def measure(
    checkpoint: Checkpoint,
    model: nn.Module,
    run: FloatRun,
    quantizations: Sequence[LayerQuantization],
    mode: str = "output",
    store: ResultStore | None = None,
    on_window: OnWindow | None = None,
) -> Impact:
    """Run the model with some layers quantized over the windows that the float model ran over.

    Args:
        run: of the same model, from ``float_run``; with the same store, if there is one.
        quantizations: of each layer that is quantized.
        mode: one of ``quantized_forward.MODES``.
        store: where it is looked up first, and kept afterwards.
        on_window: called with each window's number that was run; what it raises ends the
            measurement, and leaves the model as it was.

    Raises CalibrationError where the model cannot be run, ValueError for another mode.
    """
    key = impact_key(run, quantizations, mode)
    if (known := stored_impact(run, key, store)) is not None:
        return known
    windows = []
    for window, ids in enumerate(run.text.tokens):
        ours = _float_logits(checkpoint, model, run, window)
        with quantized_outputs(checkpoint, backbone_of(model), quantizations, mode):
            theirs = window_logits(checkpoint, model, ids)
        windows.append(compare_logits(ours, theirs, ids))
        if on_window:
            on_window(window)
    impact = Impact(*(np.stack(columns) for columns in zip(*windows, strict=True)))
    if store is not None:
        store.put(key, {"kl": impact.kl, "delta": impact.delta, "same": impact.same})
    return impact


def study(
    checkpoint: Checkpoint,
    model: nn.Module,
    run: FloatRun,
    quantizations: Mapping[int, LayerQuantization],
    subsets: Sequence[tuple[int, ...]],
    mode: str = "output",
    store: ResultStore | None = None,
    on_progress: Callable[[ImpactProgress], None] | None = None,
) -> Iterator[tuple[tuple[int, ...], Impact]]:
    """Measure one subset of the layers after the other; each is given as soon as it is there.

    Args:
        quantizations: by layer, of every layer of any subset.
        subsets: as ``alone`` or ``cumulative`` give them.
        on_progress: called after each window; what it raises ends the study, and what was finished
            by then is in ``store``.
    """
    begun = time.perf_counter()
    for number, layers in enumerate(subsets):

        def on_window(window: int, number: int = number) -> None:
            if on_progress:
                elapsed = time.perf_counter() - begun
                on_progress(ImpactProgress(number, len(subsets), window, run.text.batches, elapsed))

        chosen = [quantizations[layer] for layer in layers]
        yield layers, measure(checkpoint, model, run, chosen, mode, store, on_window)


# Scales by a rule, as a checkpoint has them, or for a budget.
ScaleSource = Literal["calibrated", "stored", "planned"]


@dataclass(frozen=True, eq=False)
class MeasuredSetting:
    """Some layers with some scales: what they were predicted to cost, and what they cost."""

    layers: tuple[int, ...]
    rule: ScaleRule | None  # None of stored scales, and of a plan, in which rules differ
    mode: str
    impact: Impact
    predicted_nats: float | None  # of mode "output" alone, where gradients were counted
    source: ScaleSource = "calibrated"
    number_format: str | None = None  # of the output; None of stored and of planned scales

    def measures(self) -> dict:
        """Under the names of the definitions."""
        return {**self.impact.measures(), "predicted_nats": self.predicted_nats}


def study_rule(
    checkpoint: Checkpoint,
    model: nn.Module,
    run: FloatRun,
    planned: Mapping[int, PlannedLayer],
    rule: ScaleRule | None,
    subsets: Sequence[tuple[int, ...]],
    mode: str = "output",
    store: ResultStore | None = None,
    on_progress: Callable[[ImpactProgress], None] | None = None,
    source: ScaleSource = "calibrated",
    number_format: str | None = None,
) -> Iterator[MeasuredSetting]:
    """``study``, each subset with the sum of its layers' predictions.

    Args:
        planned: by layer, from ``plan_layers`` under ``rule``; or stored or planned, of no rule.
        number_format: the name of the one that ``planned`` is in.
    """
    quantizations = {layer: entry.quantization for layer, entry in planned.items()}
    measured = study(checkpoint, model, run, quantizations, subsets, mode, store, on_progress)
    for layers, impact in measured:
        costs = [planned[layer].predicted_nats for layer in layers]
        known = [cost for cost in costs if cost is not None]
        is_predicted = mode == "output" and len(known) == len(costs)
        total = float(sum(known)) if is_predicted else None
        yield MeasuredSetting(layers, rule, mode, impact, total, source, number_format)


def alone(layers: Sequence[int]) -> list[tuple[int, ...]]:
    """Each layer quantized by itself."""
    return [(layer,) for layer in layers]


def cumulative(layers: Sequence[int]) -> list[tuple[int, ...]]:
    """The first layer, the first two, … all."""
    return [tuple(layers[: count + 1]) for count in range(len(layers))]


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The rank correlation, −1 … 1; NaN where either is constant. Equal values share a rank."""

    def ranks(values: Sequence[float]) -> np.ndarray:
        _distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

    a, b = ranks(one), ranks(other)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
