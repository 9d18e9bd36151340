"""One backward pass -> how much the model's loss minds an error in y, for each float16 value.

SQNR counts every squared error alike. A model does not: an error δ in y costs, to second order, a
divergence of KL(p ‖ p') ≈ ½ δᵀ F δ from the unquantized predictions p, with F the Fisher
information of y. Its diagonal is the mean of g², g the gradient with respect to y of the loss: of
−Σ_t log p(next token t), summed over a batch, since the gradients of different tokens' losses are
uncorrelated where the model is right about its own uncertainty. So

    predicted_nats = ½ · Σ g² · (Q(y) − y)² / tokens

and Q depends on the value of y alone. Hence Σ g² for each float16 value, beside how often it
occurred, is all that a prediction needs, for any scale, rule, group or codebook, without another
forward. The idea of scoring formats by Σ g²·(Q(Y) − Y)² is that of AutoQuantize in NVIDIA's
ModelOpt, which asks for it once a format; kept by value, it costs what an SQNR costs.

Three things are left out: correlations between the errors of different values, what lies beyond
the second order, and how far the text's own next tokens stand in for the model's predictions. A few
clipped values that move single tokens by nats are beyond the second order, and are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dashboard.calibration.faults import CalibrationError, model_fault
from dashboard.calibration.histogram import (
    ASCENDING_VALUES,
    PATTERNS,
    Histogram,
    PrefixSums,
    code_edges,
    code_value,
    merged_ascending,
    prefix_sums,
    shifted_patterns,
    squared_errors,
)
from dashboard.checkpoints import Checkpoint, backbone_of, replaced_outputs
from dashboard.checkpoints.output_seam import Replacement


@dataclass(frozen=True, eq=False)
class GradientSums:
    """Σ g² and Σ g over the places where y has a float16 value, g = d loss / d y.

    ``values`` (K,) float32 are those of y's histogram, ascending; ``squares`` and ``sums`` (K,)
    float64, in (nats per real unit)² and nats per real unit; ``tokens`` is how many tokens were
    predicted, each of whose losses was differentiated. The sums are taken in a fixed order, batch
    by batch: the same activations and gradients give the same bits.
    """

    values: np.ndarray
    squares: np.ndarray
    sums: np.ndarray
    tokens: int

    def __add__(self, other: GradientSums) -> GradientSums:
        """Of both texts together, or both processes, in this order."""
        return GradientSums.merge([self, other], self.tokens + other.tokens)

    @staticmethod
    def merge(terms: Sequence[GradientSums], tokens: int) -> GradientSums:
        """Sums of several terms, added in their order.

        Args:
            tokens: predicted tokens of the whole: of one text's channels, that text's own.
        """
        values, inverse = np.unique(
            np.concatenate([term.values for term in terms]), return_inverse=True
        )
        squares, sums = np.zeros(len(values)), np.zeros(len(values))
        np.add.at(squares, inverse, np.concatenate([term.squares for term in terms]))
        np.add.at(sums, inverse, np.concatenate([term.sums for term in terms]))
        return GradientSums(values, squares, sums, tokens)

    @staticmethod
    def of(y: Tensor, gradient: Tensor, tokens: int) -> GradientSums:
        """Of y and g, of one shape and any, y rounded to float16 as its histogram does."""
        rounded = y.detach().to(torch.float16).to(torch.float32).flatten().cpu().numpy()
        g = gradient.detach().flatten().cpu().numpy().astype(np.float64)
        values, inverse = np.unique(rounded + np.float32(0.0), return_inverse=True)  # -0 + 0 = +0
        size = len(values)
        return GradientSums(
            values, np.bincount(inverse, g * g, size), np.bincount(inverse, g, size), tokens
        )

    @cached_property
    def _prefix_sums(self) -> PrefixSums:
        return prefix_sums(self.values, self.squares)

    def predicted_nats(
        self, scale: float | np.ndarray, zero_point: int | np.ndarray = 0
    ) -> np.ndarray:
        """½ · Σ g² · (Q(y) − y)² per token, in nats, for one INT8 scale or each of an array.

        Arguments as of ``Histogram.quantize``; the shape is theirs. From sums over the values
        before each code's edge: 400 scales take some 4 ms.
        """
        rounding, clipping = self.predicted_parts(scale, zero_point)
        return rounding + clipping

    def predicted_parts(
        self, scale: float | np.ndarray, zero_point: int | np.ndarray = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """What of ``predicted_nats`` comes from values within the code range, and from beyond."""
        scales, zero_points = np.broadcast_arrays(
            np.asarray(scale, dtype=np.float32), np.asarray(zero_point, dtype=np.int64)
        )
        edges = code_edges(self.values, scales, zero_points)
        errors = squared_errors(self._prefix_sums, edges, code_value(scales, zero_points))
        return 0.5 * errors[0] / self.tokens, 0.5 * errors[1] / self.tokens

    def predicted_of(self, dequantized: np.ndarray) -> float:
        """The same for any number format: ``dequantized`` (K,) is what it makes of ``values``."""
        error = np.asarray(dequantized, np.float64) - self.values
        return float(0.5 * (self.squares * error * error).sum() / self.tokens)

    def predicted_drift(self, dequantized: np.ndarray) -> float:
        """The loss's change to first order, Σ g · (Q(y) − y) per token, in nats; any sign."""
        error = np.asarray(dequantized, np.float64) - self.values
        return float((self.sums * error).sum() / self.tokens)


