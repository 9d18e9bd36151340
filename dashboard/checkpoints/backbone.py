"""A Checkpoint -> the model itself, ready for a forward, and the input of its convolutions.

transformers builds the models of all families, from their configuration and the tensors that
``weights`` has read; it knows which tensors a family has renamed or fused since it was published.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dashboard.checkpoints.families import FAMILIES
from dashboard.checkpoints.loading import LAYER_TENSOR, MIXER_TENSOR
from dashboard.checkpoints.records import Checkpoint, CheckpointError
from dashboard.checkpoints.weights import open_weights, out_of_memory, ran_out_of_memory
from dashboard.importing import hide_kernels_distribution, imported
from dashboard.refusals import Refusal
from kernels import available_backends

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
STATE_SPACES_EMBEDDING = "backbone.embedding.weight"
MOST_SHARING = 16  # Zamba2 uses the same attention weights in up to nine layers


def default_device() -> str:
    """Where models and kernels run: "cuda" where Triton compiles for it, else "cpu"."""
    return "cuda" if "triton" in available_backends() else "cpu"


def load_backbone(
    checkpoint: Checkpoint, device: str | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """The model without its LM head, from transformers, ready for a forward.

    Args:
        device: None means ``default_device()``. A model that is too large for its GPU is spread
            over all of them, and what does not fit there over the host's memory, by accelerate.
        dtype: float32, bfloat16 or float16; None means float32 on a CPU, which has no other, and on
            CUDA that of the weights.

    Raises CheckpointError where the weights do not fit the configuration, or are quantized already,
    and for another dtype.
    """
    return _load(checkpoint, "Model", device, dtype)


def load_language_model(
    checkpoint: Checkpoint, device: str | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """The model with its LM head: token ids (B, L) to ``.logits`` (B, L, vocabulary).

    Its ``backbone_of`` is what ``load_backbone`` gives. Arguments and errors are those of
    ``load_backbone``; a checkpoint without a head of its own or one tied to its embedding is
    refused, too.
    """
    return _load(checkpoint, "ForCausalLM", device, dtype)


def backbone_of(model: nn.Module) -> nn.Module:
    """A language model's part without its head, which hooks go into."""
    backbone: Any = model.base_model
    return backbone


def _load(
    checkpoint: Checkpoint, kind: str, device: str | None, dtype: torch.dtype | None
) -> nn.Module:
    """The model that transformers calls <family's classes><kind>."""
    device = device or default_device()
    on_cpu = torch.device(device).type == "cpu"
    _check_dtype(dtype, device)
    if checkpoint.is_quantized:
        raise CheckpointError(
            "{path} is quantized already: it has no float weights to calibrate with, only the "
            "scales that it stores",
            path=checkpoint.path,
        )
    if checkpoint.config.get("quantization_config"):
        raise CheckpointError(
            "{path}: quantization_config says that the weights are quantized in a way that is "
            "neither float nor Quamba's",
            path=checkpoint.path / "config.json",
        )
    begun = time.perf_counter()
    config_class, model_class = _import_classes(checkpoint.family, kind)
    config = _config(checkpoint, config_class)
    weights = open_weights(checkpoint.weights_path)
    state = {name: _as_module(name, weights.read(name)) for name in weights.files}
    if checkpoint.layout == "state-spaces" and STATE_SPACES_EMBEDDING in state:
        state["backbone.embeddings.weight"] = state.pop(STATE_SPACES_EMBEDDING)
    if dtype is None:
        dtype = torch.float32 if on_cpu else _own_dtype(state)
    try:
        _check_size(config, model_class, state)
        model, loaded = model_class.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=dtype,
            output_loading_info=True,
        )
    except Exception as error:  # a shape that does not fit, a size that cannot be built
        if ran_out_of_memory(error):
            raise out_of_memory(checkpoint.path, error) from error
        logger.info("building the model of %s", checkpoint.path, exc_info=error)
        raise CheckpointError(
            "{path} does not fit its config.json: {reason}",
            path=checkpoint.path,
            reason=error
            if isinstance(error, Refusal)
            else str(error).strip() or type(error).__name__,
        ) from error
    # Left alone, transformers would fill what is missing with random numbers, and drop the rest.
    missing = loaded["missing_keys"]
    if missing:
        raise CheckpointError(
            "{path} does not fit its config.json: of its tensors {count} are missing, as {tensor}",
            path=checkpoint.path,
            count=len(missing),
            tensor=min(missing),
        )
    surplus = [name for name in loaded["unexpected_keys"] if LAYER_TENSOR.match(name)]
    if surplus:
        raise CheckpointError(
            "{path} does not fit its config.json: of its tensors {count} are not of this model, as "
            "{tensor}",
            path=checkpoint.path,
            count=len(surplus),
            tensor=min(surplus),
        )
    model = _place(checkpoint, model.eval().requires_grad_(False), torch.device(device))
    took = time.perf_counter() - begun
    logger.info("%s (%s) loaded on %s in %.1f s", checkpoint.name, checkpoint.family, device, took)
    return model


