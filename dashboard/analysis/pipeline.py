"""One channel through the kernel, step by step: real codes, real scales, every number kept.

The reference's trace of one channel of one calibration batch, cut to a window of positions, and
beside it the codes that the live kernel wrote there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dashboard.analysis.report import QuantizedConv
from kernels import default_backend, quant_causal_conv1d
from kernels.arguments import ConvArguments
from kernels.reference import trace

WINDOW = 48  # positions on show


@dataclass(frozen=True, eq=False)
class ChannelTrace:
    """Positions ``first`` … of one channel; every array is (n,), one number a position."""

    channel: int
    first: int
    weight: np.ndarray  # (W,) int64 codes, the oldest tap first
    bias: int  # code
    scale_x: float
    scale_w: float
    scale_b: float
    scale_out: float
    window: np.ndarray  # (n, W) int64, the codes of x that each position sees; 0 before the first
    acc: np.ndarray  # int64
    v: np.ndarray  # float32, as all that follow but the codes
    s: np.ndarray
    quotient: np.ndarray
    rounded: np.ndarray
    code: np.ndarray  # int64, the reference's
    written: np.ndarray  # int64, the live kernel's
    backend: str

    @property
    def positions(self) -> np.ndarray:
        """The traced positions of the batch, the first to the last."""
        return self.first + np.arange(len(self.code))

    @property
    def scale_wx(self) -> float:
        """In float32, as the kernel multiplies the two."""
        return float(np.float32(self.scale_w) * np.float32(self.scale_x))


def window_around(position: int, length: int) -> int:
    """The first of ``WINDOW`` positions that have ``position`` in their middle, as far as can be.

    Args:
        position: from 0 to length - 1.
        length: of the sequence.
    """
    return max(0, min(position - WINDOW // 2, length - WINDOW))


def trace_channel(
    conv: QuantizedConv,
    scale_out: float,
    batch: int,
    channel: int,
    first: int,
    count: int = WINDOW,
) -> ChannelTrace:
    """Follow a channel of a layer.

    Args:
        scale_out: of the channel's slice, real units per code.
        batch, channel: which of conv.x_q's.
        first, count: the window's positions; fewer where the sequence ends.

    Raises ValueError for a batch, channel or position that conv.x_q does not have.
    """
    for name, index, size in zip(
        ("batch", "channel", "position"), (batch, channel, first), conv.x_q.shape, strict=True
    ):
        if not 0 <= index < size:
            raise ValueError(f"{name} is {index}; the layer's input has 0 to {size - 1}")
    one = slice(channel, channel + 1)
    x = conv.x_q[batch : batch + 1, one].contiguous()
    weight, bias = conv.weight_q[one].contiguous(), conv.bias_q[one].contiguous()
    scale_x, scale_w = float(conv.scale_x[channel]), float(conv.scale_w[channel])
    scale_b, scale_out = float(conv.scale_b[channel]), float(np.float32(scale_out))
    arguments: ConvArguments = {
        "weight": weight,
        "bias": bias,
        "scale_x": scale_x,
        "scale_w": scale_w,
        "scale_b": scale_b,
        "scale_out": scale_out,
    }
    steps = trace(x, **arguments)
    backend = default_backend(x)
    written = quant_causal_conv1d(x, backend=backend, **arguments)
    width = weight.shape[1]
    seen = torch.nn.functional.pad(x[0, 0], (width - 1, 0)).unfold(0, width, 1)  # (L, W)
    shown = slice(first, first + count)

    def whole(values: torch.Tensor) -> np.ndarray:
        return values[0, 0, shown].cpu().numpy().astype(np.int64)

    def real(values: torch.Tensor) -> np.ndarray:
        return values[0, 0, shown].cpu().numpy()

    return ChannelTrace(
        channel=channel,
        first=first,
        weight=weight[0].cpu().numpy().astype(np.int64),
        bias=int(bias[0]),
        scale_x=scale_x,
        scale_w=scale_w,
        scale_b=scale_b,
        scale_out=scale_out,
        window=seen[shown].cpu().numpy().astype(np.int64),
        acc=whole(steps.acc),
        v=real(steps.v),
        s=real(steps.s),
        quotient=real(steps.quotient),
        rounded=real(steps.rounded),
        code=whole(steps.code),
        written=whole(written),
        backend=backend,
    )