class GradientTally:
    """The running sums of one slice, batch after batch in their order.

    Sums of float64 depend on the order of their terms. A batch's own sums are taken first, at the
    values that it has, and then added to those of the batches before it: so they have the same bits
    whichever process, or which of several, counted a batch.
    """

    def __init__(self) -> None:
        self.squares = np.zeros(len(ASCENDING_VALUES))
        self.sums = np.zeros(len(ASCENDING_VALUES))
        self.tokens = 0

    def add(self, batch: GradientSums) -> None:
        """Add the sums of the next batch."""
        places = _places(batch.values)
        self.squares[places] += batch.squares
        self.sums[places] += batch.sums
        self.tokens += batch.tokens

    def sums_of(self, output: Histogram) -> GradientSums:
        """The sums at the values that ``output``, the histogram of the same y, has."""
        places = _places(output.values)
        return GradientSums(output.values, self.squares[places], self.sums[places], self.tokens)


def batch_gradients(y: Tensor, gradient: Tensor, output: Histogram) -> GradientSums:
    """The sums of one batch: y and g (1, D, L), ``output`` the histogram of y.

    Float64 sums, one value after the other. Raises ValueError where a gradient is NaN or infinite.
    """
    index = shifted_patterns(y.detach()).cpu().numpy().ravel()
    g = gradient.detach().to(torch.float64).cpu().numpy().ravel()
    squares = np.bincount(index, g * g, PATTERNS)
    if not np.isfinite(squares.sum()):
        raise ValueError("the gradient of the loss contains NaN or infinite values")
    sums = np.bincount(index, g, PATTERNS)
    places = _places(output.values)
    return GradientSums(
        output.values,
        merged_ascending(squares)[places],
        merged_ascending(sums)[places],
        y.shape[-1] - 1,  # the last token of a batch has no next one
    )


def _places(values: np.ndarray) -> np.ndarray:
    """Where float16 values stand among ASCENDING_VALUES; 0 is the later of the two zeros."""
    return np.searchsorted(ASCENDING_VALUES, values, "right") - 1


def next_token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """−Σ log p(next token) in nats, a scalar, of logits (B, L, V) and tokens (B, L)."""
    predicted, following = logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
    return F.cross_entropy(predicted.float(), following, reduction="sum")


class _SharedSelections(TorchFunctionMode):
    """Makes ``states[:, :, t]``, step after step, cost its backward pass once and not once a step.

    transformers' plain scan of Mamba-1 walks along time so. The gradient of one selection is a
    tensor of the whole's size, zero elsewhere: 512 of those a layer take a minute where the rest
    takes a second. Unbound at once, the steps are the same views of the same values, and their
    gradients are put together once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unbound: dict[int, tuple[Tensor, int, tuple[Tensor, ...]]] = {}

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is Tensor.__getitem__ and args[0].requires_grad and isinstance(args[1], tuple):
            whole, key = args
            numbers = [i for i, entry in enumerate(key) if type(entry) is int]
            others = [entry for entry in key if type(entry) is not int]
            if len(numbers) == 1 and all(entry == slice(None) for entry in others):
                (dim,) = numbers
                if whole.shape[dim] > 1:
                    return self._steps(whole, dim)[key[dim]]
        return func(*args, **(kwargs or {}))

    def _steps(self, whole: Tensor, dim: int) -> tuple[Tensor, ...]:
        known = self._unbound.get(id(whole))
        if known is None or known[1] != dim:
            if len(self._unbound) == MOST_SELECTED:
                self._unbound.pop(next(iter(self._unbound)))
            # The tensor is kept with its steps, so that its id is nobody else's.
            known = self._unbound[id(whole)] = whole, dim, whole.unbind(dim)
        return known[2]


MOST_SELECTED = 4  # tensors that one scan walks along: Ā, B̄u, C


def visit_gradients(
    checkpoint: Checkpoint,
    model: nn.Module,
    tokens: Tensor,
    layers: Collection[int],
    visit: Callable[[int, int, Tensor, Tensor], None],
) -> None:
    """Run batch after batch forward and backward; call visit(batch, layer, x, g), layer by layer.

    x is the conv input and g = d loss / d y of a layer, both (1, D, L) float32, sequence-last; the
    loss is that of ``next_token_loss``. The graph of one batch is in memory at once: all that the
    forward computed after the first of the layers.

    Args:
        model: with its LM head, as ``load_language_model`` gives it.
        tokens: (N, L), L at least 2.

    Raises CalibrationError where the model itself cannot be run, or there is no next token.
    """
    if tokens.shape[1] < 2:
        raise CalibrationError(
            "batches of {seq_len} token have no next token to predict; gradients need 2 at least",
            seq_len=tokens.shape[1],
        )
    device = next(model.parameters()).device
    inputs: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}

    def recording(layer: int) -> Replacement:
        def replacement(x: Tensor, compute_y: Callable[[], Tensor]) -> Tensor:
            y = compute_y()
            if not y.requires_grad:  # the first of them: the graph begins here
                y = y.detach().requires_grad_()
            inputs[layer], outputs[layer] = x.detach(), y
            return y

        return replacement

    wanted = sorted(layers)
    replacements = {layer: recording(layer) for layer in wanted}
    with replaced_outputs(checkpoint, backbone_of(model), replacements):
        for batch, ids in enumerate(tokens):
            ids = ids[None].to(device)
            try:
                with torch.enable_grad(), _SharedSelections():
                    loss = next_token_loss(model(ids, use_cache=False).logits, ids)
                    gradients = torch.autograd.grad(loss, [outputs[layer] for layer in wanted])
            except Exception as error:  # of a strange configuration
                raise model_fault(error, checkpoint, ids.shape[1]) from error
            for layer, gradient in zip(wanted, gradients, strict=True):
                x = inputs[layer].to(torch.float32).contiguous()
                visit(batch, layer, x, gradient.to(torch.float32).contiguous())
            inputs.clear()
            outputs.clear()