SPARE = 0.8  # of a GPU's free memory: the rest is for activations and counters


def _place(
    checkpoint: Checkpoint,
    model: nn.Module,
    device: torch.device,
    most_bytes: dict[int | str, int] | None = None,
) -> nn.Module:
    """The model on a device; over all GPUs and the host's memory where it is too large for one.

    Args:
        most_bytes: what each GPU, by number, and "cpu" may hold of it; None means what is free.
    """
    if device.type == "cpu":
        return model.to(device)
    size = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    room = SPARE * torch.cuda.mem_get_info(device)[0]
    if size <= room and most_bytes is None:
        return model.to(device)
    try:
        accelerate: Any = imported("accelerate")
    except ImportError:
        raise CheckpointError(
            "{path} takes {size} GB of memory, of which the GPU has {room} GB to spare; install "
            "accelerate, which spreads it over all GPUs and the host's memory",
            path=checkpoint.path,
            size=f"{size / 1e9:.1f}",
            room=f"{room / 1e9:.1f}",
        ) from None
    if most_bytes is None:
        most_bytes = accelerate.utils.get_max_memory()
        for place in range(torch.cuda.device_count()):
            most_bytes[place] = int(SPARE * most_bytes[place])
    whole: Any = model
    places = accelerate.infer_auto_device_map(
        model, max_memory=most_bytes, no_split_module_classes=whole._no_split_modules
    )
    logger.info("%s is spread over %s", checkpoint.name, sorted(map(str, set(places.values()))))
    return accelerate.dispatch_model(model, places)


def _check_size(config: object, model_class: Any, state: dict[str, Tensor]) -> None:
    """transformers allocates what the configuration asks for, before it looks for the weights."""
    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in model_class(config).parameters())
    stored = sum(tensor.numel() for tensor in state.values())
    if wanted > MOST_SHARING * stored:
        raise Refusal(
            "it describes {wanted} parameters, and the weights hold {stored}",
            wanted=f"{wanted:,}",
            stored=f"{stored:,}",
        )


def _as_module(name: str, tensor: Tensor) -> Tensor:
    """Some write a convolution's weight as (D, W); the module has (D, 1, W)."""
    if name.endswith("conv1d.weight") and tensor.dim() == 2:
        return tensor.unsqueeze(1)
    return tensor


def _import_classes(family: str, kind: str) -> tuple[Any, Any]:
    # Imported here: reading a checkpoint does not need transformers, and it takes over a second.
    hide_kernels_distribution()
    package, classes = f"transformers.models.{family}", FAMILIES[family].classes
    configuration = imported(f"{package}.configuration_{family}")
    modeling = imported(f"{package}.modeling_{family}")
    messages = imported("transformers.utils.logging")
    messages.set_verbosity_error()  # it warns at every start that the fast CUDA path is missing
    messages.disable_progress_bar()
    return getattr(configuration, f"{classes}Config"), getattr(modeling, f"{classes}{kind}")


def _config(checkpoint: Checkpoint, config_class: Any) -> object:
    """The configuration in transformers' own words."""
    build = _translate if checkpoint.layout == "state-spaces" else _adopt
    try:
        return build(checkpoint, config_class)
    except Exception as error:  # each field has a validator of its own
        if ran_out_of_memory(error):
            raise out_of_memory(checkpoint.path, error) from error
        logger.info("the configuration of %s", checkpoint.path, exc_info=error)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            "{path} is refused by transformers: {reason}",
            path=checkpoint.path / "config.json",
            reason=reason,
        ) from error


