"""A Quamba checkpoint -> the scales that it stores, and its INT8 convolutions.

What Quamba (arXiv 2410.13229) and Quamba2 (arXiv 2503.22879) write is quantized already: in W8A8
and W4A8 mixers the convolution's weights are INT8, the float ones are gone, and every scale lies in
the state dict beside them, as a plain number or a small tensor. docs/quamba.md has the names,
shapes and rules, each with its place in Quamba's code; here is what they come to:

- Mamba-1: ``input_scale``, ``weight_scale``, ``bias_scale``, ``output_scale``. The input's was
  observed on all of in_proj's output, z as well as x, so it can be larger than max|x| / 127.
- Mamba-2: ``x_scale``, ``wx_scale``, ``bx_scale`` and the same for B and C. ``wx_scale`` is the
  scale of the weights of the x slice, not a product. ``x_out_scales`` is one scale, or a table
  (SSD group, head group, channel group) with the range ends of ``group_tables``;
  ``B_out_scales`` and ``C_out_scales`` have one scale, or one for each SSD group.

A percentile α chose the one scale of x; a table's are MinMax, group by group, and α was never
asked, no more than for B and C. Modules beside the convolution store some of these scales again.
Both must be the same number, and where they are not, that is reported with the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dashboard.checkpoints.group_tables import group_of_channel
from dashboard.checkpoints.records import (
    CONV_WIDTHS,
    Architecture,
    CheckpointError,
    StoredCopy,
    StoredLayer,
    StoredSlice,
)
from dashboard.checkpoints.weights import Weights
from dashboard.messages import either
from dashboard.refusals import Refusal, quoted
from kernels.arguments import sums_fit

RANGES = ("x_head_group_range", "x_dim_group_range")

# What modules beside the convolution call the same things: their entry -> the convolution's. The
# scan reads the convolution's output; in Mamba-1 so does x_proj (whose W8A8 form folds the scale
# into a product), and z has the scale of all that in_proj gives.
COPIES = {
    "quamba": {
        "x_proj.input_scale": "output_scale",
        "selective_scan.u_scale": "output_scale",
        "selective_scan.z_scale": "input_scale",
    },
    "quamba2": {
        "qchunk_scan.x_scales": "x_out_scales",
        "qchunk_scan.B_scale": "B_out_scales",
        "qchunk_scan.C_scale": "C_out_scales",
        **{f"qchunk_scan.{name}": name for name in RANGES},
    },
}


@dataclass(frozen=True)
class _Conv:
    """The entries of one layer's convolution, by their short names."""

    prefix: str  # "backbone.layers.0.mixer.conv1d"
    weights: Weights
    directory: Path

    def place(self, field: str) -> dict[str, object]:
        """Where an entry lies, as an error names it: its file and its name."""
        name = f"{self.prefix}.{field}"
        return {"path": self.weights.files.get(name, self.directory), "entry": name}

    def has(self, field: str) -> bool:
        """Whether there is such an entry, and it holds something: many are stored as None."""
        return _holds(self.weights, f"{self.prefix}.{field}")

    def array(self, field: str) -> np.ndarray:
        """A tensor of numbers as it is, a plain number as (1,)."""
        if not self.has(field):
            raise CheckpointError(
                "{path}: {entry} is missing or None; a quantized convolution needs it",
                **self.place(field),
            )
        return _array(self.weights, f"{self.prefix}.{field}")

    def scales(self, field: str, shapes: list[tuple[int | None, ...]]) -> np.ndarray:
        """Positive scales, float32, of one of the shapes; None in one stands for any length."""
        stored = self.array(field)
        if not any(_fits(stored.shape, shape) for shape in shapes):
            allowed = [str(shape).replace("None", "n") for shape in shapes]
            raise CheckpointError(
                "{path}: {entry} has shape {shape}; expected {rule}",
                **self.place(field),
                shape=stored.shape,
                rule=either(allowed),
            )
        with np.errstate(over="ignore"):  # to infinity, which is refused below
            scales = stored.astype(np.float32)
        if not (np.isfinite(scales) & (scales > 0)).all():
            raise CheckpointError(
                "{path}: {entry} lies between {least} and {greatest}; a scale is finite and > 0",
                **self.place(field),
                least=scales.min(),
                greatest=scales.max(),
            )
        return scales

    def scale(self, field: str) -> float:
        """One scale of an entry; raises CheckpointError where it has several, or none."""
        return float(self.scales(field, [(1,)])[0])

    def codes(self, field: str, shapes: list[tuple[int, ...]]) -> Tensor:
        """An entry's INT8 codes, of one of ``shapes``; raises CheckpointError for others."""
        if f"{self.prefix}.{field}" not in self.weights.files:
            raise CheckpointError("{path}: {entry} is missing", **self.place(field))
        tensor = self.weights.read(f"{self.prefix}.{field}")
        if tensor.dtype != torch.int8 or tuple(tensor.shape) not in shapes:
            raise CheckpointError(
                "{path}: {entry} is {dtype} {shape}; expected torch.int8 {rule}",
                **self.place(field),
                dtype=tensor.dtype,
                shape=tuple(tensor.shape),
                rule=str(shapes[0]),
            )
        return tensor


