"""Scales for some layers -> the model's forward with what the INT8 kernel writes in place of y.

The rest of the model stays in float, so that what changes is what these scales cost and nothing
else. Three modes say which of the kernel's roundings take part:

- ``output``: the float convolution's y, rounded to INT8 by ``x_out_scale``, dequantized;
- ``input``: x, weights and bias rounded to INT8 by their scales, y left in float;
- ``both``: all of it. That is the kernel itself, run live, its codes dequantized.

x, B and C of a Mamba-2 have their own scales and can be quantized alone or together. y can also be
rounded to the points of another number format than INT8, by a look-up in its codebook.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from dashboard.calibration import LayerCalibration, SliceCalibration, SliceScales
from dashboard.checkpoints import Checkpoint, ConvSlice, ConvWeights, replaced_outputs
from dashboard.checkpoints.output_seam import Replacement
from dashboard.formats import Codebook, NumberFormat, format_under_rule
from dashboard.rules.observers import OutputScale, ScaleRule, output_scale
from kernels import quant_causal_conv1d
from kernels.int8 import QMAX, QMIN, dequantize, quantize, round_half_away
from kernels.reference import accumulate, dequantize_conv, silu

MODES = ("output", "input", "both")


@dataclass(frozen=True, eq=False)
class SliceQuantization:
    """INT8 for one slice of a layer's convolution: what its input and its output are rounded by.

    The output can have another number format, a ``codebook``.
    """

    conv_slice: ConvSlice
    scales: SliceScales  # of x, weights and bias
    # float32, real units per code: one, shape (), or one a channel of the slice, (width,)
    scale_out: np.ndarray
    zero_point: int = 0
    # Of another format than INT8: y's points, in place of scale_out and zero_point, which then say
    # nothing.
    codebook: Codebook | None = None

    def __post_init__(self) -> None:
        if self.scale_out.shape not in ((), (self.conv_slice.width,)):
            raise ValueError(
                f"scale_out of slice {self.conv_slice.name} has shape {self.scale_out.shape}; it "
                f"must be () or ({self.conv_slice.width},)"
            )
        if not (np.isfinite(self.scale_out).all() and (self.scale_out > 0).all()):
            raise ValueError(
                f"scale_out of slice {self.conv_slice.name} must be finite and above 0"
            )


@dataclass(frozen=True, eq=False)
class LayerQuantization:
    """INT8 for some slices of one layer; the others stay in float."""

    layer: int
    slices: tuple[SliceQuantization, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Which of "x", "B" and "C" are quantized."""
        return tuple(entry.conv_slice.name for entry in self.slices)

    @cached_property
    def digest(self) -> str:
        """A name for these scales: the same for the same layer, slices and float32 values."""
        whole = hashlib.sha256(f"{self.layer}".encode())
        for entry in self.slices:
            scales = entry.scales
            whole.update(
                f"|{entry.conv_slice.name} {scales.x_scale!r} {scales.w_scale!r} "
                f"{scales.b_scale!r} {entry.zero_point} {entry.scale_out.shape}".encode()
            )
            whole.update(np.ascontiguousarray(entry.scale_out, "<f4").tobytes())
            if entry.codebook is not None:
                whole.update(entry.codebook.digest.encode())
        return whole.hexdigest()


def wanted_slices(conv_slices: Sequence[ConvSlice], names: Collection[str] | None) -> list[str]:
    """The names of the slices that are to be quantized; None means all.

    Raises ValueError for a name that is no slice's, and for none at all.
    """
    known = [conv_slice.name for conv_slice in conv_slices]
    wanted = known if names is None else list(names)
    if not wanted or set(wanted) - set(known):
        raise ValueError(f"slices are {', '.join(wanted)!r}; allowed are {', '.join(known)}")
    return wanted


def chosen_slices(
    counted: LayerCalibration, conv_slices: Sequence[ConvSlice], names: Collection[str] | None
) -> list[tuple[ConvSlice, SliceCalibration]]:
    """The slices of a layer that are to be quantized, each with what was counted of it.

    Args:
        counted: of the layer.
        conv_slices: the checkpoint's slices.
        names: "x", "B", "C"; None means all.

    Raises ValueError for a name that is no slice's, and for none at all.
    """
    wanted = wanted_slices(conv_slices, names)
    return [
        (conv_slice, own)
        for conv_slice, own in zip(conv_slices, counted.slices, strict=True)
        if conv_slice.name in wanted
    ]


def quantize_layer(
    counted: LayerCalibration,
    conv_slices: Sequence[ConvSlice],
    rule: ScaleRule,
    names: Collection[str] | None = None,
    number_format: NumberFormat | None = None,
) -> LayerQuantization:
    """One scale a slice, as a rule chooses it; arguments and errors as of ``chosen_slices``.

    Args:
        number_format: of the output; None is INT8, symmetric or not as the rule is. Errors as of
            ``format_under_rule``.
    """

    def choose(own: SliceCalibration) -> OutputScale | Codebook:
        if number_format is None:
            return output_scale(rule, own)
        return format_under_rule(number_format, rule, own).codebook

    return quantize_slices(counted, conv_slices, choose, names)


Choose = Callable[[SliceCalibration], OutputScale | Codebook]


def quantize_slices(
    counted: LayerCalibration,
    conv_slices: Sequence[ConvSlice],
    choose: Choose,
    names: Collection[str] | None = None,
) -> LayerQuantization:
    """Each slice with the scale, or the points, that ``choose`` gives it; the rest as above."""
    slices = []
    for conv_slice, own in chosen_slices(counted, conv_slices, names):
        chosen = choose(own)
        if isinstance(chosen, Codebook):
            unit = np.ones((), np.float32)
            slices.append(SliceQuantization(conv_slice, own.scales, unit, codebook=chosen))
        else:
            scale_out = np.asarray(chosen.scale, np.float32)
            slices.append(SliceQuantization(conv_slice, own.scales, scale_out, chosen.zero_point))
    return LayerQuantization(counted.layer, tuple(slices))


