"""One position of one channel on its way through the kernel, number by number."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dashboard.report import QuantizedConv
from kernels import default_backend, quant_causal_conv1d
from kernels.int8 import quantize
from kernels.reference import accumulate, dequantize_conv, silu


@dataclass(frozen=True)
class Trace:
    """Every number between four input codes and one output code.

    ``x_q`` and ``weight_q`` hold the taps from the oldest to the position itself; positions before
    the first count as 0.
    """

    x_q: tuple[int, ...]
    weight_q: tuple[int, ...]
    acc: int
    scale_x: float
    scale_w: float
    scale_b: float
    bias_q: int
    v: float
    y: float  # SiLU(v)
    scale_out: float
    code: int
    kernel_code: int  # what the live kernel wrote at this position
    backend: str
    y_float: float  # the float model's y, with nothing quantized

    @property
    def scale_wx(self) -> float:
        return self.scale_x * self.scale_w

    @property
    def products(self) -> tuple[int, ...]:
        return tuple(x * w for x, w in zip(self.x_q, self.weight_q, strict=True))

    @property
    def bias(self) -> float:
        return self.bias_q * self.scale_b

    @property
    def quotient(self) -> float:
        """y in codes, before rounding."""
        return self.y / self.scale_out

    @property
    def back(self) -> float:
        """The code, dequantized."""
        return self.code * self.scale_out


def trace(conv: QuantizedConv, batch: int, channel: int, position: int, scale_out: float) -> Trace:
    """Follow one value; the kernel runs live on the whole row that the value stands in.

    Args:
        conv: a layer's quantized convolution, from ``report.quantize_conv``.
        batch, channel, position: where to look; each must lie within ``conv.x_q``.
        scale_out: real units per code of the output.
    """
    for name, index, size in zip(("batch", "channel", "position"), (batch, channel, position),
                                 conv.x_q.shape, strict=True):  # fmt: skip
        if not 0 <= index < size:
            raise ValueError(f"{name} is {index}; the layer's input has 0 to {size - 1}")
    row = conv.x_q[batch : batch + 1, channel : channel + 1]
    only = slice(channel, channel + 1)
    weight, bias = conv.weight_q[only], conv.bias_q[only]
    scales = {
        "scale_x": float(conv.scale_x[channel]),
        "scale_w": float(conv.scale_w[channel]),
        "scale_b": float(conv.scale_b[channel]),
    }
    acc = accumulate(row, weight)
    v = dequantize_conv(acc, bias, **scales)
    y = silu(v)
    codes = quantize(y, scale_out)
    backend = default_backend(row)
    written = quant_causal_conv1d(row, weight, bias, **scales, scale_out=scale_out, backend=backend)
    width = weight.shape[1]
    padded = torch.nn.functional.pad(row[0, 0], (width - 1, 0))
    at = (0, 0, position)
    return Trace(
        x_q=tuple(padded[position : position + width].tolist()),
        weight_q=tuple(weight[0].tolist()),
        acc=int(acc[at]),
        bias_q=int(bias[0]),
        v=float(v[at]),
        y=float(y[at]),
        scale_out=scale_out,
        code=int(codes[at]),
        kernel_code=int(written[at]),
        backend=backend,
        y_float=float(conv.y[batch, channel, position]),
        **scales,
    )
