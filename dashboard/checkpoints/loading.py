"""A source's name -> its files -> a Checkpoint with every convolution read and checked."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from dashboard.checkpoints.families import read_architecture
from dashboard.checkpoints.hub import FetchError, OnBytes, fetch, is_hub_id
from dashboard.checkpoints.quamba import holds_scales, read_stored_layer
from dashboard.checkpoints.records import (
    CONV_WIDTHS,
    Architecture,
    Checkpoint,
    CheckpointError,
    ConvWeights,
    LayerFault,
    StoredLayer,
)
from dashboard.checkpoints.weights import SUFFIXES, Weights, open_weights, read_json
from dashboard.messages import Message, either
from dashboard.refusals import quoted

logger = logging.getLogger(__name__)

SAMPLES_DIR = Path(__file__).resolve().parents[2] / "sample_checkpoints"

# Any tensor of a layer, in a model with a head or without; and one or two of each Mamba mixer,
# which may lie inside a hybrid layer.
LAYER = r"(?:(?:backbone|model)\.)?layers\.(?P<layer>[0-9]{1,9})\."
LAYER_TENSOR = re.compile(LAYER)
MIXER_TENSOR = re.compile(
    rf"(?P<mixer>{LAYER}(?:mixer|mamba|mamba_decoder\.mamba|mixers\.(?P<name>\w{{1,32}})))"
    r"\.(?:A_log|conv1d\.weight)",
    re.ASCII,
)


def sample_names() -> list[str]:
    """The float sample checkpoints that come with the project, smallest first."""
    folders = [path.parent for path in SAMPLES_DIR.glob("*/config.json")]
    sizes = {p.name: sum(f.stat().st_size for f in p.glob("*.safetensors")) for p in folders}
    return sorted(set(sizes) - set(quantized_sample_names()), key=lambda name: (sizes[name], name))


def quantized_sample_names() -> list[str]:
    """The sample checkpoints that are quantized already, as Quamba stores them: in a pickle."""
    return sorted(path.parent.name for path in SAMPLES_DIR.glob("*/pytorch_model.bin"))


def load_checkpoint(
    source: str,
    local: bool = True,
    tolerant: bool = False,
    hub: bool = True,
    on_bytes: OnBytes | None = None,
) -> Checkpoint:
    """Read a checkpoint's sizes and convolutions.

    Args:
        source: the name of a sample, a directory, a file of weights with config.json beside it, or
            a Hub id ("owner/name").
        local: whether it may be a path; else nothing but samples is looked up on the disk.
        tolerant: of a quantized checkpoint, leave out layers whose entries cannot be used, and
            give the reasons in ``faults``; else the first of them is an error.
        hub: whether it may be fetched from the Hub.
        on_bytes: called while it is, as ``hub.fetch`` has it.

    Raises CheckpointError, in one sentence, for anything that cannot be read or used.
    """
    path = _find(source, local, hub, on_bytes)
    directory = path.parent if path.is_file() else path
    config = read_json(directory / "config.json")
    is_here = local and Path(source).expanduser().exists()  # else a sample's name, or a Hub id
    name = path.absolute().name if is_here else source
    return read_checkpoint(name, directory, path, config, open_weights(path), tolerant)


def read_checkpoint(
    name: str,
    directory: Path,
    weights_path: Path,
    config: dict,
    weights: Weights,
    tolerant: bool = False,
) -> Checkpoint:
    """A configuration and tensors, wherever they lie -> sizes and convolutions, each checked.

    Raises CheckpointError as ``load_checkpoint`` does; ``directory`` is what its sentences name.
    """
    architecture = read_architecture(config, directory / "config.json")
    mixers = _find_mixers(weights, architecture, directory)
    convs: list[ConvWeights] = []
    stored: list[StoredLayer] = []
    faults: list[LayerFault] = []
    if architecture.is_quantized:
        for layer, classes in enumerate(architecture.quantized_mixers):
            try:
                own, floats = _read_quantized(
                    weights, layer, classes, mixers.get(layer, {}), architecture, directory
                )
            except CheckpointError as error:
                if not tolerant:
                    raise
                faults.append(LayerFault(layer, error.message))
            else:
                stored += own
                convs += floats
    else:
        convs = [
            _read_conv(weights, layer, named[""], architecture.conv_dim, directory)
            for layer, named in sorted(mixers.items())
        ]
    return Checkpoint(
        name=name,
        path=directory,
        weights_path=weights_path,
        architecture=architecture,
        convs=tuple(convs),
        config=config,
        stored=tuple(stored),
        faults=tuple(faults),
    )


def _read_quantized(
    weights: Weights,
    layer: int,
    classes: Mapping[str, str],
    mixers: Mapping[str, str],
    architecture: Architecture,
    directory: Path,
) -> tuple[list[StoredLayer], list[ConvWeights]]:
    """A layer's INT8 convolution with its scales, its float one, or one of each."""
    stored: list[StoredLayer] = []
    floats: list[ConvWeights] = []
    for name, mixer_class in classes.items():
        if name not in mixers:
            stored_as = f"mixers.{name}" if name else "mixer"
            raise CheckpointError(
                "{path}: config.json says that layer {layer} has a {mixer}; there is no tensor "
                "{tensor}",
                path=directory,
                layer=layer,
                mixer=mixer_class,
                tensor=f"layers.{layer}.{stored_as}.conv1d.weight",
            )
        if "A16" in mixer_class:  # its activations are not quantized, nor is its convolution
            channels = architecture.conv_dim
            floats.append(_read_conv(weights, layer, mixers[name], channels, directory))
        else:
            stored.append(
                read_stored_layer(
                    weights, layer, mixers[name], mixer_class, architecture, directory
                )
            )
    if len(stored) > 1 or len(floats) > 1:
        raise CheckpointError(
            "{path}: layer {layer} has two mixers of one kind: {mixers}",
            path=directory,
            layer=layer,
            mixers=tuple(classes.values()),
        )
    return stored, floats


