"""A directory, a Hub id or the name of a sample -> a Checkpoint.

Two layouts of the same models exist. The state-spaces repository writes ``config.json`` with
``d_model``, ``n_layer`` and ``ssm_cfg`` and calls the embedding ``backbone.embedding``; Hugging
Face writes ``hidden_size``, ``num_hidden_layers`` and ``backbone.embeddings``. Both are read into
one ``Checkpoint``: its sizes and its convolutions as float32. The model itself is built only where
a forward is needed, by transformers (``load_backbone``).

Nothing in a checkpoint is executed: weights are read from safetensors, or from a pickle with
``weights_only``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dashboard.importing import collector_paused
from kernels import available_backends

SAMPLES_DIR = Path(__file__).resolve().parent.parent / "sample_checkpoints"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
CONV_WIDTHS = (2, 3, 4)


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. One sentence that names the file and the fault."""


@dataclass(frozen=True)
class ConvSlice:
    """A run of conv channels with its own scales: x, and in Mamba-2 also B and C."""

    name: str
    start: int
    stop: int

    @property
    def channels(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def width(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class ConvWeights:
    """One layer's depthwise convolution (float32)."""

    layer: int
    weight: Tensor  # (D, W)
    bias: Tensor  # (D,), zeros where the checkpoint has none


@dataclass(frozen=True)
class Checkpoint:
    """A Mamba language model on disk, described far enough to calibrate it.

    ``family`` is "mamba" or "mamba2". ``slices`` partition the D conv channels. ``conv_offset`` is
    the first channel of in_proj's output that goes into the convolution.
    """

    name: str
    path: Path
    family: str
    layout: str  # "state-spaces" or "hugging-face"
    d_model: int
    vocab_size: int
    slices: tuple[ConvSlice, ...]
    conv_offset: int
    convs: tuple[ConvWeights, ...]
    config: dict

    @property
    def n_layers(self) -> int:
        return len(self.convs)

    @property
    def conv_dim(self) -> int:
        return self.slices[-1].stop

    @property
    def reads_bytes(self) -> bool:
        """Without a tokenizer, a vocabulary of 256 means UTF-8 bytes."""
        return self.vocab_size == 256 and not self.has_tokenizer

    @property
    def has_tokenizer(self) -> bool:
        return any((self.path / name).is_file() for name in TOKENIZER_FILES)


def sample_names() -> list[str]:
    """The sample checkpoints that come with the project, smallest first."""
    found = [path.parent for path in SAMPLES_DIR.glob("*/config.json")]
    return [p.name for p in sorted(found, key=lambda p: (_weight_bytes(p), p.name))]


def _weight_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.safetensors"))


def load_checkpoint(source: str) -> Checkpoint:
    """Read a checkpoint's sizes and convolutions.

    Args:
        source: the name of a sample, a directory, or a Hub id ("owner/name").

    Raises CheckpointError, in one sentence, for anything that cannot be read or used.
    """
    directory = _find(source)
    config = _read_config(directory / "config.json")
    weights = _open_weights(directory)
    if "d_model" in config:
        shape = _read_state_spaces(config, directory)
    else:
        shape = _read_hugging_face(config, directory)
    family, layout, n_layers, d_model, vocab_size, conv_offset, slices = shape
    convs = tuple(
        _read_conv(weights, layer, slices[-1].stop, directory) for layer in range(n_layers)
    )
    return Checkpoint(
        name=source if source in sample_names() else directory.name,
        path=directory,
        family=family,
        layout=layout,
        d_model=d_model,
        vocab_size=vocab_size,
        slices=slices,
        conv_offset=conv_offset,
        convs=convs,
        config=config,
    )


def _find(source: str) -> Path:
    if source in sample_names():
        return SAMPLES_DIR / source
    directory = Path(source).expanduser()
    if directory.is_dir():
        return directory
    if directory.exists():
        raise CheckpointError(f"{source} is a file; give the directory that holds config.json")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        return _download(source)
    raise CheckpointError(
        f"{source} is neither a directory, nor a Hub id (owner/name), nor one of the samples "
        f"{', '.join(sample_names())}"
    )


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                hub_id, allow_patterns=["*.json", "*.safetensors", "pytorch_model*.bin", "*.txt"]
            )
        )
    except Exception as error:  # the Hub client raises a dozen kinds, offline and on
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{hub_id} is not a directory here and could not be fetched from the Hub: {reason}"
        ) from error


def _read_config(path: Path) -> dict:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; a checkpoint needs it") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds a {type(config).__name__}, not an object")
    return config


