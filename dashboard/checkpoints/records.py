"""What a checkpoint is, once read: its sizes, its convolutions, and their slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dashboard.messages import Message
from dashboard.refusals import Refusal
from kernels.arguments import ConvArguments

CONV_WIDTHS = (2, 3, 4)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


class CheckpointError(Refusal):
    """A checkpoint that cannot be used. One sentence that names the file and the fault."""


@dataclass(frozen=True)
class ConvSlice:
    """A run of conv channels with its own scales: x, and in Mamba-2 also B and C."""

    name: str
    start: int
    stop: int

    @property
    def channels(self) -> slice:
        """The slice's channels among those of the convolution."""
        return slice(self.start, self.stop)

    @property
    def width(self) -> int:
        """How many channels it has."""
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class ConvWeights:
    """One layer's depthwise convolution (float32)."""

    layer: int  # the model's own number: in a hybrid, attention layers are counted too
    weight: Tensor  # (D, W)
    bias: Tensor  # (D,), zeros where the checkpoint has none


@dataclass(frozen=True)
class Architecture:
    """What a configuration says of a model, whichever family wrote it.

    ``slices`` partition the D conv channels. ``conv_offset`` is the first channel of in_proj's
    output that goes into the convolution. ``head_dim`` and ``n_groups`` are those of Mamba-2's SSM;
    a Mamba-1 has neither heads nor groups.
    """

    family: str  # transformers' model_type
    layout: str  # "state-spaces" or "hugging-face"
    is_hybrid: bool
    d_model: int
    vocab_size: int
    model_layers: int  # all layers, attention and others too
    slices: tuple[ConvSlice, ...]
    conv_offset: int
    head_dim: int | None
    n_groups: int | None
    # Of a Quamba checkpoint, for each layer: the name under which a mixer is stored ("" for plain
    # ``mixer``) -> its class, as "W8A8QMamba2". Attention layers have none. Else empty.
    quantized_mixers: tuple[Mapping[str, str], ...] = ()

    @property
    def conv_dim(self) -> int:
        """How many channels the convolution has: those of all slices."""
        return self.slices[-1].stop

    @property
    def is_quantized(self) -> bool:
        """Whether Quamba wrote it: its projections are packed integers, and no forward can run."""
        return bool(self.quantized_mixers)


@dataclass(frozen=True, eq=False)
class StoredSlice:
    """The stored scales of one slice's input, weights, bias and output: real units per code."""

    conv_slice: ConvSlice
    x_scale: float
    w_scale: float
    b_scale: float | None  # None where there is no bias
    out_scales: np.ndarray  # float32, as stored: (1,), (G,) or (G, M, N)
    out_group: np.ndarray  # (width,) int64, an index in the raveled out_scales for each channel
    rule: str  # which of Quamba's observers makes such scales: "percentile-ema" or "minmax"

    @property
    def name(self) -> str:
        """ "x", "B" or "C"."""
        return self.conv_slice.name

    @property
    def scale_wx(self) -> float:
        """x_scale · w_scale, in float32 as the kernel multiplies them."""
        with np.errstate(over="ignore"):  # to infinity, which the reader refuses
            return float(np.float32(self.x_scale) * np.float32(self.w_scale))

    @property
    def scale_out(self) -> np.ndarray:
        """(width,) float32: the output scale of each channel, as the kernel takes them."""
        return self.out_scales.ravel()[self.out_group]


@dataclass(frozen=True)
class StoredCopy:
    """Two places of one block that hold the same thing, and whether they agree."""

    name: str  # in the convolution
    copy: str  # in another module of the mixer
    agree: bool
    largest_difference: float | None  # None where the shapes differ


