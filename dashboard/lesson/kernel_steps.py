"""One position of one channel on its way through the kernel, number by number."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.analysis.pipeline import trace_channel
from dashboard.analysis.report import QuantizedConv


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
    found = trace_channel(conv, scale_out, batch, channel, first=position, count=1)
    return Trace(
        x_q=tuple(found.window[0].tolist()),
        weight_q=tuple(found.weight.tolist()),
        acc=int(found.acc[0]),
        scale_x=found.scale_x,
        scale_w=found.scale_w,
        scale_b=found.scale_b,
        bias_q=found.bias,
        v=float(found.v[0]),
        y=float(found.s[0]),
        scale_out=scale_out,
        code=int(found.code[0]),
        kernel_code=int(found.written[0]),
        backend=found.backend,
        y_float=float(conv.y[batch, channel, position]),
    )
