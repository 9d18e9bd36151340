"""The scales of a checkpoint that is quantized already: the same document, read, not calibrated.

There is no forward to run and so no activation to judge a scale by: no SQNR, no saturation, no best
α (``health`` judges with the float model beside it). What can be said is what is stored, whether α
had a part in it, whether two places that hold the same scale agree, and that the kernel runs on the
INT8 convolution as it is stored. A W4A16 mixer has no scales; its float convolution is described by
the scales that its weights would have.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from dashboard.analysis.report import scale_spread, timed
from dashboard.checkpoints import Checkpoint, StoredLayer, StoredSlice
from kernels import default_backend, quant_causal_conv1d, reference
from kernels.int8 import scale_from_amax

logger = logging.getLogger(__name__)

POSITIONS = 512  # of the stand-in input


@dataclass(frozen=True)
class StoredRun:
    """One live run of the kernel with a layer's stored weights and scales."""

    backend: str
    time_ms: float
    codes: int
    differing_codes: int


def run_all(checkpoint: Checkpoint, layers: Sequence[int], device: str) -> dict[int, StoredRun]:
    """``run_stored`` of each of the layers whose convolution is INT8, by the layer's number."""
    stored = [checkpoint.stored_layer(i) for i in layers if i in checkpoint.stored_layers]
    return {layer.layer: run_stored(layer, device) for layer in stored}


def run_stored(layer: StoredLayer, device: str = "cpu") -> StoredRun:
    """Run the kernel and the reference on evenly drawn INT8 codes: a stand-in for activations.

    It proves that the stored scales and weights run and give the reference's codes, and says
    nothing about how good they are.
    """
    channels = layer.weight_q.shape[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-128, 128, (1, channels, POSITIONS), generator=generator, dtype=torch.int8)
    x, arguments = x.to(device), layer.kernel_arguments(device)
    backend = default_backend(x)

    def run() -> torch.Tensor:
        return quant_causal_conv1d(x, backend=backend, **arguments)

    codes, time_ms = timed(run, backend)
    differing = int((codes != reference.quant_causal_conv1d(x, **arguments)).sum())
    if differing:
        logger.warning(
            "layer %d: %s gives %d of %d codes other than the reference",
            layer.layer,
            backend,
            differing,
            codes.numel(),
        )
    return StoredRun(backend, time_ms, codes.numel(), differing)


def stored_document(
    checkpoint: Checkpoint, layers: Sequence[int], runs: Mapping[int, StoredRun]
) -> dict:
    """The chosen layers as ``analyze --format json`` writes them; what is not known is null.

    Args:
        runs: of each of ``layers`` whose convolution is INT8.
    """
    return {
        "checkpoint": checkpoint.name,
        "family": checkpoint.family,
        "backend": next((run.backend for run in runs.values()), None),
        **dict.fromkeys(("text", "text_sha256", "batches", "seq_len", "observer", "alpha")),
        **dict.fromkeys(("sigma", "order", "symmetric")),
        "layers": [
            _layer(checkpoint.stored_layer(layer), runs[layer])
            if layer in runs
            else _float_layer(checkpoint, layer)
            for layer in layers
        ],
    }


def _layer(stored: StoredLayer, run: StoredRun) -> dict:
    first, *rest = stored.slices
    return {
        "layer": stored.layer,
        **_measures(first),
        "backend": run.backend,
        "kernel_time_ms": run.time_ms,
        "kernel_codes": run.codes,
        "kernel_differing_codes": run.differing_codes,
        "source": "stored",
        "mixer": stored.mixer,
        "copies": len(stored.copies),
        "mismatches": "; ".join(f"{m.name} is not {m.copy}" for m in stored.mismatches),
        **{conv_slice.name: _measures(conv_slice) for conv_slice in rest},
    }


def _float_layer(checkpoint: Checkpoint, layer: int) -> dict:
    """A W4A16 layer: the scales of its float weights, and nothing of its activations."""
    conv = checkpoint.conv(layer)
    first, *rest = (
        _UNKNOWN
        | {
            "w_scale": scale_from_amax(float(conv.weight[conv_slice.channels].abs().amax())),
            "b_scale": scale_from_amax(float(conv.bias[conv_slice.channels].abs().amax()))
            if conv.bias.any()
            else None,
            "shape": [],
        }
        for conv_slice in checkpoint.slices
    )
    return {
        "layer": layer,
        **first,
        **dict.fromkeys(
            ("backend", "kernel_time_ms", "kernel_codes", "kernel_differing_codes"),
        ),
        "source": "stored",
        "mixer": next(iter(checkpoint.architecture.quantized_mixers[layer].values())),
        "copies": 0,
        "mismatches": "",
        **{
            conv_slice.name: own
            for conv_slice, own in zip(checkpoint.slices[1:], rest, strict=True)
        },
    }


_UNKNOWN: dict = dict.fromkeys(
    (
        "x_scale",
        "w_scale",
        "b_scale",
        "scale_wx",
        "x_out_scale",
        "zero_point",
        "shape",
        "x_out_scale_min",
        "x_out_scale_mean",
        "x_out_scale_max",
        "ratio_weight",
        "ratio_wx",
        "saturation_rate",
        "top_code_utilization",
        "code_utilization",
        "effective_bits",
        "sqnr_db",
        "best_alpha",
        "gain_db",
        "rounding_mse",
        "clipping_mse",
        "kernel_sqnr_db",
        "alpha_used",
    )
)


def _measures(stored: StoredSlice) -> dict:
    """Under the names of ``LayerReport.measures``; of several scales the ratios are of the mean."""
    scales = stored.out_scales.ravel()
    spread = scale_spread(scales)
    mean = spread["x_out_scale_mean"]
    return _UNKNOWN | {
        "x_scale": stored.x_scale,
        "w_scale": stored.w_scale,
        "b_scale": stored.b_scale,
        "scale_wx": stored.scale_wx,
        "x_out_scale": float(scales[0]) if scales.size == 1 else scales.tolist(),
        "zero_point": 0,
        "shape": list(stored.out_scales.shape),
        **spread,
        "ratio_weight": mean / stored.w_scale,
        "ratio_wx": mean / stored.scale_wx,
        "alpha_used": stored.rule == "percentile-ema",
    }