def _adopt(checkpoint: Checkpoint, config_class: Any) -> object:
    """As it is, but for names of implementations: one could be a repository of code to fetch."""
    stored, _ = config_class.get_config_dict(checkpoint.path, local_files_only=True)
    known = {
        name: value
        for name, value in stored.items()
        if not name.startswith("_") and not name.endswith("_implementation")
    }
    return config_class.from_dict(known)


def _translate(checkpoint: Checkpoint, config_class: Any) -> object:
    """The state-spaces repository's configuration in transformers' words."""
    ssm = checkpoint.config.get("ssm_cfg") or {}
    architecture = checkpoint.architecture
    common = dict(
        hidden_size=architecture.d_model,
        num_hidden_layers=architecture.model_layers,
        vocab_size=architecture.vocab_size,
        expand=ssm.get("expand", 2),
        conv_kernel=checkpoint.convs[0].weight.shape[1],
        layer_norm_epsilon=checkpoint.config.get("norm_epsilon", 1e-5),
        residual_in_fp32=checkpoint.config.get("residual_in_fp32", True),
        tie_word_embeddings=checkpoint.config.get("tie_embeddings", True),
    )
    if checkpoint.family == "mamba":
        rank = ssm.get("dt_rank", "auto")
        return config_class(**common, state_size=ssm.get("d_state", 16), time_step_rank=rank)
    head_dim = architecture.head_dim
    assert head_dim is not None  # a Mamba-2 has heads
    return config_class(
        **common,
        state_size=ssm.get("d_state", 128),
        head_dim=head_dim,
        num_heads=architecture.slices[0].width // head_dim,
        n_groups=architecture.n_groups,
    )


def _own_dtype(state: dict[str, Tensor]) -> torch.dtype:
    """That of the weights that the mixers project with."""
    return state[_in_proj(state)].dtype


def forward_dtype(checkpoint: Checkpoint, device: str, dtype: str | None = None) -> str:
    """In which dtype a forward would run: "float32", "bfloat16" or "float16".

    Arguments are those of ``load_backbone``, and so is what is refused; ``dtype`` by its name.
    """
    if dtype is not None:
        _check_dtype(DTYPES[dtype], device)
        return dtype
    if torch.device(device).type == "cpu":
        return "float32"
    weights = open_weights(checkpoint.weights_path)
    return _name(weights.read(_in_proj(weights.files)).dtype)


def _check_dtype(dtype: torch.dtype | None, device: str) -> None:
    on_cpu = torch.device(device).type == "cpu"
    if dtype not in (None, torch.float32, *(() if on_cpu else (torch.bfloat16, torch.float16))):
        raise CheckpointError(
            "dtype is {dtype}; on {device} a forward is in {allowed}",
            dtype=_name(dtype),
            device=device,
            allowed="float32" if on_cpu else "float32, bfloat16 or float16",
        )


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


def _in_proj(names: Iterable[str]) -> str:
    """The weights that a mixer projects with, of a checkpoint that has float ones."""
    mixer = next(match["mixer"] for name in names if (match := MIXER_TENSOR.fullmatch(name)))
    return f"{mixer}.in_proj.weight"


def find_mixer(backbone: nn.Module, layer: int) -> nn.Module:
    """The Mamba mixer of a layer, whatever its family calls it and however deep it lies."""
    block = backbone.get_submodule(f"layers.{layer}")
    return next(m for m in block.modules() if hasattr(m, "in_proj") and hasattr(m, "conv1d"))


def mixer_multiplier(mixer: nn.Module) -> Tensor | None:
    """(1, 1, projected): what Falcon-H1 multiplies in_proj's output by; None elsewhere."""
    return getattr(mixer, "mup_vector", None)


def conv_input(checkpoint: Checkpoint, multiplier: Tensor | None, projected: Tensor) -> Tensor:
    """What the convolution gets of in_proj's output: (B, L, projected) -> (B, D, L), a view or not.

    ``multiplier`` as ``mixer_multiplier`` gives it.
    """
    first = checkpoint.conv_offset
    channels = slice(first, first + checkpoint.conv_dim)
    x = projected[..., channels]
    if multiplier is not None:
        x = x * multiplier[..., channels]
    return x.transpose(1, 2)