@contextmanager
def quantized_outputs(
    checkpoint: Checkpoint,
    backbone: nn.Module,
    quantizations: Iterable[LayerQuantization],
    mode: str = "output",
) -> Iterator[None]:
    """Within, ``backbone`` runs with those layers quantized; see ``replaced_outputs``.

    Raises ValueError for another mode than those of ``MODES``.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; allowed are {', '.join(MODES)}")
    device = next(backbone.parameters()).device
    replacements = {
        entry.layer: _replacement(checkpoint.conv(entry.layer), entry, mode, device)
        for entry in quantizations
    }
    with replaced_outputs(checkpoint, backbone, replacements):
        yield


def _replacement(
    conv: ConvWeights, quantization: LayerQuantization, mode: str, device: torch.device
) -> Replacement:
    """What one layer's y becomes; D' of its D channels are quantized."""
    slices = quantization.slices
    widths = torch.tensor([entry.conv_slice.width for entry in slices])

    def per_channel(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).repeat_interleave(widths).to(device)

    scale_x = per_channel([entry.scales.x_scale for entry in slices])
    scale_w = per_channel([entry.scales.w_scale for entry in slices])
    scale_b = per_channel([entry.scales.b_scale for entry in slices])
    scale_out = torch.from_numpy(
        np.concatenate([np.broadcast_to(e.scale_out, (e.conv_slice.width,)) for e in slices])
    ).to(device)
    zero_point = per_channel([entry.zero_point for entry in slices])
    zero_codes = zero_point.to(torch.int32) if bool(zero_point.any()) else 0
    looked_up = [_lookup(entry.codebook, device) for entry in slices]
    weight_q = quantize(_gather(conv.weight.to(device), slices), scale_w[:, None])
    bias_q = quantize(_gather(conv.bias.to(device), slices), scale_b)

    def rounded(y: Tensor) -> Tensor:
        """(B, D', L) float32 to codes and back."""
        if not any(looked_up):
            return fake_quantize(y, scale_out, zero_point)
        spans = zip(
            y.split(widths.tolist(), dim=1),
            scale_out.split(widths.tolist()),
            zero_point.split(widths.tolist()),
            looked_up,
            strict=True,
        )
        return torch.cat(
            [look_up(own) if look_up else fake_quantize(own, s, z) for own, s, z, look_up in spans],
            dim=1,
        )

    def quantized_y(x: Tensor, compute_y: Callable[[], Tensor]) -> Tensor:
        """(B, D', L) float32, of the quantized channels alone."""
        if mode == "output":
            y = _gather(compute_y().transpose(0, 1), slices).transpose(0, 1).to(torch.float32)
            return rounded(y)
        x = _gather(x.transpose(0, 1), slices).transpose(0, 1)
        x_q = quantize(x, scale_x[:, None])
        if mode == "both" and not any(looked_up):
            codes = quant_causal_conv1d(
                x_q,
                weight_q,
                bias_q,
                scale_x=scale_x,
                scale_w=scale_w,
                scale_b=scale_b,
                scale_out=scale_out,
                zero_point=zero_codes,
                # On a CPU the specification itself, which takes less time than the interpreter.
                backend=None if x_q.is_cuda else "torch",
            )
            return dequantize(codes, scale_out[:, None], zero_point[:, None])
        v = dequantize_conv(accumulate(x_q, weight_q), bias_q, scale_x, scale_w, scale_b)
        return silu(v) if mode == "input" else rounded(silu(v))

    def replacement(x: Tensor, compute_y: Callable[[], Tensor]) -> Tensor:
        y_hat = quantized_y(x, compute_y)
        if y_hat.shape[1] == x.shape[1]:
            return y_hat
        y = compute_y().to(torch.float32).clone()
        pieces = y_hat.split(widths.tolist(), dim=1)
        for entry, piece in zip(slices, pieces, strict=True):
            y[:, entry.conv_slice.channels] = piece
        return y

    return replacement


def _gather(by_channel: Tensor, slices: Sequence[SliceQuantization]) -> Tensor:
    """(D, …) -> (D', …): the channels of the slices, one after the other."""
    return torch.cat([by_channel[entry.conv_slice.channels] for entry in slices])


def _lookup(codebook: Codebook | None, device: torch.device) -> Callable[[Tensor], Tensor] | None:
    """Values to the points of a codebook, as ``Codebook.dequantized`` does, in float32."""
    if codebook is None:
        return None
    points = torch.from_numpy(codebook.points).to(torch.float32).to(device)
    thresholds = torch.from_numpy(codebook.thresholds[1:-1].copy()).to(device)

    def look_up(values: Tensor) -> Tensor:
        return points[torch.bucketize(values.contiguous(), thresholds, right=True)]

    return look_up


def fake_quantize(values: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Values to INT8 and back: (B, D, L) float32, with a scale and a code of 0 for each channel.

    Rounded and clamped as ``kernels.int8.quantize`` does, the zero point added in between.
    """
    quotient = values / scale[:, None]
    least, most = (QMIN - zero_point)[:, None], (QMAX - zero_point)[:, None]
    # Clamped before it is rounded: the ends are whole, so the codes are the same.
    return round_half_away(torch.clamp(quotient, least, most)) * scale[:, None]
