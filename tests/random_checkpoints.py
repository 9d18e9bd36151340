"""Checkpoints that tests write: random models, Quamba's layouts, and samples in Quamba's scales.

Sizes of the models differ from each other wherever a mistaken one could pass for another.
quamba_layouts.json and quamba_scales.json are not of this project's making: they hold what Quamba's
own classes wrote and calibrated (each says how), so that the reader is held to the real format.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BambaConfig,
    FalconH1Config,
    FalconMambaConfig,
    GraniteMoeHybridConfig,
    JambaConfig,
    Mamba2Config,
    MambaConfig,
    NemotronHConfig,
    PreTrainedConfig,
    Zamba2Config,
)

from dashboard.checkpoints import Checkpoint, load_checkpoint

HERE = Path(__file__).parent
LAYOUTS = json.loads((HERE / "quamba_layouts.json").read_text())["checkpoints"]
SCALES = json.loads((HERE / "quamba_scales.json").read_text())["checkpoints"]

ALONE = dict(vocab_size=256, hidden_size=32)
WITH_ATTENTION = ALONE | dict(intermediate_size=48, num_attention_heads=4, num_key_value_heads=2)
SSM = dict(mamba_n_heads=4, mamba_d_head=16, mamba_n_groups=2, mamba_d_state=8, mamba_chunk_size=8)

CONFIGS: dict[str, PreTrainedConfig] = {
    "mamba": MambaConfig(**ALONE, num_hidden_layers=3, state_size=4),
    "falcon_mamba": FalconMambaConfig(**ALONE, num_hidden_layers=3, state_size=4, conv_kernel=3),
    "mamba2": Mamba2Config(
        **ALONE, num_hidden_layers=3, num_heads=4, head_dim=16, n_groups=2, state_size=8,
        chunk_size=8,
    ),
    "bamba": BambaConfig(**WITH_ATTENTION, **SSM, num_hidden_layers=4, attn_layer_indices=[1]),
    "jamba": JambaConfig(
        **WITH_ATTENTION, num_hidden_layers=4, attn_layer_period=3, attn_layer_offset=1,
        num_experts=2, mamba_d_state=4, mamba_dt_rank=3,
    ),
    "zamba2": Zamba2Config(
        **WITH_ATTENTION, num_hidden_layers=4, mamba_d_state=8, mamba_ngroups=2, n_mamba_heads=4,
        layers_block_type=["mamba", "hybrid", "mamba", "hybrid"], chunk_size=8, adapter_rank=4,
    ),
    "falcon_h1": FalconH1Config(
        **WITH_ATTENTION, **(SSM | dict(mamba_d_head=12)), num_hidden_layers=3, mamba_d_ssm=48,
        ssm_multipliers=[0.5, 0.7, 1.3, 0.9, 1.1], ssm_in_multiplier=0.8, mamba_rms_norm=True,
    ),
    "granitemoehybrid": GraniteMoeHybridConfig(
        **WITH_ATTENTION, **SSM, num_hidden_layers=4, shared_intermediate_size=32,
        layer_types=["mamba", "attention", "mamba", "mamba"], num_local_experts=2,
        num_experts_per_tok=1,
    ),
    "nemotron_h": NemotronHConfig(
        **WITH_ATTENTION, layers_block_type=["mamba", "moe", "attention", "mlp", "mamba"],
        mamba_num_heads=4, mamba_head_dim=12, ssm_state_size=8, n_groups=2, chunk_size=8,
        head_dim=8, n_routed_experts=2, moe_intermediate_size=16, num_experts_per_tok=1,
        moe_shared_expert_intermediate_size=16,
    ),
}  # fmt: skip

MAMBA_LAYERS = {
    "mamba": (0, 1, 2),
    "falcon_mamba": (0, 1, 2),
    "mamba2": (0, 1, 2),
    "bamba": (0, 2, 3),
    "jamba": (0, 2, 3),
    "zamba2": (0, 1, 2, 3),
    "falcon_h1": (0, 1, 2),
    "granitemoehybrid": (0, 2, 3),
    "nemotron_h": (0, 4),
}


def save_model(family: str, directory: Path, **options) -> nn.Module:
    """A model with random weights, saved as transformers saves it."""
    torch.manual_seed(0)
    # Its own configuration: to save a model writes the model's dtype there.
    model = AutoModelForCausalLM.from_config(deepcopy(CONFIGS[family])).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("conv1d.bias"):  # made as zeros, which no mistake could change
            nn.init.normal_(parameter)
    model.save_pretrained(directory, **options)
    return model


def rewrite(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Apply ``change`` to the state dict of a saved checkpoint."""
    state = load_file(directory / "model.safetensors")
    change(state)
    save_file(state, directory / "model.safetensors")