def _holds(weights: Weights, name: str) -> bool:
    return name in weights.files or weights.numbers.get(name) is not None


def _array(weights: Weights, name: str) -> np.ndarray:
    """Integers as they are, other numbers as float64."""
    if name not in weights.files:
        number = weights.numbers[name]
        assert number is not None  # None counts as missing: see _holds
        try:
            return np.array([float(number)])
        except OverflowError:  # Python's integers have no largest
            return np.array([np.inf])
    tensor = weights.read(name)
    if tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise CheckpointError(
            "{path}: {entry} is {dtype}, which is no number",
            path=weights.files[name],
            entry=name,
            dtype=tensor.dtype,
        )
    if tensor.is_floating_point():
        tensor = tensor.to(torch.float64)
    return np.atleast_1d(tensor.numpy())


def _fits(stored: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(stored) == len(shape) and all(
        b in (None, a) for a, b in zip(stored, shape, strict=True)
    )


def holds_scales(weights: Weights, mixer: str) -> bool:
    """Whether the scales of a convolution's output lie under a mixer's name."""
    return any(_holds(weights, f"{mixer}.conv1d.{f}") for f in ("x_out_scales", "output_scale"))


def read_stored_layer(
    weights: Weights,
    layer: int,
    mixer: str,
    mixer_class: str,
    architecture: Architecture,
    directory: Path,
) -> StoredLayer:
    """One layer of a Quamba checkpoint whose convolution is INT8.

    Args:
        mixer: the name under which the layer's tensors are stored, without a dot at the end.
        mixer_class: what the configuration calls it, as "W4A8QMamba".
        directory: for the errors.

    Raises CheckpointError, naming the entry, where one is missing, misshapen or no scale. Copies
    that disagree raise nothing.
    """
    conv = _Conv(f"{mixer}.conv1d", weights, directory)
    channels = architecture.conv_dim
    widths: list[tuple[int, ...]] = [
        s for w in CONV_WIDTHS for s in ((channels, w), (channels, 1, w))
    ]
    weight_q = conv.codes("weight", widths).reshape(channels, -1)
    has_bias = conv.has("bias")
    head_ends = dim_ends = None
    version = "quamba" if architecture.n_groups is None else "quamba2"
    if version == "quamba":
        slices = _read_quamba1(conv, architecture, has_bias)
    else:
        slices, head_ends, dim_ends = _read_quamba2(conv, architecture, has_bias)
    for own in slices:
        if not (own.scale_wx > 0 and sums_fit(own.x_scale, own.w_scale, own.b_scale or 0.0)):
            raise CheckpointError(
                "{path}: {entry} has the scales {x_scale} and {w_scale} over the {slice} slice; "
                "their product is {product} in float32, within which the convolution's sums must "
                "stay",
                **conv.place("weight"),
                x_scale=own.x_scale,
                w_scale=own.w_scale,
                slice=own.name,
                product=own.scale_wx,
            )
    return StoredLayer(
        layer=layer,
        mixer=mixer_class,
        weight_q=weight_q,
        bias_q=conv.codes("bias", [(channels,)]) if has_bias else None,
        slices=slices,
        head_group_range=head_ends,
        dim_group_range=dim_ends,
        copies=_compare_copies(conv, mixer, version),
    )


def _read_quamba1(
    conv: _Conv, architecture: Architecture, has_bias: bool
) -> tuple[StoredSlice, ...]:
    """One scale each for input, weights, bias and output, over all channels."""
    return tuple(
        StoredSlice(
            conv_slice,
            conv.scale("input_scale"),
            conv.scale("weight_scale"),
            conv.scale("bias_scale") if has_bias else None,
            conv.scales("output_scale", [(1,)]),
            np.zeros(conv_slice.width, np.int64),
            "percentile-ema",
        )
        for conv_slice in architecture.slices
    )


def _read_quamba2(
    conv: _Conv, architecture: Architecture, has_bias: bool
) -> tuple[tuple[StoredSlice, ...], np.ndarray | None, np.ndarray | None]:
    """Scales of their own for x, B and C, and the two tables of range ends where x has groups."""
    slices, head_ends, dim_ends = [], None, None
    for conv_slice in architecture.slices:
        name = f"{conv_slice.name}_out_scales"
        if conv_slice.name == "x":
            out = conv.scales(name, [(1,), (architecture.n_groups, None, None)])
            group = np.zeros(conv_slice.width, np.int64)
            if out.ndim == 3:
                group, head_ends, dim_ends = _read_groups(conv, architecture, out.shape)
        else:
            out = conv.scales(name, [(1,), (architecture.n_groups,)])
            group = np.arange(conv_slice.width) * len(out) // conv_slice.width
        slices.append(
            StoredSlice(
                conv_slice,
                conv.scale(f"{conv_slice.name}_scale"),
                conv.scale(f"w{conv_slice.name}_scale"),
                conv.scale(f"b{conv_slice.name}_scale") if has_bias else None,
                out,
                group,
                "percentile-ema" if conv_slice.name == "x" and out.ndim == 1 else "minmax",
            )
        )
    return tuple(slices), head_ends, dim_ends


def _read_groups(
    conv: _Conv, architecture: Architecture, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The group of each channel of x, and the two tables that say so."""
    head_ends, dim_ends = (conv.array(name) for name in RANGES)
    width = architecture.slices[0].width
    head_dim, n_groups = architecture.head_dim, architecture.n_groups
    assert head_dim is not None and n_groups is not None  # a Mamba-2 has both
    if head_ends.shape != shape[:2] or dim_ends.shape != shape:
        raise CheckpointError(
            "{path}: {entry} has shape {heads} and {other} {dims}; x_out_scales of shape {shape} "
            "need {wanted} and {shape}",
            **conv.place(RANGES[0]),
            heads=head_ends.shape,
            other=RANGES[1],
            dims=dim_ends.shape,
            shape=str(shape),
            wanted=str(shape[:2]),
        )
    # Compared before anything is laid out: a table could claim any number of channels.
    if (head_ends[:, -1] != width // head_dim // n_groups).any():
        raise CheckpointError(
            "{path}: {entry} ends at {ends}; x has {heads} heads in {groups} SSD groups",
            **conv.place(RANGES[0]),
            ends=quoted(head_ends[:, -1].tolist()),
            heads=width // head_dim,
            groups=n_groups,
        )
    try:
        group = group_of_channel(head_ends, dim_ends, head_dim)
    except Refusal as error:
        raise CheckpointError(
            "{path}: {entry} and {other} do not fit: {reason}",
            **conv.place(RANGES[0]),
            other=RANGES[1],
            reason=error,
        ) from None
    return group, head_ends.astype(np.int64), dim_ends.astype(np.int64)


def _compare_copies(conv: _Conv, mixer: str, version: str) -> tuple[StoredCopy, ...]:
    """Every entry beside the convolution that repeats one of the convolution's."""
    return tuple(
        _compare(f"conv1d.{own}", copy, conv.array(own), _array(conv.weights, f"{mixer}.{copy}"))
        for copy, own in COPIES[version].items()
        if conv.has(own) and _holds(conv.weights, f"{mixer}.{copy}")
    )


def _compare(own: str, copy: str, here: np.ndarray, there: np.ndarray) -> StoredCopy:
    """Equal as float32, which is what a kernel is given of either."""
    if here.shape != there.shape:
        return StoredCopy(own, copy, False, None)
    with np.errstate(over="ignore", invalid="ignore"):  # a copy may be anything
        one, other = here.astype(np.float32), there.astype(np.float32)
        largest = float(np.abs(one - other).max(initial=0))
    return StoredCopy(own, copy, np.array_equal(one, other), largest)
