"""The specification of the quantized causal conv1d, in plain torch: slow and obvious.

    acc = Σ_k weight[d, k] · x[b, d, l - (W-1) + k]        int32, exact: |acc| <= 4·128·128
    v   = (scale_w · scale_x) · acc + bias[d] · scale_b    float32
    s   = v / (1 + exp(-v))                                float32, SiLU
    y   = clamp(round(s / scale_out) + zero_point, -128, 127)   halves away from zero

Every operation is rounded to float32 on its own; none is contracted into a fused multiply-add. Only
exp is not fixed by IEEE 754: libraries differ in its last bit, and at a rounding tie that bit
decides a code. It is therefore computed in float64 and rounded to float32 once, which gives the
same float32 in every library whose float64 exp is good to a few units in the last place (but for
one argument in some 10^8), so that every backend can give the same codes.

The method is Quamba's (arXiv 2410.13229, section 4.2); the code is written from these formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.int8 import QMIN, quantize, round_half_away

PATTERNS = 65536  # of a float16


@dataclass(frozen=True, eq=False)
class Trace:
    """Every step from the codes of x to those of y; each tensor is (B, D, L)."""

    x: Tensor  # int8, the input
    acc: Tensor  # int32, the integer convolution
    v: Tensor  # float32, dequantized, with the bias
    s: Tensor  # float32, after the activation
    quotient: Tensor  # float32, s / scale_out
    rounded: Tensor  # float32, whole, without the zero point and not yet clamped
    code: Tensor  # int8, the output


def quant_causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    scale_out: float | Tensor,
    zero_point: int | Tensor = 0,
    activation: str | None = "silu",
) -> Tensor:
    """INT8 in, INT8 out; arguments as in ``kernels.quant_causal_conv1d``.

    Args:
        x: int8 (B, D, L).
        weight: int8 (D, W).
        bias: int8 (D,) or None.
        scale_x, scale_w, scale_b, scale_out: real units per code, a float or float32 (D,).
        zero_point: the output's code of 0, an int or int32 (D,), -128 ... 127.
        activation: "silu" or None.

    Returns:
        int8 (B, D, L).

    Raises ValueError for another activation; ``kernels.quant_causal_conv1d`` checks the rest.
    """
    v = dequantize_conv(accumulate(x, weight), bias, scale_x, scale_w, scale_b)
    return quantize(_activate(v, activation), _column(scale_out), _zero_column(zero_point))


def quant_causal_conv1d_lookup(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    thresholds: Tensor,
    activation: str | None = "silu",
) -> Tensor:
    """The same with the code looked up: -128 and one more for each threshold that is <= s.

    Args:
        thresholds: float32 (T,), ascending, T at most 255.
    """
    v = dequantize_conv(accumulate(x, weight), bias, scale_x, scale_w, scale_b)
    index = torch.bucketize(_activate(v, activation), thresholds, right=True)
    return (index + QMIN).to(torch.int8)


def quant_causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    scale_out: float | Tensor,
    zero_point: int | Tensor = 0,
    activation: str | None = "silu",
) -> Tensor:
    """One position more: x int8 (B, D), conv_state int8 (B, D, W) changed in place -> int8 (B, D).

    The state holds the last W codes, the newest last; the output is that of its last position.
    """
    conv_state.copy_(torch.cat([conv_state[..., 1:], x[..., None]], dim=-1))
    codes = quant_causal_conv1d(
        conv_state,
        weight,
        bias,
        scale_x=scale_x,
        scale_w=scale_w,
        scale_b=scale_b,
        scale_out=scale_out,
        zero_point=zero_point,
        activation=activation,
    )
    return codes[..., -1].contiguous()


def quant_causal_conv1d_lookup_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    thresholds: Tensor,
    activation: str | None = "silu",
) -> Tensor:
    """The same step with the code looked up, as ``quant_causal_conv1d_lookup`` does."""
    conv_state.copy_(torch.cat([conv_state[..., 1:], x[..., None]], dim=-1))
    codes = quant_causal_conv1d_lookup(
        conv_state,
        weight,
        bias,
        scale_x=scale_x,
        scale_w=scale_w,
        scale_b=scale_b,
        thresholds=thresholds,
        activation=activation,
    )
    return codes[..., -1].contiguous()


def trace(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    scale_out: float | Tensor,
    zero_point: int | Tensor = 0,
    activation: str | None = "silu",
) -> Trace:
    """The same computation with every step kept: for a few channels, to be looked at."""
    acc = accumulate(x, weight)
    v = dequantize_conv(acc, bias, scale_x, scale_w, scale_b)
    s = _activate(v, activation)
    # On s's device: see quantize.
    quotient = s / _column(scale_out).to(s.device)
    return Trace(
        x=x,
        acc=acc,
        v=v,
        s=s,
        quotient=quotient,
        rounded=torch.where(torch.isfinite(quotient), round_half_away(quotient), quotient),
        code=quantize(s, _column(scale_out), _zero_column(zero_point)),
    )


def _activate(v: Tensor, activation: str | None) -> Tensor:
    if activation not in ("silu", None):
        raise ValueError(f"activation is {activation!r}; allowed are 'silu' and None")
    return silu(v) if activation == "silu" else v


def accumulate(x: Tensor, weight: Tensor) -> Tensor:
    """The integer convolution: int8 (B, D, L) and (D, W) -> int32 (B, D, L)."""
    return causal_conv1d(x.to(torch.int32), weight.to(torch.int32))


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Depthwise causal convolution, taps added from the oldest to the newest, then the bias.

    Args:
        x: (B, D, L); positions before the first count as 0.
        weight: (D, W), the same dtype; the last column belongs to the position itself.
        bias: (D,) or None.
    """
    length, width = x.shape[-1], weight.shape[-1]
    padded = F.pad(x, (width - 1, 0))
    total = weight[:, 0, None] * padded[..., :length]
    for k in range(1, width):
        total += weight[:, k, None] * padded[..., k : k + length]
    return total if bias is None else total + bias[:, None]


