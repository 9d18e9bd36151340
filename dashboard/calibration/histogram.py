"""The exact histogram: how often each float16 value occurred, and all that follows from it.

A float16 has 65,536 bit patterns, so a layer's activations, rounded to float16 (what an FP16
calibration run sees), are described completely by as many counts: everything that a per-tensor
scale depends on is a function of them. Counts merge by addition, in any order, to the same bits.
A quantile, the squared error, the saturation rate or the code histogram at any scale is then
exact, costs well under a millisecond, and needs no second pass over the model.

A ``Histogram`` keeps only the values that occurred, ascending, beside their counts: a few thousand
pairs for one batch, tens of thousands for a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dashboard.refusals import Refusal
from kernels.int8 import QMAX, QMIN

CODES = np.arange(QMIN, QMAX + 1)  # (256,) every INT8 code

# torch.quantile refuses larger inputs, and works in float32 up to here. To give its bits, so do we.
TORCH_QUANTILE_LIMIT = 16_777_216

PATTERNS = 65536  # of a float16

# 2^20 values keep the widened patterns (4 MB) inside the cache while they are counted.
CHUNK = 1 << 20

# The value of each bit pattern, shifted so that the patterns 0x8000 ... 0xFFFF (negative) come
# first: index = pattern, read as int16, + 32768.
_SHIFTED_PATTERNS = np.arange(-32768, 32768).astype(np.int16)
_SHIFTED_VALUES = _SHIFTED_PATTERNS.view(np.float16).astype(np.float32)
# Within a sign, patterns ascend with the magnitude, and end with infinity and the NaNs.
FINITE = 31744  # of one sign
PLUS_ZERO = 32768


def _ascending(shifted: np.ndarray) -> np.ndarray:
    """Entries by shifted pattern (..., 65536) -> those of finite values, by ascending value."""
    negative, positive = shifted[..., :FINITE], shifted[..., PLUS_ZERO : PLUS_ZERO + FINITE]
    return np.concatenate([negative[..., ::-1], positive], axis=-1)


def merged_ascending(by_pattern: np.ndarray) -> np.ndarray:
    """Counts or sums by shifted pattern (..., 65536) -> those of ``ASCENDING_VALUES``, -0 with +0.

    -0 stays in the list, and has 0.
    """
    merged = _ascending(by_pattern)
    merged[..., FINITE] += merged[..., FINITE - 1]
    merged[..., FINITE - 1] = 0
    return merged


ASCENDING_VALUES = _ascending(_SHIFTED_VALUES)  # (63488,) every finite float16, -0 before +0


def shifted_patterns(values: Tensor) -> Tensor:
    """Of each value, rounded to float16, its bit pattern read as int16, + 32768: int32."""
    return values.to(torch.float16).view(torch.int16).to(torch.int32) + 32768


def count_patterns(values: Tensor) -> Tensor:
    """Count float16 bit patterns.

    Args:
        values: any shape, a floating dtype, any device; rounded to float16 here.

    Returns:
        (65536,) int64 on the same device; entry i counts the pattern that reads as the int16
        i - 32768.

    Raises Refusal where a value is NaN, infinite, or beyond float16's range (|v| >= 65520).
    """
    chunks = values.detach().reshape(-1).split(CHUNK)
    if values.is_cuda or len(chunks) == 1:
        counts = _count_chunks(chunks)
    else:  # bincount keeps one core busy: a thread a core
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:
            shares = [chunks[i::threads] for i in range(threads)]
            counts = torch.stack(list(pool.map(_count_chunks, shares))).sum(0)
    strange = int(counts[FINITE:PLUS_ZERO].sum() + counts[PLUS_ZERO + FINITE :].sum())
    check_finite(strange, values.numel())
    return counts


def check_finite(strange: int, total: int) -> None:
    """Raises Refusal where some of the values that were counted are no finite float16."""
    if strange:
        raise Refusal(
            "{count} of {total} values are NaN, infinite or beyond float16's range (±65,504); a "
            "scale needs finite activations",
            count=f"{strange:,}",
            total=f"{total:,}",
        )


def _count_chunks(chunks: Sequence[Tensor]) -> Tensor:
    """(65536,) int64, chunk by chunk, so that the widened patterns stay few."""
    counts: Tensor | int = 0
    for chunk in chunks:
        counts = counts + torch.bincount(shifted_patterns(chunk), minlength=PATTERNS)
    if isinstance(counts, int):  # no chunk
        return torch.zeros(PATTERNS, dtype=torch.int64)
    return counts


PrefixSums = tuple[np.ndarray, np.ndarray, np.ndarray]


def prefix_sums(values: np.ndarray, weights: np.ndarray) -> PrefixSums:
    """(K + 1,) float64 each: Σ w, Σ w·v and Σ w·v² over the values before an index.

    Args:
        values: (K,) ascending.
        weights: (K,) of each value: how often it occurred, or anything else that adds up.
    """
    wide = values.astype(np.float64)

    def before(moments: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(weights * moments)])

    return before(np.ones_like(wide)), before(wide), before(wide * wide)


def code_value(scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """(..., 256) float64: what each code, -128 … 127, is dequantized to."""
    return (CODES - zero_point[..., None]) * scale.astype(np.float64)[..., None]


def code_edges(values: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """Index of the first value whose unclamped code exceeds c, for c = -129 ... 127.

    Args:
        values: (K,) float32, ascending.
        scale, zero_point: of one shape, float32 and int64, as ``Histogram.quantize`` has them.

    (..., 257) int64. Halves round away from zero: on the positive side a quotient equal to
    c + ½ already belongs to the next code, on the negative side it does not yet.
    """
    # Edges between codes, in quotients: -128.5 ... 127.5 where the zero point is 0.
    halves = np.arange(QMIN - 1, QMAX + 1) + 0.5 - zero_point[..., None]  # (..., 257)
    positive = halves > 0
    threshold = halves * scale.astype(np.float64)[..., None]  # exact: 10 + 24 bits
    index = np.searchsorted(values, threshold, "left")
    # A quotient that is a half, or is rounded onto one in float32, goes away from zero.
    before = np.maximum(index - 1, 0)
    after = np.minimum(index, len(values) - 1)
    divisor = scale[..., None]
    rounds_up = positive & (index > 0) & (values[before] / divisor >= halves)
    rounds_down = ~positive & (index < len(values)) & (values[after] / divisor <= halves)
    return index - rounds_up + rounds_down


def squared_errors(
    sums: PrefixSums, edges: np.ndarray, code_values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Σ w·(dequantized − v)² over the values inside the code range, and beyond it.

    Args:
        sums: from ``prefix_sums``.
        edges: (..., 257) from ``code_edges`` of the same values.
        code_values: (..., 256) from ``code_value``.

    Both are (...,) float64, in squared real units times the weights' unit, never negative.
    """
    number, first, second = (prefix[edges] for prefix in sums)
    n_bin, s1_bin, s2_bin = (np.diff(p, axis=-1) for p in (number, first, second))
    # Σ w (code·scale - v)², expanded; rounding error of the sums can leave -1e-17.
    rounding = (n_bin * code_values**2 - 2 * code_values * s1_bin + s2_bin).sum(-1)
    n_all, s1_all, s2_all = (prefix[-1] for prefix in sums)
    low, high = code_values[..., 0], code_values[..., -1]
    n_low, n_high = number[..., 0], n_all - number[..., -1]
    clipping = (n_low * low**2 - 2 * low * first[..., 0] + second[..., 0]) + (
        n_high * high**2 - 2 * high * (s1_all - first[..., -1]) + (s2_all - second[..., -1])
    )
    outside = (edges[..., 0] > 0) | (edges[..., -1] < len(sums[0]) - 1)
    return np.maximum(rounding, 0.0), np.where(outside, np.maximum(clipping, 0.0), 0.0)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of the float16 values that occurred.

    ``values`` (K,) float32, strictly ascending, finite, each a float16 value (-0 counts as 0);
    ``counts`` (K,) int64, each > 0. The same data give the same bits, however they were merged.
    """

    values: np.ndarray
    counts: np.ndarray

    @staticmethod
    def of(values: Tensor) -> Histogram:
        """Count a tensor of any shape and floating dtype; raises as ``count_patterns`` does."""
        return Histogram.from_patterns(count_patterns(values))

    @staticmethod
    def from_patterns(counts: Tensor) -> Histogram:
        """The histogram of pattern counts, as ``count_patterns`` returns them, or sums of those."""
        ascending = merged_ascending(counts.cpu().numpy())
        present = np.flatnonzero(ascending)
        return Histogram(ASCENDING_VALUES[present], ascending[present])

    @staticmethod
    def sum(histograms: Sequence[Histogram]) -> Histogram:
        """All of them merged; the same bits in any order."""
        return Histogram._merged(
            np.concatenate([histogram.values for histogram in histograms]),
            np.concatenate([histogram.counts for histogram in histograms]),
        )

    @staticmethod
    def _merged(values: np.ndarray, counts: np.ndarray) -> Histogram:
        """Sort, and add up the counts of equal values (+0 and -0 are equal)."""
        order = np.argsort(values, kind="stable")  # merges runs, which the parts are
        ascending = values[order]
        first = np.flatnonzero(np.diff(ascending, prepend=np.float32(np.nan)))  # of equal values
        summed = np.add.reduceat(counts[order], first, dtype=np.int64)
        return Histogram(ascending[first] + np.float32(0.0), summed)  # -0 + 0 = +0

    def narrow(self) -> tuple[np.ndarray, np.ndarray]:
        """Its values as float16, which they are, and its counts in any integers that hold them."""
        return self.values.astype(np.float16), self.counts

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram.sum([self, other])

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def min(self) -> float:
        """The least value that occurs."""
        return float(self.values[0])

    @property
    def max(self) -> float:
        """The greatest value that occurs."""
        return float(self.values[-1])

    @property
    def absmax(self) -> float:
        """max |v|, at float16's resolution."""
        return max(-self.min, self.max)

    @cached_property
    def abs(self) -> Histogram:
        """The histogram of the absolute values."""
        return Histogram._merged(np.abs(self.values), self.counts)

    @cached_property
    def negated(self) -> Histogram:
        """The histogram of the values with their signs turned."""
        return Histogram(-self.values[::-1] + np.float32(0.0), self.counts[::-1])

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return np.cumsum(self.counts)

    @cached_property
    def _prefix_sums(self) -> PrefixSums:
        return prefix_sums(self.values, self.counts)

    def quantile(self, alpha: float) -> float:
        """The α-quantile, with linear interpolation between neighbours.

        Gives the bits of ``torch.quantile(values.float(), alpha)`` where that can run (up to
        16,777,216 values; it computes the rank in float32), beyond it those of numpy on float64.

        Raises ValueError for an empty histogram or an alpha outside [0, 1].
        """
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha is {alpha}; a quantile needs 0 <= alpha <= 1")
        last = self.total - 1
        if last < 0:
            raise ValueError("the histogram is empty; a quantile needs at least one value")
        if last < TORCH_QUANTILE_LIMIT:
            rank = float(np.float32(alpha) * np.float32(last))
        else:
            rank = alpha * last
        below = int(rank)
        low, high = self.values[
            np.searchsorted(self._cumulative, [below, int(np.ceil(rank))], side="right")
        ]
        if last < TORCH_QUANTILE_LIMIT:
            weight = torch.tensor(rank, dtype=torch.float32) - below
            return float(torch.lerp(torch.tensor(low), torch.tensor(high), weight))
        return float(low + (np.float64(high) - low) * (rank - below))

    def count_within(self, low: float, high: float) -> int:
        """How many values v have low <= v <= high."""
        inside = (self.values >= low) & (self.values <= high)
        return int(self.counts[inside].sum())

    def share_within(self, low: float, high: float) -> float:
        """The share of the values v with low <= v <= high."""
        return self.count_within(low, high) / self.total

    def rebin(self, edges: np.ndarray) -> np.ndarray:
        """Counts between ascending ``edges`` (E,), half open, the last bin closed: (E - 1,) int64.

        Plots re-bin; nothing else does.
        """
        return np.histogram(self.values, bins=edges, weights=self.counts)[0].astype(np.int64)

    def quantize(self, scale: float | np.ndarray, zero_point: int | np.ndarray = 0) -> Quantized:
        """What INT8 with this scale makes of the values, exactly.

        Args:
            scale: real units per code, > 0, read as float32 as the kernel does; one or an array
                of any shape. Each result then has that shape.
            zero_point: the code of 0, -128 ... 127: 0 for symmetric INT8. One, or an array that
                broadcasts with ``scale``.

        Values are divided by the scale in float32 and rounded half away from zero, so every value
        gets the code that ``kernels.int8.quantize`` gives it; the zero point is added after that,
        and the sum is clamped.
        """
        scale, zero_point = np.broadcast_arrays(
            np.asarray(scale, dtype=np.float32), np.asarray(zero_point, dtype=np.int64)
        )
        edges = code_edges(self.values, scale, zero_point)
        code_values = code_value(scale, zero_point)
        rounding, clipping = squared_errors(self._prefix_sums, edges, code_values)
        number = self._prefix_sums[0]
        n_bin = np.diff(number[edges], axis=-1)
        n_low, n_high = number[edges[..., 0]], number[-1] - number[edges[..., -1]]
        counts = n_bin.astype(np.int64)
        counts[..., 0] += n_low.astype(np.int64)
        counts[..., -1] += n_high.astype(np.int64)
        return Quantized(
            scale=scale,
            zero_point=zero_point,
            code_counts=counts,
            saturated_low=n_low.astype(np.int64),
            saturated_high=n_high.astype(np.int64),
            rounding_sse=rounding,
            clipping_sse=clipping,
            signal=float(self._prefix_sums[2][-1]),
        )


