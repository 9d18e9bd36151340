"""A scale and a live kernel run -> a LayerReport: numbers and histograms, no tensors.

Two errors are measured and never merged. *Quantization error* is what INT8 costs against float:
``sqnr_db`` for the output alone, from the exact histogram, and ``kernel_sqnr_db`` for the codes
that the kernel really wrote, so that rounding x and the weights counts too. *Kernel error* is how
many codes the kernel that ran gives differently from the reference on the same INT8 input.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from dashboard.calibration import (
    Calibration,
    ConvCapture,
    LayerCalibration,
    SliceCalibration,
    SliceScales,
)
from dashboard.calibration.histogram import Histogram, Quantized, signal_to_noise_db
from dashboard.checkpoints import ConvSlice
from dashboard.messages import Message
from dashboard.rules.channels import GroupScales
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import (
    PUBLISHED_ALPHAS,
    REGISTERED,
    SYMMETRIC_RULES,
    ScaleRule,
    output_scale,
)
from kernels import default_backend, quant_causal_conv1d
from kernels.int8 import QMAX, QMIN, dequantize, quantize, scale_from_amax
from kernels.reference import accumulate, causal_conv1d, dequantize_conv, silu

logger = logging.getLogger(__name__)

SILU_MIN = -0.27846454276107378  # SiLU's least value

# How many of the kernel's codes are compared in one go, where a batch has not more: few calls of
# torch, whose temporaries fit a CPU's cache.
COMPARED_AT_ONCE = 2**19


def codes_of(values: ArrayLike, scale: float, zero_point: int = 0) -> np.ndarray:
    """The INT8 codes (int64) of values of any shape, as the kernel rounds and clamps them."""
    plain = torch.from_numpy(np.asarray(values, dtype=np.float32).copy())
    return quantize(plain, scale, zero_point).numpy().astype(np.int64)


def stranded_codes(scale: float, zero_point: int = 0) -> int:
    """How many codes lie below that of SiLU's minimum, and so never occur."""
    return int(codes_of(SILU_MIN, scale, zero_point)) - QMIN


@dataclass(frozen=True)
class ScaleReport:
    """What one choice of scale_out does to one slice's output."""

    label: str  # by ``rule_label``: a ``Message``
    rule: ScaleRule
    x_out_scale: float
    zero_point: int
    output: Quantized
    predicted_nats: float | None = None  # what it costs the model; None without gradients

    @property
    def observer(self) -> str:
        """The rule's name, as in ``ScaleRule``."""
        return self.rule.observer

    def codes(self, values: ArrayLike) -> np.ndarray:
        """The INT8 codes of values (any shape), as the kernel rounds and clamps them."""
        return codes_of(values, self.x_out_scale, self.zero_point)

    @property
    def low(self) -> float:
        """The value of code -128."""
        return (QMIN - self.zero_point) * self.x_out_scale

    @property
    def high(self) -> float:
        """The value of code 127: amax, where the zero point is 0."""
        return (QMAX - self.zero_point) * self.x_out_scale

    @cached_property
    def stranded_codes(self) -> int:
        """How many negative codes lie below that of SiLU's minimum, and so never occur."""
        return stranded_codes(self.x_out_scale, self.zero_point)

    @property
    def short(self) -> str:
        """The label where room is scarce."""
        registered = self.rule.registered
        if self.label == registered.label:
            return registered.short
        if self.label == Message("{rule}, asymmetric", rule=registered.label):
            return Message("{rule}, asymmetric", rule=registered.short)
        return self.label


@dataclass(frozen=True)
class SliceReport:
    """One slice of a layer under the chosen scale."""

    name: str
    scales: SliceScales
    chosen: ScaleReport
    silu_input: Histogram
    silu_output: Histogram

    @property
    def ratio_weight(self) -> float:
        """x_out_scale / w_scale: the published ratio, of an activation to a weight scale."""
        return self.chosen.x_out_scale / self.scales.w_scale

    @property
    def ratio_wx(self) -> float:
        """x_out_scale / (x_scale · w_scale): like for like."""
        return self.chosen.x_out_scale / self.scales.scale_wx


