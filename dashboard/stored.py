"""The scales of a checkpoint that is quantized already: the same document, read, not calibrated.

There is no float weight and so no activation to judge a scale by: no SQNR, no saturation, no best
α. What can be said is what is stored, whether α had a part in it, whether two places that hold the
same scale agree, and that the kernel runs on the INT8 convolution as it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dashboard.checkpoints import Checkpoint, StoredLayer, StoredSlice
from dashboard.report import timed
from kernels import default_backend, quant_causal_conv1d, reference

POSITIONS = 512  # of the stand-in input


@dataclass(frozen=True)
class StoredRun:
    """One live run of the kernel with a layer's stored weights and scales."""

    backend: str
    time_ms: float
    codes: int
    differing_codes: int


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
    return StoredRun(backend, time_ms, codes.numel(), differing)


def stored_document(
    checkpoint: Checkpoint, layers: Sequence[int], runs: Sequence[StoredRun]
) -> dict:
    """The stored layers as ``analyze --format json`` writes them; what is not known is null."""
    return {
        "checkpoint": checkpoint.name,
        "family": checkpoint.family,
        "backend": runs[0].backend,
        **dict.fromkeys(("text", "text_sha256", "batches", "seq_len", "observer", "alpha")),
        **dict.fromkeys(("sigma", "order", "symmetric")),
        "layers": [
            _layer(checkpoint.stored_layer(layer), run)
            for layer, run in zip(layers, runs, strict=True)
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
        "alpha_used": stored.alpha_used,
        "copies": len(stored.copies),
        "mismatches": "; ".join(f"{m.name} is not {m.copy}" for m in stored.mismatches),
        **{part.name: _measures(part) for part in rest},
    }


def _measures(part: StoredSlice) -> dict:
    """Under the names of ``LayerReport.measures``; a ratio needs one scale to speak of."""
    scales = part.out_scales
    one = float(scales.ravel()[0]) if scales.size == 1 else None
    return {
        "x_scale": part.x_scale,
        "w_scale": part.w_scale,
        "b_scale": part.b_scale,
        "scale_wx": part.scale_wx,
        "x_out_scale": one if one is not None else scales.ravel().tolist(),
        "zero_point": 0,
        "shape": list(scales.shape),
        "ratio_weight": one / part.w_scale if one is not None else None,
        "ratio_wx": one / part.scale_wx if one is not None else None,
        **dict.fromkeys(
            ("saturation_rate", "top_code_utilization", "code_utilization", "effective_bits",
             "sqnr_db", "best_alpha", "gain_db", "rounding_mse", "clipping_mse", "kernel_sqnr_db")
        ),
    }  # fmt: skip
