"""mamba2-small -> mamba2-small-quamba2: its convolutions in INT8, as Quamba2 calibrates and stores.

One checkpoint in the layout of Quamba2's W8A8 (arXiv 2503.22879; docs/quamba.md), made from a model
whose float weights are here too, so that every stored scale can be checked. Per layer, in the order
of Quamba2's own calibration: size the channels of x by their mean |y|, sort and cluster them, lay
x's channels out anew, observe maxima in float16, divide by 127, store INT8 weights and biases.

It holds each layer's ``conv1d`` and what ``qchunk_scan`` repeats of it. The other entries of such a
checkpoint, 2.7 MB, are left out: nothing here reads them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    ConvCapture,
    calibrate,
    read_text,
)
from dashboard.checkpoints import SAMPLES_DIR, Checkpoint, load_backbone, load_checkpoint
from dashboard.rules.channels import channel_means
from dashboard.rules.grouping import sort_and_cluster
from kernels.reference import causal_conv1d

SOURCE = "mamba2-small"
TARGET = "mamba2-small-quamba2"
SCAN = "qchunk_scan"  # the module that reads the convolution's output, and stores its scale again


def quantized_config(checkpoint: Checkpoint) -> dict:
    """config.json in the state-spaces repository's words, as Quamba's save leaves it."""
    architecture, config = checkpoint.architecture, checkpoint.config
    return {
        "d_model": architecture.d_model,
        "d_intermediate": 0,
        "n_layer": architecture.model_layers,
        "vocab_size": architecture.vocab_size,
        "ssm_cfg": {
            "layer": "W8A8QMamba2",
            "d_state": config["state_size"],
            "d_conv": config["conv_kernel"],
            "expand": config["expand"],
            "headdim": architecture.head_dim,
            "ngroups": architecture.n_groups,
            "chunk_size": config["chunk_size"],
        },
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 8,
        "tie_embeddings": False,
        "norm_cfg": {"norm": "QRMSNorm"},
        "embedding_cfg": {"layer": "W8O16Embedding"},
        "lm_head_cfg": {"layer": "W8A8B16O16Linear"},
    }


def observed_scale(values: Tensor, dtype: torch.dtype = torch.float16) -> Tensor:
    """() float32: the maximum of the magnitudes in float16, over 127 in ``dtype``.

    Per-tensor and per-SSD-group observers divide in the activations' float16; the one for head and
    channel groups widens to float32 first.
    """
    amax = values.abs().amax().half().clamp(min=1e-5).to(dtype)
    return (amax / 127).float().clamp(min=1e-6)


def quantized_weights(values: Tensor) -> tuple[Tensor, float]:
    """INT8 codes and their scale: the maximum in float32 over 127, halves rounded to even."""
    scale = values.abs().amax().clamp(min=1e-5) / 127
    return torch.round(values / scale).clamp(-128, 127).to(torch.int8), float(scale)


def quantized_layer(checkpoint: Checkpoint, capture: ConvCapture) -> dict[str, Tensor | float]:
    """The entries of one mixer: tensors and plain numbers, by their names inside it."""
    architecture = checkpoint.architecture
    x_slice, *others = checkpoint.slices
    y = F.silu(causal_conv1d(capture.x, capture.weight, capture.bias)).half()  # (N, D, L)
    grouping = sort_and_cluster(
        channel_means(capture, x_slice),
        architecture.head_dim,
        architecture.n_groups,
        as_quamba2=True,
    )
    x_out = torch.stack(
        [
            observed_scale(y[:, x_slice.channels][:, grouping.group == g], torch.float32)
            for g in range(grouping.group.max() + 1)
        ]
    ).reshape(grouping.shape)
    ranges = {
        "x_head_group_range": torch.from_numpy(grouping.head_group_range).to(torch.int32),
        "x_dim_group_range": torch.from_numpy(grouping.dim_group_range).to(torch.int32),
    }
    entries: dict[str, Tensor | float] = {
        "conv1d.x_out_scales": x_out,
        f"{SCAN}.x_scales": x_out.clone(),
        **{f"conv1d.{name}": ends for name, ends in ranges.items()},
        **{f"{SCAN}.{name}": ends.clone() for name, ends in ranges.items()},
    }
    for conv_slice in others:
        by_group = y[:, conv_slice.channels].chunk(architecture.n_groups, dim=1)
        scales = torch.stack([observed_scale(values) for values in by_group])
        entries[f"conv1d.{conv_slice.name}_out_scales"] = scales
        entries[f"{SCAN}.{conv_slice.name}_scale"] = scales.clone()

    # Only x's channels move; B and C keep theirs.
    order = np.arange(checkpoint.conv_dim)
    order[x_slice.channels] = grouping.channel_order
    codes: dict[str, list[Tensor]] = {"weight": [], "bias": []}
    for conv_slice in checkpoint.slices:
        entries[f"conv1d.{conv_slice.name}_scale"] = float(
            observed_scale(capture.x[:, conv_slice.channels])
        )
        for field, values in (("weight", capture.weight), ("bias", capture.bias)):
            quantized, scale = quantized_weights(values[order[conv_slice.channels]])
            codes[field].append(quantized)
            entries[f"conv1d.{field[0]}{conv_slice.name}_scale"] = scale
    return entries | {
        f"conv1d.{field}": torch.cat(slice_codes) for field, slice_codes in codes.items()
    }


def quantized_state(
    checkpoint: Checkpoint, batches: int = DEFAULT_BATCHES, seq_len: int = DEFAULT_SEQ_LEN
) -> dict[str, Tensor | float]:
    """The state dict, every layer calibrated on the default text."""
    backbone, state = load_backbone(checkpoint, "cpu"), {}
    text = read_text(checkpoint, batches=batches, seq_len=seq_len)
    captures = calibrate(checkpoint, backbone, text, keep=checkpoint.layers).captures
    for capture in captures:
        prefix = f"backbone.layers.{capture.layer}.mixer"
        entries = quantized_layer(checkpoint, capture)
        state |= {f"{prefix}.{name}": value for name, value in sorted(entries.items())}
    return state


def write(directory: Path, batches: int = DEFAULT_BATCHES, seq_len: int = DEFAULT_SEQ_LEN) -> None:
    """Write config.json and pytorch_model.bin, as torch.save writes a state dict."""
    checkpoint = load_checkpoint(SOURCE)
    directory.mkdir(parents=True, exist_ok=True)
    config = json.dumps(quantized_config(checkpoint), indent=2)
    (directory / "config.json").write_text(config + "\n")
    torch.save(quantized_state(checkpoint, batches, seq_len), directory / "pytorch_model.bin")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=SAMPLES_DIR / TARGET)
    write(parser.parse_args().out)