@dataclass(frozen=True)
class KernelRun:
    """One live run of the kernel over every calibration batch of a layer."""

    backend: str
    time_ms: float
    codes: int
    differing_codes: int
    sqnr_db: tuple[float, ...]  # of each slice, against float y


@dataclass(frozen=True)
class LayerReport:
    """One layer under the chosen rule.

    ``kernel`` is None where no conv input is at hand, as in a calibration read from a file.
    """

    layer: int
    slices: tuple[SliceReport, ...]
    kernel: KernelRun | None
    finer: tuple[GroupScales, ...] | None = None  # of each slice, where groups were asked for
    bests: tuple[ScaleReport, ...] = ()  # each slice's own best α, where it was looked for

    def measures(self, name: str) -> dict:
        """Every measure of one slice, under the names of the definitions.

        Of several scales the ratios are those of the mean, as the published ones are.
        The ratios and top_code_utilization of an asymmetric scale are None: its codes are counted
        from another than 0. ``predicted_nats`` is there where gradients were counted.
        """
        index = [report.name for report in self.slices].index(name)
        report = self.slices[index]
        chosen, output = report.chosen, report.chosen.output
        symmetric = chosen.rule.symmetric  # else a ratio and the top code mean nothing
        finer = self.finer[index].as_dict() if self.finer else {}
        spread = scale_spread(self.finer[index].scales if self.finer else [chosen.x_out_scale])
        mean = spread["x_out_scale_mean"]
        return {
            "x_scale": report.scales.x_scale,
            "w_scale": report.scales.w_scale,
            "b_scale": report.scales.b_scale,
            "scale_wx": report.scales.scale_wx,
            "x_out_scale": chosen.x_out_scale,
            "zero_point": chosen.zero_point,
            "shape": [],  # of x_out_scale: one scale per tensor
            **spread,
            "ratio_weight": mean / report.scales.w_scale if symmetric else None,
            "ratio_wx": mean / report.scales.scale_wx if symmetric else None,
            "saturation_rate": float(output.saturation_rate),
            "top_code_utilization": float(output.top_code_utilization) if symmetric else None,
            "code_utilization": float(output.code_utilization),
            "effective_bits": float(output.effective_bits),
            "sqnr_db": float(output.sqnr_db),
            "best_alpha": self.bests[index].rule.alpha if self.bests else None,
            "gain_db": gain_db(chosen, self.bests[index]) if self.bests else None,
            "rounding_mse": float(output.rounding_mse),
            "clipping_mse": float(output.clipping_mse),
            "kernel_sqnr_db": self.kernel.sqnr_db[index] if self.kernel else None,
            **({} if chosen.predicted_nats is None else {"predicted_nats": chosen.predicted_nats}),
            **finer,
        }

    def as_dict(self) -> dict:
        """The keys of ``analyze --format json``: the x slice's, with B and C nested."""
        first, *rest = (conv_slice.name for conv_slice in self.slices)
        ran = self.kernel
        return {
            "layer": self.layer,
            **self.measures(first),
            "backend": ran and ran.backend,
            "kernel_time_ms": ran and ran.time_ms,
            "kernel_codes": ran and ran.codes,
            "kernel_differing_codes": ran and ran.differing_codes,
            "source": "calibrated",
            **{name: self.measures(name) for name in rest},
        }


def scale_spread(scales: ArrayLike) -> dict[str, float]:
    """Least, mean and greatest of a slice's output scales; the mean in float64."""
    values = np.asarray(scales, dtype=np.float64)
    spread = {"min": values.min(), "mean": values.mean(), "max": values.max()}
    return {f"x_out_scale_{name}": float(value) for name, value in spread.items()}


