"""mamba2-small -> mamba2-small-quamba2: its convolutions in INT8, stored as Quamba2 stores them.

One checkpoint in Quamba2's layout (arXiv 2503.22879), made from a model whose float weights are
here too, so that every stored scale can be checked. Per layer: calibrate on the default text; group
the channels of x by sort-and-cluster on the maxima of SiLU's output; lay x's channels out anew, so
that each group is contiguous; store INT8 weights and biases, and every scale by MinMax.

It holds the convolutions and their scales alone. Embedding and projections would be 2.6 MB in INT8,
and nothing here reads them.
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
from dashboard.grouping import sort_and_cluster
from kernels.int8 import quantize, scale_from_amax
from kernels.reference import causal_conv1d

SOURCE = "mamba2-small"
TARGET = "mamba2-small-quamba2"
SCAN = "chunk_scan"  # the module that reads the convolution's output, and stores its scale again


def quantized_config(checkpoint: Checkpoint) -> dict:
    """config.json in the state-spaces repository's words."""
    architecture, config = checkpoint.architecture, checkpoint.config
    return {
        "d_model": architecture.d_model,
        "n_layer": architecture.model_layers,
        "vocab_size": architecture.vocab_size,
        "ssm_cfg": {
            "layer": "Mamba2",
            "d_state": config["state_size"],
            "d_conv": config["conv_kernel"],
            "expand": config["expand"],
            "headdim": architecture.head_dim,
            "ngroups": architecture.n_groups,
        },
        "rms_norm": True,
        "residual_in_fp32": True,
        "pad_vocab_size_multiple": 1,
        "tie_embeddings": True,
    }


def quantized_layer(checkpoint: Checkpoint, capture: ConvCapture) -> dict[str, Tensor | float]:
    """The entries of one mixer: tensors and plain numbers, by their names inside it."""
    architecture = checkpoint.architecture
    x_part, *others = checkpoint.slices
    y = F.silu(causal_conv1d(capture.x, capture.weight, capture.bias))
    amax = y.abs().amax(dim=(0, 2)).numpy()  # (D,)
    x_amax = amax[x_part.channels]
    grouping = sort_and_cluster(x_amax, architecture.head_dim, architecture.n_groups)
    table = [x_amax[grouping.group == g].max() for g in range(grouping.group.max() + 1)]
    x_out = torch.tensor([scale_from_amax(m) for m in table]).reshape(grouping.shape)
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
    for part in others:
        by_group = amax[part.channels].reshape(architecture.n_groups, -1).max(axis=1)
        scales = torch.tensor([scale_from_amax(m) for m in by_group])
        entries[f"conv1d.{part.name}_out_scales"] = scales
        entries[f"{SCAN}.{part.name}_scale"] = scales.clone()

    # Only x's channels move; B and C keep theirs.
    order = np.arange(checkpoint.conv_dim)
    order[x_part.channels] = grouping.channel_order
    weight, bias = capture.weight[order], capture.bias[order]
    weight_q = torch.empty(weight.shape, dtype=torch.int8)
    bias_q = torch.empty(bias.shape, dtype=torch.int8)
    for part in checkpoint.slices:
        own = part.channels
        x_scale, w_scale, b_scale = (
            scale_from_amax(float(values.abs().max()))
            for values in (capture.x[:, own], weight[own], bias[own])
        )
        weight_q[own], bias_q[own] = quantize(weight[own], w_scale), quantize(bias[own], b_scale)
        entries[f"conv1d.{part.name}_scale"] = x_scale
        entries[f"conv1d.w{part.name}_scale"] = w_scale
        entries[f"conv1d.b{part.name}_scale"] = b_scale
    return entries | {"conv1d.weight": weight_q, "conv1d.bias": bias_q}


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