def dequantize_conv(
    acc: Tensor,
    bias: Tensor | None,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
) -> Tensor:
    """int32 (B, D, L) sums -> v, float32 (B, D, L), with the bias added."""
    scale_wx = _column(scale_w) * _column(scale_x)
    v = scale_wx * acc.to(torch.float32)
    return v if bias is None else v + bias.to(torch.float32)[:, None] * _column(scale_b)


def silu(v: Tensor) -> Tensor:
    """v / (1 + exp(-v)) for float32 v; exp in float64, rounded to float32 once."""
    return v / (1.0 + torch.exp(-v.to(torch.float64)).to(torch.float32))


def silu_histograms(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Counts of v's and y's float16 patterns; ``kernels.silu_histograms`` says more, and checks."""
    weight = weight.to(torch.float32)
    bias = None if bias is None else bias.to(torch.float32)
    v_counts = torch.zeros(PATTERNS, dtype=torch.int64, device=x.device)
    y_counts = torch.zeros(PATTERNS, dtype=torch.int64, device=x.device)
    for i in range(x.shape[0]):  # one at a time: float32 and float64 take room
        v = causal_conv1d(x[i : i + 1].to(torch.float32), weight, bias)
        v_counts += _count_patterns(v)
        y_counts += _count_patterns(silu(v))
    check_finite(v_counts, y_counts)
    return v_counts, y_counts


def _count_patterns(values: Tensor) -> Tensor:
    patterns = values.to(torch.float16).view(torch.int16).flatten().to(torch.int32)
    return torch.bincount(patterns + PATTERNS // 2, minlength=PATTERNS)


def check_finite(*histograms: Tensor) -> None:
    """Raises ValueError where a pattern was counted that is no finite float16."""
    patterns = (torch.arange(PATTERNS) - PATTERNS // 2).to(torch.int16)
    not_finite = torch.nonzero(~torch.isfinite(patterns.view(torch.float16))).flatten()
    counts = torch.stack(histograms)
    not_finite_counts = counts[:, not_finite.to(counts.device)].sum(1).tolist()
    for name, count in zip(("input", "output"), not_finite_counts, strict=True):
        if count:
            raise ValueError(
                f"{count:,} of {int(counts[0].sum()):,} values of SiLU's {name} are NaN, infinite "
                "or beyond float16's range (±65,504); a scale needs finite activations"
            )


def _column(scale: float | Tensor) -> Tensor:
    """A scale as float32 that broadcasts over positions: () or (D, 1)."""
    scale = torch.as_tensor(scale, dtype=torch.float32)
    return scale[:, None] if scale.dim() == 1 else scale


def _zero_column(zero_point: int | Tensor) -> int | Tensor:
    """A zero point as one number, or a column that broadcasts over positions: (D, 1)."""
    return zero_point[:, None] if isinstance(zero_point, Tensor) else zero_point