def gain_db(chosen: ScaleReport, best: ScaleReport) -> float:
    """What another scale has over the chosen one, in dB; 0 where neither makes an error."""
    before, after = float(chosen.output.sqnr_db), float(best.output.sqnr_db)
    return 0.0 if before == after else after - before


def saved_share(chosen: ScaleReport, best: ScaleReport) -> float:
    """What share of a scale's predicted cost another would save; negative where it costs more.

    0 where neither costs anything. Raises ValueError where no gradients were counted.
    """
    if chosen.predicted_nats is None or best.predicted_nats is None:
        raise ValueError("what a scale costs needs gradients, which were not counted")
    if chosen.predicted_nats == 0:
        return 0.0
    return 1 - best.predicted_nats / chosen.predicted_nats


def report_slices(calibration: LayerCalibration, rule: ScaleRule) -> tuple[SliceReport, ...]:
    """What the chosen rule does to each slice of a layer, from the histograms alone."""
    return tuple(
        report_slice(counted, report_scale(counted, rule)) for counted in calibration.slices
    )


def report_slice(counted: SliceCalibration, chosen: ScaleReport) -> SliceReport:
    """A slice under a scale that was made of it."""
    return SliceReport(
        name=counted.name,
        scales=counted.scales,
        chosen=chosen,
        silu_input=counted.silu_input,
        silu_output=counted.silu_output,
    )


def report_bests(
    calibration: LayerCalibration, landscapes: Mapping[tuple[int, str], Landscape]
) -> tuple[ScaleReport, ...]:
    """What each slice's own best α makes of it; ``landscapes`` are of ``landscape.landscapes``."""
    return tuple(
        report_scale(counted, landscapes[calibration.layer, counted.name].best_rule)
        for counted in calibration.slices
    )


def report_scale(counted: SliceCalibration, rule: ScaleRule) -> ScaleReport:
    """One rule's scale, and what it makes of the output's histogram."""
    chosen = output_scale(rule, counted)
    output = counted.silu_output.quantize(chosen.scale, chosen.zero_point)
    nats = None
    if counted.gradients is not None:
        nats = float(counted.gradients.predicted_nats(chosen.scale, chosen.zero_point))
    return ScaleReport(rule_label(rule), rule, chosen.scale, chosen.zero_point, output, nats)


def rule_label(rule: ScaleRule) -> Message:
    """A rule and what of its settings matters."""
    label = Message(
        rule.registered.label, alpha=format_alpha(rule.alpha), sigma=format_alpha(rule.sigma)
    )
    return label if rule.symmetric else Message("{rule}, asymmetric", rule=label)


@lru_cache(4096)  # a page writes the same few hundred in each run
def format_alpha(alpha: float) -> str:
    """0.9, 0.9995, 0.99999, 1: as many digits as α has, never in scientific notation."""
    return np.format_float_positional(alpha, trim="-")


def distinct(rows: Iterable[ScaleReport]) -> tuple[ScaleReport, ...]:
    """Each rule once, in order; settings that a rule does not use make no other."""
    kept: dict[tuple, ScaleReport] = {}
    for row in rows:
        kept.setdefault(_used(row.rule), row)
    return tuple(kept.values())


def _used(rule: ScaleRule) -> tuple:
    """A rule and those of its settings that it uses."""
    used: tuple = (rule.observer, rule.symmetric)
    if rule.registered.uses_alpha:
        used += (rule.alpha,)
    if rule.registered.averages:
        used += (rule.sigma, rule.order)
    return used


