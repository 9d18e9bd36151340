"""Checkpoints with random values in the layouts that Quamba itself writes.

quamba_layouts.json and quamba_scales.json are not of this project's making: they hold what Quamba's
own classes wrote and calibrated (each says how), so that the reader is held to the real format.
"""

import json
from pathlib import Path

import torch

from dashboard.checkpoints import Checkpoint, load_checkpoint

HERE = Path(__file__).parent
LAYOUTS = json.loads((HERE / "quamba_layouts.json").read_text())["checkpoints"]
SCALES = json.loads((HERE / "quamba_scales.json").read_text())["checkpoints"]


def described(value: object) -> object:
    """An entry as quamba_layouts.json writes it."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype).removeprefix("torch."), list(value.shape)]
    return None if value is None else type(value).__name__


def genuine_state(name: str) -> dict:
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


def genuine(directory: Path, name: str, **changed: object) -> tuple[Checkpoint, dict]:
    """A checkpoint of one of Quamba's own layouts, on disk, and its state dict."""
    state = genuine_state(name) | changed
    torch.save(state, directory / "pytorch_model.bin")
    (directory / "config.json").write_text(json.dumps(LAYOUTS[name]["config"]))
    return load_checkpoint(str(directory)), state


def calibrated_state(name: str, scales: list[dict]) -> dict:
    """A sample's convolutions as Quamba quantizes them, with scales that Quamba itself calibrated.

    Args:
        name: of a float sample whose channels keep their places.
        scales: of each layer, from ``SCALES``.
    """
    checkpoint, state = load_checkpoint(name), {}
    for conv, own in zip(checkpoint.convs, scales, strict=True):
        prefix = f"backbone.layers.{conv.layer}.mixer.conv1d."
        for field, values in (("weight", conv.weight), ("bias", conv.bias)):
            parts = []
            for part in checkpoint.slices:
                one_kind = len(checkpoint.slices) == 1
                scale = own[f"{field}_scale" if one_kind else f"{field[0]}{part.name}_scale"]
                parts.append((values[part.channels] / scale).round().clamp(-128, 127))
            state[prefix + field] = torch.cat(parts).to(torch.int8)
        for field, value in own.items():
            is_buffer = field.endswith("_out_scales")
            state[prefix + field] = torch.tensor(value) if is_buffer else value
    return state


def calibrated(directory: Path, name: str, made: str, layout: str) -> Checkpoint:
    """``calibrated_state`` on disk: of a sample, with the scales ``made``, in a layout's config."""
    torch.save(calibrated_state(name, SCALES[made]), directory / "pytorch_model.bin")
    (directory / "config.json").write_text(json.dumps(LAYOUTS[layout]["config"]))
    return load_checkpoint(str(directory))