def _read_state_spaces(config: dict, directory: Path) -> tuple:
    ssm = config.get("ssm_cfg") or {}
    if not isinstance(ssm, dict):
        raise CheckpointError(f"{directory / 'config.json'}: ssm_cfg is {ssm!r}, not an object")
    layer = ssm.get("layer", "Mamba1")
    if layer not in ("Mamba1", "Mamba2"):
        raise CheckpointError(
            f"{directory / 'config.json'}: ssm_cfg.layer is {layer!r}, not Mamba1 or Mamba2"
        )
    if config.get("attn_layer_idx"):
        raise CheckpointError(f"{directory} mixes attention with Mamba layers; not supported yet")
    d_model = _size(config, "d_model", directory)
    n_layers = _size(config, "n_layer", directory)
    inner = _size(ssm, "expand", directory, 2) * d_model
    vocab = _size(config, "vocab_size", directory)
    multiple = _size(config, "pad_vocab_size_multiple", directory, 1)
    vocab = -(-vocab // multiple) * multiple
    if layer == "Mamba1":
        return ("mamba", "state-spaces", n_layers, d_model, vocab, 0, _mamba_slices(inner))
    state = _size(ssm, "ngroups", directory, 1) * _size(ssm, "d_state", directory, 128)
    slices = _mamba2_slices(inner, state)
    return ("mamba2", "state-spaces", n_layers, d_model, vocab, inner, slices)


def _read_hugging_face(config: dict, directory: Path) -> tuple:
    family = config.get("model_type")
    if family not in ("mamba", "mamba2"):
        raise CheckpointError(
            f"{directory / 'config.json'}: model_type is {family!r}; allowed are mamba and mamba2, "
            "or a state-spaces config with d_model"
        )
    d_model = _size(config, "hidden_size", directory)
    n_layers = _size(config, "num_hidden_layers", directory)
    vocab = _size(config, "vocab_size", directory)
    if family == "mamba":
        expanded = _size(config, "expand", directory, 2) * d_model
        inner = _size(config, "intermediate_size", directory, expanded)
        return (family, "hugging-face", n_layers, d_model, vocab, 0, _mamba_slices(inner))
    inner = _size(config, "expand", directory, 2) * d_model
    state = _size(config, "n_groups", directory, 8) * _size(config, "state_size", directory, 128)
    slices = _mamba2_slices(inner, state)
    return (family, "hugging-face", n_layers, d_model, vocab, inner, slices)


def _size(config: dict, key: str, directory: Path, default: int | None = None) -> int:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(
            f"{directory / 'config.json'}: {key} is {value!r}; it must be a positive integer"
        )
    return value


def _mamba_slices(inner: int) -> tuple[ConvSlice, ...]:
    return (ConvSlice("x", 0, inner),)


def _mamba2_slices(inner: int, state: int) -> tuple[ConvSlice, ...]:
    return (
        ConvSlice("x", 0, inner),
        ConvSlice("B", inner, inner + state),
        ConvSlice("C", inner + state, inner + 2 * state),
    )


@dataclass(frozen=True)
class _Weights:
    """Where each tensor of a checkpoint lies, and how to read one."""

    files: dict[str, Path]  # tensor name -> file
    read: Callable[[str], Tensor]


def _open_weights(directory: Path) -> _Weights:
    """One safetensors file, several with an index, or a pickle read with weights_only."""
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    pickled = directory / "pytorch_model.bin"
    if single.is_file():
        return _open_safetensors([single])
    if index.is_file():
        shards = _read_config(index).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
            raise CheckpointError(f"{index} has no weight_map from tensor names to file names")
        paths = sorted({directory / name for name in shards.values()})
        for path in paths:
            if path.parent != directory or not path.is_file():
                raise CheckpointError(f"{path}, named by {index.name}, does not exist")
        return _open_safetensors(paths)
    if pickled.is_file():
        return _open_pickle(pickled)
    raise CheckpointError(
        f"{directory} has no weights: looked for model.safetensors, "
        "model.safetensors.index.json and pytorch_model.bin"
    )


def _open_safetensors(paths: list[Path]) -> _Weights:
    files: dict[str, Path] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as opened:
                files.update(dict.fromkeys(opened.keys(), path))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from None

    def read(name: str) -> Tensor:
        with safe_open(files[name], framework="pt") as opened:
            return opened.get_tensor(name)

    return _Weights(files, read)


def _open_pickle(path: Path) -> _Weights:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # unpickling a hostile file may raise anything
        raise CheckpointError(
            f"{path} cannot be read as plain weights: {str(error).splitlines()[0]}"
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a state dict")
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return _Weights(dict.fromkeys(tensors, path), tensors.__getitem__)


def _read_conv(weights: _Weights, layer: int, channels: int, directory: Path) -> ConvWeights:
    prefix = f"backbone.layers.{layer}.mixer.conv1d"
    if f"{prefix}.weight" not in weights.files:
        raise CheckpointError(f"{directory} has no tensor {prefix}.weight")
    weight = _read_float(weights, f"{prefix}.weight")
    allowed = tuple((channels, 1, w) for w in CONV_WIDTHS)
    if weight.dim() == 2:
        weight = weight.unsqueeze(1)
    if tuple(weight.shape) not in allowed:
        raise CheckpointError(
            f"{weights.files[prefix + '.weight']}: {prefix}.weight has shape "
            f"{tuple(weight.shape)}; expected ({channels}, 1, W) with W in {CONV_WIDTHS}"
        )
    if f"{prefix}.bias" not in weights.files:
        return ConvWeights(layer, weight[:, 0], torch.zeros(channels))
    bias = _read_float(weights, f"{prefix}.bias")
    if tuple(bias.shape) != (channels,):
        raise CheckpointError(
            f"{weights.files[prefix + '.bias']}: {prefix}.bias has shape {tuple(bias.shape)}; "
            f"expected ({channels},)"
        )
    return ConvWeights(layer, weight[:, 0], bias)


def _read_float(weights: _Weights, name: str) -> Tensor:
    tensor = weights.read(name)
    if not tensor.is_floating_point():
        raise CheckpointError(
            f"{weights.files[name]}: {name} is {tensor.dtype}; float weights are needed "
            "to calibrate"
        )
    tensor = tensor.to(torch.float32)
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{weights.files[name]}: {name} contains NaN or infinite values")
    return tensor


def default_device() -> str:
    """Where models and kernels run: "cuda" where Triton compiles for it, else "cpu"."""
    return "cuda" if "triton" in available_backends() else "cpu"


def load_backbone(checkpoint: Checkpoint, device: str | None = None) -> nn.Module:
    """The model without its LM head, from transformers, ready for a forward.

    Weights are widened to float32 on a CPU and keep their own dtype on CUDA. ``device`` None means
    ``default_device()``.
    """
    device = device or default_device()
    config, build = _backbone_class(checkpoint)
    weights = _open_weights(checkpoint.path)
    state = {}
    for name in weights.files:
        if name.startswith("backbone."):
            renamed = name.removeprefix("backbone.").replace("embedding.", "embeddings.")
            state[renamed] = weights.read(name)
    if torch.device(device).type == "cpu":
        state = {name: tensor.to(torch.float32) for name, tensor in state.items()}
    with torch.device("meta"):
        model = build(config)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{checkpoint.path} does not fit its config.json: {reason}") from None
    return model.to(device).eval().requires_grad_(False)


def _backbone_class(checkpoint: Checkpoint) -> tuple:
    """The family's config and model classes, and the config of this checkpoint."""
    # Imported here: reading a checkpoint does not need transformers, and it takes over a second.
    with collector_paused():
        from transformers import logging

        if checkpoint.family == "mamba":
            from transformers.models.mamba.configuration_mamba import MambaConfig as Config
            from transformers.models.mamba.modeling_mamba import MambaModel as Model
        else:
            from transformers.models.mamba2.configuration_mamba2 import Mamba2Config as Config
            from transformers.models.mamba2.modeling_mamba2 import Mamba2Model as Model
    logging.set_verbosity_error()  # it warns at every start that the fast CUDA path is missing
    if checkpoint.layout == "hugging-face":
        try:
            return Config.from_pretrained(checkpoint.path, local_files_only=True), Model
        except Exception as error:  # each field has a validator of its own
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"{checkpoint.path / 'config.json'} is refused by transformers: {reason}"
            ) from None

    ssm = checkpoint.config.get("ssm_cfg") or {}
    inner = checkpoint.slices[0].width
    common = dict(
        hidden_size=checkpoint.d_model,
        num_hidden_layers=checkpoint.n_layers,
        vocab_size=checkpoint.vocab_size,
        expand=ssm.get("expand", 2),
        conv_kernel=checkpoint.convs[0].weight.shape[1],
        layer_norm_epsilon=checkpoint.config.get("norm_epsilon", 1e-5),
        residual_in_fp32=checkpoint.config.get("residual_in_fp32", True),
    )
    if checkpoint.family == "mamba":
        rank = ssm.get("dt_rank", "auto")
        return Config(**common, state_size=ssm.get("d_state", 16), time_step_rank=rank), Model
    head_dim = ssm.get("headdim", 64)
    return Config(
        **common,
        state_size=ssm.get("d_state", 128),
        head_dim=head_dim,
        num_heads=inner // head_dim,
        n_groups=ssm.get("ngroups", 1),
    ), Model