def baselines(rule: ScaleRule) -> tuple[ScaleRule, ...]:
    """Every symmetric scale that a choice is held to.

    The percentile at both published α; each other rule, at the choice's settings where it uses
    them; and the baselines.
    """
    percentiles = [ScaleRule("percentile", alpha) for alpha in PUBLISHED_ALPHAS]
    others = [REGISTERED[name] for name in SYMMETRIC_RULES if name != "percentile"]
    rest = [
        ScaleRule(other.name, rule.alpha, rule.sigma, rule.order)
        if other.uses_alpha
        else ScaleRule(other.name)
        for other in sorted(others, key=lambda other: other.baseline)
    ]
    return (*percentiles, *rest)


@dataclass(frozen=True)
class HeldOut:
    """A scale calibrated on one text, and what it makes of that text and of another."""

    layer: int
    own: ScaleReport
    there: Quantized


def evaluate_held_out(
    layer: int, own: SliceCalibration, other: SliceCalibration, rule: ScaleRule
) -> HeldOut:
    """Calibrate on ``own`` and quantize ``other``'s output with the same scale."""
    chosen = report_scale(own, rule)
    return HeldOut(layer, chosen, other.silu_output.quantize(chosen.x_out_scale, chosen.zero_point))


def evaluate_held_out_layers(
    own: Calibration, other: Calibration, index: int, rule: ScaleRule
) -> tuple[HeldOut, ...]:
    """A slice of every layer, calibrated on the one text and evaluated on the other.

    Args:
        own, other: two calibrations of one checkpoint.
        index: of the slice.
    """
    return tuple(
        evaluate_held_out(here.layer, here.slices[index], there.slices[index], rule)
        for here, there in zip(own.layers, other.layers, strict=True)
    )


def sweep_scales(counted: SliceCalibration, points: int = 240) -> Quantized:
    """Every measure at ``points`` scales, evenly in the logarithm, over all that the rules span."""
    ends = (counted.scale_wx, scale_from_amax(counted.silu_input.absmax))
    low, high = min(ends) / 1.6, max(*ends, scale_from_amax(counted.silu_output.absmax)) * 1.6
    return counted.silu_output.quantize(np.geomspace(low, high, points))


@dataclass(frozen=True, eq=False)
class QuantizedConv:
    """A layer's conv input, weights and bias as INT8, and what float makes of them.

    Nothing here depends on scale_out, so one of these serves every α.
    """

    x_q: Tensor  # (N, D, L) int8
    weight_q: Tensor  # (D, W) int8
    bias_q: Tensor  # (D,) int8
    scale_x: Tensor  # (D,) float32, each slice's scale repeated over its channels
    scale_w: Tensor
    scale_b: Tensor
    silu_ref: Tensor  # (N, D, L) float32, the reference's SiLU output of the INT8 inputs
    y: Tensor  # (N, D, L) float32, SiLU output of the float inputs
    signal: tuple[float, ...]  # Σ y² of each slice
    slices: tuple[ConvSlice, ...]


def quantize_conv(
    capture: ConvCapture,
    slices: Sequence[ConvSlice],
    scales: Sequence[SliceScales],
    device: str = "cpu",
) -> QuantizedConv:
    """Quantize what goes into a layer's convolution, each slice with its own scales.

    Batch by batch: the temporaries of one fit a CPU's cache, which is four times as fast.
    """
    scale_x = per_channel(slices, [s.x_scale for s in scales], device)
    scale_w = per_channel(slices, [s.w_scale for s in scales], device)
    scale_b = per_channel(slices, [s.b_scale for s in scales], device)
    weight, bias = capture.weight.to(device), capture.bias.to(device)
    weight_q = quantize(weight, scale_w[:, None])
    bias_q = quantize(bias, scale_b)
    x_q = torch.empty(capture.x.shape, dtype=torch.int8, device=device)
    silu_ref = torch.empty(capture.x.shape, dtype=torch.float32, device=device)
    y = torch.empty_like(silu_ref)
    for i, batch in enumerate(capture.x.split(1)):
        x = batch.to(device)
        x_q[i] = quantize(x, scale_x[:, None])[0]
        acc = accumulate(x_q[i : i + 1], weight_q)
        silu_ref[i] = silu(dequantize_conv(acc, bias_q, scale_x, scale_w, scale_b))[0]
        y[i] = F.silu(causal_conv1d(x, weight, bias))[0]
    signal = tuple(sum(energy(batch[conv_slice.channels]) for batch in y) for conv_slice in slices)
    return QuantizedConv(
        x_q, weight_q, bias_q, scale_x, scale_w, scale_b, silu_ref, y, signal, tuple(slices)
    )