def _find(source: str, local: bool, hub: bool, on_bytes: OnBytes | None) -> Path:
    """The directory or the file that a source means."""
    samples = [*sample_names(), *quantized_sample_names()]
    if source in samples:
        return SAMPLES_DIR / source
    if local and (path := _find_path(source)):
        return path
    if hub and is_hub_id(source):
        return _download(source, local, on_bytes)
    raise CheckpointError(
        "{name} is neither a directory, nor a Hub id (owner/name), nor one of the samples "
        "{samples}",
        name=source,
        samples=tuple(samples),
    )


def _find_path(source: str) -> Path | None:
    """The directory, or the file of weights, of that name; None where there is nothing."""
    try:
        path = Path(source).expanduser()
        if path.is_dir() or (path.is_file() and path.suffix in SUFFIXES):
            return path
        if path.exists():
            raise CheckpointError(
                "{name} is a file; give the directory that holds config.json, or its weights "
                "({suffixes})",
                name=source,
                suffixes=either(SUFFIXES),
            )
    except (OSError, RuntimeError) as error:  # a name too long, a home directory of no user
        raise CheckpointError(
            "{name} cannot be opened: {reason}", name=quoted(source), reason=error
        ) from None
    return None


def _download(hub_id: str, local: bool, on_bytes: OnBytes | None) -> Path:
    """``local`` as in ``load_checkpoint``: others do not read what the server's token opens."""
    try:
        return fetch(hub_id, on_bytes=on_bytes, anonymously=not local)
    except FetchError as error:
        if local:
            raise FetchError(
                Message("{name} is not a directory here, and {reason}", name=hub_id, reason=error)
            ) from error
        raise