@dataclass(frozen=True, eq=False)
class Quantized:
    """What INT8 with one scale makes of a histogram, or with each of an array of scales.

    Shapes: S is the shape of the scales, () for one. ``code_counts`` (*S, 256) int64, codes -128
    to 127, saturated values in the outermost; ``saturated_low`` and ``saturated_high`` (*S,) values
    whose code, before clamping, lies below -128 or above 127; ``rounding_sse`` and ``clipping_sse``
    (*S,) Σ (dequantized - v)² over the values inside and beyond the range (squared real units);
    ``signal`` Σ v². The range is -128 ... 127 after the zero point is added.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    code_counts: np.ndarray
    saturated_low: np.ndarray
    saturated_high: np.ndarray
    rounding_sse: np.ndarray
    clipping_sse: np.ndarray
    signal: float

    def of(self, index: slice | int) -> Quantized:
        """That of some of the scales, where they are a list."""
        return Quantized(
            scale=self.scale[index],
            zero_point=self.zero_point[index],
            code_counts=self.code_counts[index],
            saturated_low=self.saturated_low[index],
            saturated_high=self.saturated_high[index],
            rounding_sse=self.rounding_sse[index],
            clipping_sse=self.clipping_sse[index],
            signal=self.signal,
        )

    @cached_property
    def total(self) -> np.ndarray:
        """How many values were quantized."""
        return self.code_counts.sum(-1)

    @property
    def saturated(self) -> np.ndarray:
        """How many values lie beyond the code range."""
        return self.saturated_low + self.saturated_high

    @property
    def saturation_rate(self) -> np.ndarray:
        """Share of the values beyond the code range."""
        return self.saturated / self.total

    @property
    def rounding_mse(self) -> np.ndarray:
        """Mean squared error of the values within the range, over all values; one a scale."""
        return self.rounding_sse / self.total

    @property
    def clipping_mse(self) -> np.ndarray:
        """Mean squared error of the values beyond the range, over all values; one a scale."""
        return self.clipping_sse / self.total

    @property
    def clipping_share(self) -> np.ndarray:
        """Clipping's share of the squared error, 0 where there is no error."""
        error = self.rounding_sse + self.clipping_sse
        return np.divide(self.clipping_sse, error, out=np.zeros_like(error), where=error > 0)

    @property
    def sqnr_db(self) -> np.ndarray:
        """10·log10(Σ v² / Σ (dequantized - v)²); infinite where there is no error."""
        return signal_to_noise_db(self.signal, self.rounding_sse + self.clipping_sse)

    @property
    def codes_used(self) -> np.ndarray:
        """How many of the 256 codes occur; one a scale."""
        return (self.code_counts > 0).sum(-1)

    @property
    def code_utilization(self) -> np.ndarray:
        """Distinct codes used / 256."""
        return self.codes_used / 256

    @property
    def top_code(self) -> np.ndarray:
        """The largest |code| used."""
        return np.where(self.code_counts > 0, np.abs(CODES), 0).max(-1)

    @property
    def top_code_utilization(self) -> np.ndarray:
        """max |code| / 127, at most 1: the measure of the published analysis."""
        return np.minimum(self.top_code, QMAX) / QMAX

    @property
    def effective_bits(self) -> np.ndarray:
        """Entropy of the code histogram, in bits."""
        share = self.code_counts / self.total[..., None]
        log = np.log2(share, out=np.zeros_like(share), where=share > 0)
        return -(share * log).sum(-1) + 0.0


def signal_to_noise_db(signal: float, error: float | np.ndarray) -> np.ndarray:
    """10·log10(signal / noise): +inf without noise, -inf without signal, in dB."""
    error = np.asarray(error, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_db = 10 * (np.log10(np.float64(signal)) - np.log10(error))
    return np.where(error > 0, ratio_db, np.inf)
