"""What INT8 can hold: a handful of values, one scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from kernels.int8 import QMAX, QMIN, dequantize, quantize

VALUES = (-1.63, -0.28, 0.07, 0.47, 1.0, 1.93, 3.1, 4.4)
CLOSE = 0.47  # the value that is shown from near
DEFAULT_SCALE = 0.025
SCALES = tuple(float(f"{scale:.2g}") for scale in np.geomspace(0.005, 0.2, 33))


@dataclass(frozen=True)
class Held:
    """One value and what is left of it."""

    value: float
    code: int
    back: float  # the code, dequantized
    saturated: bool

    @property
    def error(self) -> float:
        return self.back - self.value


@dataclass(frozen=True)
class Holding:
    """A handful of values under one scale."""

    scale: float
    values: tuple[Held, ...]

    @staticmethod
    def of(scale: float, values: tuple[float, ...] = VALUES) -> Holding:
        """Quantize as the kernel does; raises ValueError for a scale that is not > 0."""
        real = torch.tensor(values, dtype=torch.float32)
        codes = quantize(real, scale)
        back = dequantize(codes, scale)
        unclamped = real.double() / float(np.float32(scale))
        beyond = (unclamped >= QMAX + 0.5) | (unclamped <= QMIN - 0.5)
        return Holding(scale, tuple(
            Held(value, int(code), float(restored), bool(out))
            for value, code, restored, out in zip(values, codes, back, beyond, strict=True)
        ))  # fmt: skip

    @property
    def low(self) -> float:
        return QMIN * self.scale

    @property
    def high(self) -> float:
        return QMAX * self.scale

    @property
    def saturated(self) -> int:
        return sum(held.saturated for held in self.values)

    @property
    def worst_rounding(self) -> float:
        """The largest error among the values inside the range; 0 where there is none."""
        return max((abs(held.error) for held in self.values if not held.saturated), default=0.0)