@dataclass(frozen=True, eq=False)
class StoredLayer:
    """One layer's quantized convolution, as a Quamba checkpoint stores it."""

    layer: int
    mixer: str  # its class, as "W8A8QMamba2"
    weight_q: Tensor  # (D, W) int8
    bias_q: Tensor | None  # (D,) int8
    slices: tuple[StoredSlice, ...]
    head_group_range: np.ndarray | None  # (G, M) int64, where x has a table of scales
    dim_group_range: np.ndarray | None  # (G, M, N) int64
    copies: tuple[StoredCopy, ...]

    @property
    def alpha_used(self) -> bool:
        """Whether a percentile chose x_out_scale. A table of scales is MinMax, group by group."""
        return self.slices[0].rule == "percentile-ema"

    @property
    def mismatches(self) -> tuple[StoredCopy, ...]:
        """The copies that do not say what the entry itself says."""
        return tuple(copy for copy in self.copies if not copy.agree)

    def kernel_arguments(self, device: str | torch.device = "cpu") -> ConvArguments:
        """All that ``quant_causal_conv1d`` takes beside x: codes, and (D,) float32 scales."""

        def scales(values: list[float]) -> Tensor:
            widths = torch.tensor([stored.conv_slice.width for stored in self.slices])
            return torch.tensor(values, dtype=torch.float32).repeat_interleave(widths).to(device)

        return {
            "weight": self.weight_q.to(device),
            "bias": None if self.bias_q is None else self.bias_q.to(device),
            "scale_x": scales([stored.x_scale for stored in self.slices]),
            "scale_w": scales([stored.w_scale for stored in self.slices]),
            # A missing bias has no scale, but the kernel's argument wants a positive one.
            "scale_b": scales([stored.b_scale or 1.0 for stored in self.slices]),
            "scale_out": torch.from_numpy(
                np.concatenate([stored.scale_out for stored in self.slices])
            ).to(device),
        }


@dataclass(frozen=True)
class LayerFault:
    """A layer of a quantized checkpoint that cannot be used, and why, in one sentence."""

    layer: int
    sentence: Message


@dataclass(frozen=True)
class Checkpoint:
    """A language model with Mamba layers on disk, described far enough to calibrate it.

    One that is quantized already cannot be calibrated. ``stored`` has its scales and INT8
    convolutions; ``convs`` those convolutions that it keeps in float, as W4A16 mixers do. A layer
    of mixed widths may be in both.
    """

    name: str
    path: Path  # the directory
    weights_path: Path  # the directory, or the one file that was asked for
    architecture: Architecture
    convs: tuple[ConvWeights, ...]  # of the Mamba layers, in order
    config: dict
    stored: tuple[StoredLayer, ...] = ()
    faults: tuple[LayerFault, ...] = ()  # layers left out, where that was asked for

    @property
    def is_quantized(self) -> bool:
        """Whether its scales are stored, and there is nothing to calibrate."""
        return self.architecture.is_quantized

    @property
    def layers(self) -> tuple[int, ...]:
        """The model's own numbers of its Mamba layers, ascending: 0, 1, 2 …, or with gaps."""
        known = {conv.layer for conv in self.convs} | {entry.layer for entry in self.stored}
        return tuple(sorted(known))

    @property
    def stored_layers(self) -> tuple[int, ...]:
        """Those whose convolution is INT8, with stored scales."""
        return tuple(entry.layer for entry in self.stored)

    @property
    def n_layers(self) -> int:
        """How many Mamba layers there are."""
        return len(self.layers)

    def conv(self, layer: int) -> ConvWeights:
        """The convolution of a layer, by the model's own number."""
        return next(conv for conv in self.convs if conv.layer == layer)

    def stored_layer(self, layer: int) -> StoredLayer:
        """The stored scales of a layer, by the model's own number."""
        return next(entry for entry in self.stored if entry.layer == layer)

    @property
    def family(self) -> str:
        """transformers' ``model_type``."""
        return self.architecture.family

    @property
    def layout(self) -> str:
        """Who named its tensors: "state-spaces" or "hugging-face"."""
        return self.architecture.layout

    @property
    def vocab_size(self) -> int:
        """How many tokens the model knows."""
        return self.architecture.vocab_size

    @property
    def slices(self) -> tuple[ConvSlice, ...]:
        """The runs of channels with a scale of their own: x, or x, B and C."""
        return self.architecture.slices

    @property
    def conv_offset(self) -> int:
        """Where the conv input begins in in_proj's output."""
        return self.architecture.conv_offset

    @property
    def conv_dim(self) -> int:
        """How many channels the convolution has."""
        return self.architecture.conv_dim

    @property
    def reads_bytes(self) -> bool:
        """Without a tokenizer, a vocabulary of 256 means UTF-8 bytes."""
        return self.vocab_size == 256 and not self.has_tokenizer

    @property
    def has_tokenizer(self) -> bool:
        """Whether texts are read with its own tokenizer; otherwise as bytes."""
        return any((self.path / name).is_file() for name in TOKENIZER_FILES)
