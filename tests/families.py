"""A tiny random model of every family, for the tests: which layers are Mamba layers, and how wide.

Sizes differ from each other wherever a mistaken one could pass for another.
"""

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