def _find_mixers(
    weights: Weights, architecture: Architecture, directory: Path
) -> dict[int, dict[str, str]]:
    """Each Mamba layer's number -> its mixers: name -> where the mixer's tensors are stored.

    The name is "" but where Quamba keeps mixers of several widths. A hybrid's Mamba layers are
    those that the file has; a pure model has every layer.
    """
    attention = {i for i, own in enumerate(architecture.quantized_mixers) if not own}
    mixers: dict[int, dict[str, str]] = {}
    for tensor in weights.files:
        match = MIXER_TENSOR.fullmatch(tensor)
        if not match:
            continue
        layer, name = int(match["layer"]), match["name"] or ""
        if layer in attention:  # which may have a convolution of its own, but no scales of one
            if holds_scales(weights, match["mixer"]):
                raise CheckpointError(
                    "{path}: attn_layer_idx in config.json names layer {layer}, which has a Mamba "
                    "mixer",
                    path=directory,
                    layer=layer,
                )
            continue
        here = mixers.setdefault(layer, {}).setdefault(name, match["mixer"])
        if here != match["mixer"]:
            raise CheckpointError(
                "{path} has two mixers for layer {layer}: {first} and {second}",
                path=directory,
                layer=layer,
                first=here,
                second=match["mixer"],
            )
    if not mixers:
        raise CheckpointError(
            "{path} has no tensor that ends in conv1d.weight in a Mamba layer, so there is no "
            "convolution to scale",
            path=directory,
        )
    _check_layers(weights, architecture, mixers, directory)
    if not architecture.is_quantized:
        for layer, named in mixers.items():
            if "" not in named:
                raise CheckpointError(
                    "{path} has mixers of several widths in layer {layer}, as Quamba stores them; "
                    "its config.json names none of Quamba's mixers in ssm_cfg.layer",
                    path=directory,
                    layer=layer,
                )
    return mixers


def _check_layers(
    weights: Weights,
    architecture: Architecture,
    mixers: dict[int, dict[str, str]],
    directory: Path,
) -> None:
    """As many layers in the file as in the configuration, each a Mamba layer in a pure model."""
    matches = map(LAYER_TENSOR.match, weights.files)
    layers = {int(match["layer"]) for match in matches if match}
    claimed = architecture.model_layers
    if max(layers) >= claimed:
        raise CheckpointError(
            "{path} has a layer {layer}, but its config.json says that there are {claimed} layers",
            path=directory,
            layer=max(layers),
            claimed=claimed,
        )
    known = layers if architecture.is_hybrid else mixers
    if len(known) < claimed:
        missing = next(layer for layer in count() if layer not in known)
        if architecture.is_hybrid:
            raise CheckpointError(
                "{path} has no tensor of layer {layer}, but its config.json says that there are "
                "{claimed} layers",
                path=directory,
                layer=missing,
                claimed=claimed,
            )
        last = next(iter(mixers[max(mixers)].values()))
        name = re.sub(r"\d+", str(missing), last, count=1)
        raise CheckpointError(
            "{path} has no tensor {tensor}, but its config.json says that there are {claimed} "
            "layers",
            path=directory,
            tensor=f"{name}.conv1d.weight",
            claimed=claimed,
        )


def _read_conv(
    weights: Weights, layer: int, mixer: str, channels: int, directory: Path
) -> ConvWeights:
    name = f"{mixer}.conv1d.weight"
    if name not in weights.files:
        raise CheckpointError("{path} has no tensor {tensor}", path=directory, tensor=name)
    allowed = [shape for w in CONV_WIDTHS for shape in ((channels, 1, w), (channels, w))]
    rule = Message("({channels}, 1, W) with W in {widths}", channels=channels, widths=CONV_WIDTHS)
    weight = _read_float(weights, name, allowed, rule)
    bias_name = f"{mixer}.conv1d.bias"
    if bias_name not in weights.files:
        bias = torch.zeros(channels)
    else:
        bias = _read_float(weights, bias_name, [(channels,)], f"({channels},)")
    return ConvWeights(layer, weight.reshape(channels, -1), bias)


def _read_float(
    weights: Weights, name: str, allowed: Collection[tuple[int, ...]], rule: str
) -> Tensor:
    tensor = weights.read(name)
    if tuple(tensor.shape) not in allowed:
        raise CheckpointError(
            "{path}: {entry} has shape {shape}; expected {rule}",
            path=weights.files[name],
            entry=name,
            shape=tuple(tensor.shape),
            rule=rule,
        )
    if not tensor.is_floating_point():
        raise CheckpointError(
            "{path}: {entry} is {dtype}; float weights are needed to calibrate",
            path=weights.files[name],
            entry=name,
            dtype=tensor.dtype,
        )
    tensor = tensor.to(torch.float32)
    if not torch.isfinite(tensor).all():
        raise CheckpointError(
            "{path}: {entry} contains NaN or infinite values",
            path=weights.files[name],
            entry=name,
        )
    return tensor