def layout_entry(value: object) -> object:
    """An entry as quamba_layouts.json writes it."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype).removeprefix("torch."), list(value.shape)]
    return None if value is None else type(value).__name__


def quamba_state(name: str) -> dict:
    """Random values under the names, dtypes and shapes that Quamba itself writes."""
    layout, generator = LAYOUTS[name], torch.Generator().manual_seed(0)
    ssm = layout["config"]["ssm_cfg"]
    heads = 2 * layout["config"]["d_model"] // ssm.get("headdim", 1) // ssm.get("ngroups", 1)

    def value(name: str, entry: object) -> object:
        if not isinstance(entry, list):
            return entry and float(torch.rand(1, generator=generator)) / 10 + 0.01
        dtype, shape = getattr(torch, entry[0]), entry[1]
        last = {"x_head_group_range": heads, "x_dim_group_range": ssm.get("headdim")}
        if (field := name.rpartition(".")[2]) in last:
            cuts = torch.linspace(0, last[field], shape[-1] + 1).round().to(dtype)[1:]
            return cuts.expand(shape).contiguous()
        if dtype.is_floating_point:
            return (torch.rand(shape, generator=generator) / 10 + 0.01).to(dtype)
        return torch.randint(-127, 128, shape, generator=generator).to(dtype)

    entries = dict(layout["outside"])
    for layer, kind in enumerate(layout["layers"]):
        own = layout["kinds"][kind].items()
        entries |= {f"backbone.layers.{layer}.{field}": entry for field, entry in own}
    return {name: value(name, entry) for name, entry in entries.items()}


def quamba_checkpoint(directory: Path, name: str, **changed: object) -> tuple[Checkpoint, dict]:
    """A checkpoint of one of Quamba's own layouts, on disk, and its state dict."""
    state = quamba_state(name) | changed
    torch.save(state, directory / "pytorch_model.bin")
    (directory / "config.json").write_text(json.dumps(LAYOUTS[name]["config"]))
    return load_checkpoint(str(directory)), state


def quantized_state(name: str, scales: list[dict]) -> dict:
    """A sample's convolutions as Quamba quantizes them, with scales that Quamba itself calibrated.

    Args:
        name: of a float sample whose channels keep their places.
        scales: of each layer, from ``SCALES``.
    """
    checkpoint, state = load_checkpoint(name), {}
    for conv, own in zip(checkpoint.convs, scales, strict=True):
        prefix = f"backbone.layers.{conv.layer}.mixer.conv1d."
        for field, values in (("weight", conv.weight), ("bias", conv.bias)):
            pieces = []
            for conv_slice in checkpoint.slices:
                one_kind = len(checkpoint.slices) == 1
                scale = own[f"{field}_scale" if one_kind else f"{field[0]}{conv_slice.name}_scale"]
                pieces.append((values[conv_slice.channels] / scale).round().clamp(-128, 127))
            state[prefix + field] = torch.cat(pieces).to(torch.int8)
        for field, value in own.items():
            is_buffer = field.endswith("_out_scales")
            state[prefix + field] = torch.tensor(value) if is_buffer else value
    return state


def quantized_sample(directory: Path, name: str, made: str, layout: str) -> Checkpoint:
    """``quantized_state`` on disk: of a sample, with the scales ``made``, in a layout's config."""
    torch.save(quantized_state(name, SCALES[made]), directory / "pytorch_model.bin")
    (directory / "config.json").write_text(json.dumps(LAYOUTS[layout]["config"]))
    return load_checkpoint(str(directory))
