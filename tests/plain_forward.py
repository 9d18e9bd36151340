"""Mamba-1 and Mamba-2 in plain torch, step by step as their papers write them, in float64.

Gu & Dao 2023 (arXiv 2312.00752), algorithm 2; Dao & Gu 2024 (arXiv 2405.21060), section 7. Nothing
here is the project's code or transformers': weights are read from the sample's file by name, each
position is computed after the one before it, and ``change`` may put another y in place of each
layer's SiLU(conv1d(x)). It is the oracle of every number that the impact of a scale is made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

# (layer, y (D, L)) -> y: what the scan goes on with
Change = Callable[[int, Tensor], Tensor]


class PlainModel:
    """One of the samples; logits of one window of tokens, with or without another y."""

    def __init__(self, directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        state = load_file(directory / "model.safetensors")
        self.weights = {name: tensor.double() for name, tensor in state.items()}
        self.is_mamba2 = "model_type" in config
        self.layers = config["num_hidden_layers" if self.is_mamba2 else "n_layer"]
        self.heads = config.get("num_heads", 0)
        embedding = "embeddings" if self.is_mamba2 else "embedding"
        self.embedding = self.weights[f"backbone.{embedding}.weight"]

    def logits(self, tokens: Tensor, change: Change = lambda layer, y: y) -> Tensor:
        """(L,) token ids -> (L, V) float64."""
        hidden = self.embedding[tokens]
        for layer in range(self.layers):
            own = {
                name.split(".mixer.")[1]: tensor
                for name, tensor in self.weights.items()
                if name.startswith(f"backbone.layers.{layer}.mixer.")
            }
            normed = rms_norm(hidden, self.weights[f"backbone.layers.{layer}.norm.weight"])
            mixer = self.mamba2 if self.is_mamba2 else self.mamba1
            hidden = hidden + mixer(own, normed, lambda y, layer=layer: change(layer, y))
        return rms_norm(hidden, self.weights["backbone.norm_f.weight"]) @ self.embedding.T

    def mamba1(self, w: dict[str, Tensor], u: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        x, z = (u @ w["in_proj.weight"].T).chunk(2, dim=-1)
        y = change(silu_conv(x, w)).T  # (L, D)
        rank, states = w["dt_proj.weight"].shape[1], w["A_log"].shape[1]
        dt, B, C = (y @ w["x_proj.weight"].T).split([rank, states, states], dim=-1)
        delta = F.softplus(dt @ w["dt_proj.weight"].T + w["dt_proj.bias"])
        A = -torch.exp(w["A_log"])
        h, outputs = torch.zeros_like(A), []
        for t in range(len(y)):
            h = torch.exp(delta[t, :, None] * A) * h + (delta[t] * y[t])[:, None] * B[t]
            outputs.append(h @ C[t] + w["D"] * y[t])
        return (torch.stack(outputs) * F.silu(z)) @ w["out_proj.weight"].T

    def mamba2(self, w: dict[str, Tensor], u: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        inner, conv_dim = w["norm.weight"].shape[0], w["conv1d.bias"].shape[0]
        states = (conv_dim - inner) // 2
        z, xBC, dt = (u @ w["in_proj.weight"].T).split([inner, conv_dim, self.heads], dim=-1)
        x, B, C = change(silu_conv(xBC, w)).T.split([inner, states, states], dim=-1)
        x = x.unflatten(-1, (self.heads, -1))  # (L, H, P)
        delta = F.softplus(dt + w["dt_bias"])
        decay = torch.exp(-delta * torch.exp(w["A_log"]))  # (L, H)
        h, outputs = x.new_zeros(*x.shape[1:], states), []
        for t in range(len(x)):
            added = (delta[t, :, None] * x[t])[..., None] * B[t]
            h = decay[t, :, None, None] * h + added
            outputs.append(h @ C[t] + w["D"][:, None] * x[t])
        gated = torch.stack(outputs).flatten(1) * F.silu(z)
        return rms_norm(gated, w["norm.weight"]) @ w["out_proj.weight"].T


def silu_conv(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """(L, D) -> (D, L): the depthwise causal convolution and SiLU."""
    weight, length = w["conv1d.weight"][:, 0], len(x)
    padded = F.pad(x.T, (weight.shape[1] - 1, 0))
    taps = (weight[:, k, None] * padded[:, k : k + length] for k in range(weight.shape[1]))
    v = sum(taps) + w["conv1d.bias"][:, None]
    return v / (1 + torch.exp(-v))


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight


def loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """−Σ log p(next token), in nats."""
    log_p = logits[:-1] - torch.logsumexp(logits[:-1], -1, keepdim=True)
    return -log_p.gather(1, tokens[1:, None]).sum()