def per_channel(
    slices: Sequence[ConvSlice], scales: Sequence[float], device: str | torch.device
) -> Tensor:
    """One scale a slice -> one a channel, (D,) float32."""
    widths = torch.tensor([conv_slice.width for conv_slice in slices])
    return torch.tensor(scales, dtype=torch.float32).repeat_interleave(widths).to(device)


def run_kernel(
    conv: QuantizedConv,
    scales_out: Sequence[float] | Tensor,
    backend: str | None = None,
    zero_points: Sequence[int] = (),
) -> KernelRun:
    """Run the kernel on every batch, live, and compare it with the reference and with float.

    Args:
        scales_out: one x_out_scale a slice, or one a channel: (D,) float32.
        backend: as in ``kernels.quant_causal_conv1d``; None picks the best that can run.
        zero_points: the code of 0, one a slice; none where all are symmetric.
    """
    zero_point: int | Tensor = 0
    if any(zero_points):
        zero_point = per_channel(conv.slices, zero_points, conv.x_q.device).to(torch.int32)
    if isinstance(scales_out, Tensor):
        scale_out = scales_out.to(conv.x_q.device)
    else:
        scale_out = per_channel(conv.slices, scales_out, conv.x_q.device)
    backend = backend or default_backend(conv.x_q)

    def run() -> Tensor:
        return quant_causal_conv1d(
            conv.x_q,
            conv.weight_q,
            conv.bias_q,
            scale_x=conv.scale_x,
            scale_w=conv.scale_w,
            scale_b=conv.scale_b,
            scale_out=scale_out,
            zero_point=zero_point,
            backend=backend,
        )

    offset = zero_point[:, None] if isinstance(zero_point, Tensor) else zero_point
    codes, time_ms = timed(run, backend)
    differing, error_sum = 0, [0.0] * len(conv.slices)
    batches = max(1, COMPARED_AT_ONCE // codes[0].numel())
    for written, silu_ref, y in zip(
        codes.split(batches), conv.silu_ref.split(batches), conv.y.split(batches), strict=True
    ):
        expected = quantize(silu_ref, scale_out[:, None], offset)
        differing += int((written != expected).sum())
        error = dequantize(written, scale_out[:, None], offset) - y
        for batch in error:
            for k, conv_slice in enumerate(conv.slices):
                error_sum[k] += energy(batch[conv_slice.channels])
    if differing:
        logger.warning(
            "%s gives %d of %d codes other than the reference", backend, differing, codes.numel()
        )
    return KernelRun(
        backend=backend,
        time_ms=time_ms,
        codes=codes.numel(),
        differing_codes=differing,
        sqnr_db=tuple(
            float(signal_to_noise_db(s, n)) for s, n in zip(conv.signal, error_sum, strict=True)
        ),
    )


def timed(run: Callable[[], Tensor], backend: str) -> tuple[Tensor, float]:
    """What a run of the kernel gives, and how long it took in ms; compiling does not count."""
    if backend == "triton":
        run()
        torch.cuda.synchronize()
    started = time.perf_counter()
    codes = run()
    if codes.is_cuda:
        torch.cuda.synchronize()
    return codes, (time.perf_counter() - started) * 1e3


def energy(values: Tensor) -> float:
    """Σ v² of (D, L) values, each channel in float32, the channels added in float64."""
    return float(torch.linalg.vector_norm(values, dim=-1).double().square().sum())
