"""Quantized checkpoints: what is stored is read as it is, and the sample is what it says."""

import json
from hashlib import sha256

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import conv_by_torch
from random_checkpoints import LAYOUTS, SCALES, layout_entry, quamba_checkpoint, quamba_state
from safetensors.torch import save_file

from dashboard.checkpoints import (
    SAMPLES_DIR,
    CheckpointError,
    load_backbone,
    load_checkpoint,
    quantized_sample_names,
    sample_names,
)
from kernels import quant_causal_conv1d
from kernels.int8 import dequantize, quantize
from sample_checkpoints import quantize as quantizing

SAMPLE = "mamba2-small-quamba2"
CONV = "backbone.layers.1.mixer.conv1d."
MIXER = "backbone.layers.1.mixer."


@pytest.fixture(scope="module")
def calibration(calibrated):
    """As the sample's README says it was calibrated."""
    return calibrated("mamba2-small", 16, 512).calibration


def order_of(stored, capture) -> np.ndarray:
    """Which channel of the float model each stored channel is, by its dequantized weights."""
    scales = stored.kernel_arguments()
    w_hat = dequantize(stored.weight_q, scales["scale_w"][:, None])
    b_hat = dequantize(stored.bias_q, scales["scale_b"])
    ours = torch.cat([capture.weight, capture.bias[:, None]], dim=1)
    theirs = torch.cat([w_hat, b_hat[:, None]], dim=1)
    return torch.cdist(theirs.double(), ours.double()).argmin(dim=1).numpy()


def test_the_kernel_with_the_samples_codes_and_scales_gives_the_float_models_output(calibration):
    checkpoint, quantized = load_checkpoint("mamba2-small"), load_checkpoint(SAMPLE)
    assert quantized.is_quantized and quantized.convs == ()
    assert quantized.layers == checkpoint.layers
    for layer in quantized.layers:
        stored, capture = quantized.stored_layer(layer), calibration.capture(layer)
        order = order_of(stored, capture)
        assert sorted(order.tolist()) == list(range(checkpoint.conv_dim))  # only laid out anew
        x = capture.x[:2, order]
        arguments = stored.kernel_arguments()
        x_q = quantize(x, arguments["scale_x"][:, None])
        y_q = quant_causal_conv1d(x_q, **arguments, backend="torch")
        y_hat = dequantize(y_q, arguments["scale_out"][:, None])
        v = conv_by_torch(x, capture.weight[order], capture.bias[order])
        y = F.silu(v)
        for stored_slice in quantized.slices:
            signal = float((y[:, stored_slice.channels] ** 2).sum())
            noise = float(((y_hat - y)[:, stored_slice.channels] ** 2).sum())
            # Rounding x, weights and bias counts too: about 27 to 36 dB on these layers.
            assert 10 * np.log10(signal / noise) > 25


def check_scales(quantized, calibration) -> None:
    """Each stored scale is MinMax of its own channels in float16, and its channels neighbours."""
    for layer in quantized.layers:
        stored, capture = quantized.stored_layer(layer), calibration.capture(layer)
        order = order_of(stored, capture)
        x = capture.x[:, order]
        v = conv_by_torch(x, capture.weight[order], capture.bias[order])
        amax = F.silu(v).abs().amax(dim=(0, 2)).half().float().numpy()
        assert stored.mixer == "W8A8QMamba2" and not stored.alpha_used
        assert stored.mismatches == () and len(stored.copies) == 5
        for scales in stored.slices:
            own = scales.conv_slice.channels
            groups = range(scales.out_scales.size)
            by_hand = [amax[own][scales.out_group == g].max() / 127 for g in groups]
            # A step of float16, where a sum in another order or a division rounds to the next.
            assert scales.out_scales.ravel() == pytest.approx(by_hand, rel=2**-10)
            assert scales.x_scale == pytest.approx(float(x[:, own].abs().max()) / 127, rel=2**-10)
            assert scales.scale_wx == pytest.approx(scales.x_scale * scales.w_scale, rel=1e-6)
        x_slice = stored.slices[0]
        assert x_slice.out_scales.shape == (1, 4, 4)
        # Each group is contiguous: a head's channels never return to a group they have left.
        for head in x_slice.out_group.reshape(-1, 32):
            assert (np.diff(head) >= 0).all()
        assert (np.diff(x_slice.out_group.reshape(-1, 32)[:, 0]) >= 0).all()


def test_each_of_the_samples_scales_is_minmax_of_its_own_channels(calibration):
    check_scales(load_checkpoint(SAMPLE), calibration)


def test_the_samples_scales_are_what_quamba2_itself_calibrates():
    state = torch.load(SAMPLES_DIR / SAMPLE / "pytorch_model.bin", weights_only=True)
    layers = SCALES["mamba2-small, W8A8, grouped"]
    for layer, theirs in enumerate(layers):
        for name, value in theirs.items():
            ours = torch.as_tensor(state[f"backbone.layers.{layer}.mixer.conv1d.{name}"])
            wanted = torch.tensor(value)
            assert ours.shape == wanted.shape
            if name.endswith("_out_scales"):
                # Its forward is float16 throughout, this one float32: two steps of float16 apart.
                assert ours.numpy() == pytest.approx(wanted.numpy(), rel=2**-9)
            else:
                assert torch.equal(ours.double(), wanted.double()), name


def test_the_sample_has_quamba2s_configuration_names_dtypes_and_shapes():
    wanted = LAYOUTS["mamba2-w8a8-grouped"]
    config = json.loads((SAMPLES_DIR / SAMPLE / "config.json").read_text())
    assert config == wanted["config"]
    state = torch.load(SAMPLES_DIR / SAMPLE / "pytorch_model.bin", weights_only=True)
    scan = {"x_scales", "B_scale", "C_scale", "x_head_group_range", "x_dim_group_range"}
    entries = {
        f"backbone.layers.{layer}.{name}": entry
        for layer in range(6)
        for name, entry in wanted["kinds"][0].items()
        if name.startswith("mixer.conv1d.") or name.removeprefix("mixer.qchunk_scan.") in scan
    }
    assert {name: layout_entry(value) for name, value in state.items()} == entries


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_that_quamba_writes_opens_and_is_read_as_it_stands(name, tmp_path):
    checkpoint, state = quamba_checkpoint(tmp_path, name)
    config = LAYOUTS[name]["config"]
    assert checkpoint.is_quantized and checkpoint.layers == tuple(range(config["n_layer"]))
    listed = config["ssm_cfg"]["layer"]
    for layer in checkpoint.layers:
        classes = listed[layer] if isinstance(listed, list) else {"": listed}
        for stored_as, mixer in classes.items():
            prefix = f"backbone.layers.{layer}.mixer" + (f"s.{stored_as}" if stored_as else "")
            weight = state[f"{prefix}.conv1d.weight"]
            if "A16" in mixer:
                conv = checkpoint.conv(layer)
                assert torch.equal(conv.weight, weight.float().squeeze(1))
                assert torch.equal(conv.bias, state[f"{prefix}.conv1d.bias"].float())
                continue
            stored = checkpoint.stored_layer(layer)
            assert stored.mixer == mixer and torch.equal(stored.weight_q, weight)
            assert torch.equal(stored.bias_q, state[f"{prefix}.conv1d.bias"])
            for stored_slice in stored.slices:
                one_kind = checkpoint.family == "mamba"
                names = (
                    ("input_scale", "weight_scale", "bias_scale", "output_scale")
                    if one_kind
                    else (
                        f"{stored_slice.name}_scale",
                        f"w{stored_slice.name}_scale",
                        f"b{stored_slice.name}_scale",
                        f"{stored_slice.name}_out_scales",
                    )
                )
                wanted = [state[f"{prefix}.conv1d.{field}"] for field in names]
                assert [stored_slice.x_scale, stored_slice.w_scale, stored_slice.b_scale] == [
                    float(np.float32(v)) for v in wanted[:3]
                ]
                assert stored_slice.out_scales.ravel().tolist() == [
                    float(np.float32(v)) for v in torch.as_tensor(wanted[3]).ravel().tolist()
                ]
                ungrouped = "ungrouped" in name or one_kind
                percentile = ungrouped and stored_slice.name == "x"
                assert stored_slice.rule == ("percentile-ema" if percentile else "minmax")
            arguments = stored.kernel_arguments()
            assert all(
                scale.shape == (checkpoint.conv_dim,)
                for key, scale in arguments.items()
                if key.startswith("scale")
            )


COPIES = {
    "mamba-w8a8": {"selective_scan.u_scale", "selective_scan.z_scale"},
    "mamba-w4a8": {"selective_scan.u_scale", "selective_scan.z_scale", "x_proj.input_scale"},
    "mamba2-w8a8-ungrouped": {"qchunk_scan.x_scales", "qchunk_scan.B_scale", "qchunk_scan.C_scale"},
    "mamba2-w8a8-8-groups": {
        "qchunk_scan.x_scales", "qchunk_scan.B_scale", "qchunk_scan.C_scale",
        "qchunk_scan.x_head_group_range", "qchunk_scan.x_dim_group_range",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", COPIES)
def test_the_entries_that_repeat_a_scale_are_found_in_quambas_own_layouts(name, tmp_path):
    checkpoint, _ = quamba_checkpoint(tmp_path, name)
    for layer in checkpoint.stored:
        assert {copy.copy for copy in layer.copies} == COPIES[name]


def test_mixed_widths_hold_each_layers_own_mixers(tmp_path):
    checkpoint, _ = quamba_checkpoint(tmp_path, "mamba2-w4aX-listed")
    assert checkpoint.stored_layers == (0, 2, 3, 5)
    assert [conv.layer for conv in checkpoint.convs] == [1, 4]
    (tmp_path / "both").mkdir()
    both, _ = quamba_checkpoint(tmp_path / "both", "mamba2-w4aX-both")
    assert both.stored_layers == tuple(range(6)) == tuple(conv.layer for conv in both.convs)


def test_a_float_convolution_is_read_and_nothing_is_calibrated(tmp_path):
    checkpoint, _ = quamba_checkpoint(tmp_path, "mamba-w4a16")
    assert checkpoint.stored == () and len(checkpoint.convs) == 4
    with pytest.raises(CheckpointError, match="is quantized already"):
        load_backbone(checkpoint)


def test_attention_layers_of_a_quantized_model_are_passed_over(tmp_path):
    state = quamba_state("mamba2-w8a8-grouped")
    for name in [n for n in state if n.startswith("backbone.layers.2.mixer.")]:
        del state[name]
    state["backbone.layers.2.mixer.Wqkv.weight"] = torch.zeros(4, 4, dtype=torch.float16)
    state["backbone.layers.2.mixer.conv1d.weight"] = torch.zeros(8, 1, 4, dtype=torch.float16)
    torch.save(state, tmp_path / "pytorch_model.bin")
    config = LAYOUTS["mamba2-w8a8-grouped"]["config"] | {"attn_layer_idx": [2]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_checkpoint(str(tmp_path)).stored_layers == (0, 1, 3, 4, 5)


def test_a_quamba_checkpoint_saved_as_safetensors_opens(tmp_path):
    state = quamba_state("mamba-w8a8")
    tensors = {n: torch.as_tensor(v).contiguous() for n, v in state.items() if v is not None}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(LAYOUTS["mamba-w8a8"]["config"]))
    stored = load_checkpoint(str(tmp_path)).stored_layer(3)
    wanted = np.float32(state["backbone.layers.3.mixer.conv1d.output_scale"])
    assert stored.slices[0].out_scales.tolist() == [wanted]


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        ("W8A8Mamba", "ssm_cfg.layer is 'W8A8Mamba'; allowed are Mamba1, Mamba2, and Quamba's"),
        (7, "ssm_cfg.layer is 7"),
        ([{"": "W8A8QMamba2"}], "lists 1 layers; n_layer is 2"),
        ([{"": "W8A8QMamba2"}, {}], r"ssm_cfg.layer\[1\] is \{\}; it must name"),
        ([{"": "W8A8QMamba2"}, "W8A8QMamba2"], r"ssm_cfg.layer\[1\] is 'W8A8QMamba2'"),
        ([{"": "W8A8QMamba2"}, {"": "W8A8QMamba"}], "mixers of Mamba-1 and of Mamba-2"),
        ([{"W4A8": "W4A8QMamba2"}] * 2, r"there is no tensor layers\.0\.mixers\.W4A8\.conv1d"),
        ("Mamba2", r"conv1d\.weight is torch\.int8; float weights are needed|has shape"),
    ],
)
def test_a_mixer_class_that_does_not_fit_is_named(layer, fault, tmp_path):
    with pytest.raises(CheckpointError, match=fault):
        stored_checkpoint(tmp_path, "grouped", mixer=layer)


def test_a_tolerant_reading_leaves_out_what_cannot_be_used_and_says_why(tmp_path):
    name = "backbone.layers.2.mixer.conv1d.B_scale"
    with pytest.raises(CheckpointError, match="B_scale lies between nan"):
        quamba_checkpoint(tmp_path, "mamba2-w8a8-grouped", **{name: float("nan")})
    checkpoint = load_checkpoint(str(tmp_path), tolerant=True)
    assert checkpoint.stored_layers == (0, 1, 3, 4, 5)
    (fault,) = checkpoint.faults
    assert fault.layer == 2 and "B_scale lies between nan and nan" in fault.sentence


def test_the_sample_is_small_named_and_as_its_readme_says():
    assert quantized_sample_names() == [SAMPLE]
    assert SAMPLE not in sample_names()
    file = SAMPLES_DIR / SAMPLE / "pytorch_model.bin"
    readme = (SAMPLES_DIR / "README.md").read_text(encoding="utf-8")
    assert file.stat().st_size <= 2_000_000
    assert f"{file.stat().st_size:,} bytes" in readme
    assert sha256(file.read_bytes()).hexdigest() in readme
    # Like the original: plain numbers among the tensors.
    state = torch.load(file, weights_only=True)
    assert {type(value) for value in state.values()} == {torch.Tensor, float}


def test_the_script_writes_such_a_checkpoint_for_any_text(calibrated, tmp_path):
    quantizing.write(tmp_path / "again", batches=1, seq_len=64)
    written = load_checkpoint(str(tmp_path / "again"))
    assert written.config == load_checkpoint(SAMPLE).config
    check_scales(written, calibrated("mamba2-small", 1, 64).calibration)


def test_a_quantized_checkpoint_has_no_model_to_run():
    with pytest.raises(CheckpointError, match="is quantized already: it has no float weights"):
        load_backbone(load_checkpoint(SAMPLE))


def stored_state(layout: str, **changed) -> dict:
    """Two layers of 8 channels of x, and for Mamba-2 two SSD groups of B and C, 3 wide each."""
    generator = torch.Generator().manual_seed(0)

    def codes(*shape):
        return torch.randint(-128, 128, shape, dtype=torch.int8, generator=generator)

    state = {"backbone.embedding.weight": torch.zeros(16, 4, dtype=torch.float16)}
    for layer in range(2):
        mixer = f"backbone.layers.{layer}.mixer."
        width = {"quamba": 8}.get(layout, 8 + 2 * 2 * 3)
        entries = {"conv1d.weight": codes(width, 4), "conv1d.bias": codes(width)}
        if layout == "quamba":
            entries |= {
                "conv1d.input_scale": 0.02,
                "conv1d.weight_scale": 0.005,
                "conv1d.bias_scale": 0.004,
                "conv1d.output_scale": 0.03,
                "x_proj.input_scale": torch.tensor(0.03),
                "selective_scan.u_scale": torch.tensor(0.03),
                "selective_scan.z_scale": None,
            }
        else:
            for i, name in enumerate("xBC"):
                entries[f"conv1d.{name}_scale"] = 0.02 + 0.01 * i
                entries[f"conv1d.w{name}_scale"] = 0.003 + 0.001 * i
                entries[f"conv1d.b{name}_scale"] = 0.004 + 0.001 * i
            entries["conv1d.x_out_scales"] = torch.tensor([0.03])
            entries["conv1d.B_out_scales"] = torch.tensor([0.04, 0.05])
            entries["conv1d.C_out_scales"] = torch.tensor([0.06])
            entries["conv1d.x_head_group_range"] = None
            entries["conv1d.x_dim_group_range"] = None
            entries["qchunk_scan.x_scales"] = torch.tensor([0.03])
            entries["qchunk_scan.B_scale"] = torch.tensor([0.04, 0.05])
            entries["qchunk_scan.dt_scale"] = 0.5
        if layout == "grouped":
            # Two SSD groups of 2 heads of 2 channels; 2 head groups, 2 channel groups.
            table = {
                "x_out_scales": torch.arange(1, 9).reshape(2, 2, 2) / 100,
                "x_head_group_range": torch.tensor([[1, 2], [1, 2]], dtype=torch.int32),
                "x_dim_group_range": torch.tensor([[[1, 2]] * 2] * 2, dtype=torch.int32),
            }
            entries |= {f"conv1d.{name}": value for name, value in table.items()}
            entries["qchunk_scan.x_scales"] = table["x_out_scales"].clone()
        state |= {mixer + name: value for name, value in entries.items()}
    return state | changed


def stored_checkpoint(directory, layout: str, drop: str = "", mixer: object = None, **changed):
    state = stored_state(layout, **changed)
    state.pop(drop, None)
    torch.save(state, directory / "pytorch_model.bin")
    ssm: dict = {"layer": mixer or "W8A8QMamba"}
    if layout != "quamba":
        ssm = {"layer": mixer or "W8A8QMamba2", "headdim": 2, "ngroups": 2, "d_state": 3}
    config = {"d_model": 4, "n_layer": 2, "vocab_size": 16, "ssm_cfg": ssm}
    (directory / "config.json").write_text(json.dumps(config))
    return load_checkpoint(str(directory))


def test_quambas_plain_numbers_are_one_scale_for_every_channel(tmp_path):
    checkpoint = stored_checkpoint(tmp_path, "quamba")
    layer = checkpoint.stored_layer(1)
    assert layer.alpha_used and layer.head_group_range is None
    (x,) = layer.slices
    assert (x.name, x.x_scale, x.w_scale, x.b_scale) == (
        "x",
        *(float(np.float32(s)) for s in (0.02, 0.005, 0.004)),
    )
    assert x.scale_out.dtype == np.float32 and x.scale_out.shape == (8,)
    assert np.array_equal(x.scale_out, np.full(8, 0.03, np.float32))
    assert [(copy.name, copy.copy, copy.agree) for copy in layer.copies] == [
        ("conv1d.output_scale", "x_proj.input_scale", True),
        ("conv1d.output_scale", "selective_scan.u_scale", True),
    ]


def test_quamba2_without_groups_has_one_scale_for_x_and_one_an_ssd_group_for_b(tmp_path):
    layer = stored_checkpoint(tmp_path, "ungrouped").stored_layer(0)
    assert layer.alpha_used
    x, b, c = layer.slices
    assert (x.conv_slice.width, b.conv_slice.width, c.conv_slice.width) == (8, 6, 6)
    assert x.scale_out == pytest.approx([0.03] * 8)
    assert b.scale_out == pytest.approx([0.04] * 3 + [0.05] * 3)
    assert c.scale_out == pytest.approx([0.06] * 6)
    arguments = layer.kernel_arguments()
    assert arguments["scale_w"].tolist() == pytest.approx([0.003] * 8 + [0.004] * 6 + [0.005] * 6)
    assert arguments["scale_x"].tolist() == pytest.approx([0.02] * 8 + [0.03] * 6 + [0.04] * 6)
    assert arguments["scale_out"].tolist() == pytest.approx(
        [0.03] * 8 + [0.04] * 3 + [0.05] * 3 + [0.06] * 6
    )


def test_a_table_of_scales_is_spread_over_heads_and_channels(tmp_path):
    layer = stored_checkpoint(tmp_path, "grouped").stored_layer(0)
    assert not layer.alpha_used
    # Each head is a group of its own here, and each channel in it.
    assert layer.slices[0].scale_out == pytest.approx(np.arange(1, 9) / 100)
    assert layer.slices[0].out_scales.shape == (2, 2, 2)
    uneven = torch.tensor([[2, 2], [0, 2]], dtype=torch.int32)  # a group without heads
    layer = stored_checkpoint(
        tmp_path, "grouped", **{f"{MIXER}conv1d.x_head_group_range": uneven}
    ).stored_layer(1)
    assert layer.slices[0].scale_out == pytest.approx(
        [0.01, 0.02, 0.01, 0.02, 0.07, 0.08, 0.07, 0.08]
    )


def test_a_convolution_without_bias_has_no_bias_scale(tmp_path):
    layer = stored_checkpoint(
        tmp_path, "quamba", **{CONV + "bias": None, CONV + "bias_scale": None}
    ).stored_layer(1)
    assert layer.bias_q is None and layer.slices[0].b_scale is None
    arguments = layer.kernel_arguments()
    x_q = torch.ones(1, 8, 5, dtype=torch.int8)
    assert quant_causal_conv1d(x_q, **arguments, backend="torch").shape == (1, 8, 5)


def test_copies_that_disagree_are_told_and_nothing_is_refused(tmp_path):
    checkpoint = stored_checkpoint(
        tmp_path,
        "ungrouped",
        **{
            MIXER + "qchunk_scan.x_scales": torch.tensor([0.0325]),
            MIXER + "qchunk_scan.B_scale": torch.tensor([0.04]),
        },
    )
    assert checkpoint.stored_layer(0).mismatches == ()
    x, b = checkpoint.stored_layer(1).mismatches
    assert (b.name, b.copy, b.largest_difference) == (
        "conv1d.B_out_scales",
        "qchunk_scan.B_scale",
        None,
    )
    assert (x.name, x.copy) == ("conv1d.x_out_scales", "qchunk_scan.x_scales")
    assert x.largest_difference == pytest.approx(0.0025, rel=1e-3)


def tensor(*values):
    return torch.tensor(values)


@pytest.mark.parametrize(
    ("layout", "name", "value", "fault"),
    [
        ("quamba", "input_scale", None, r"conv1d\.input_scale is missing or None"),
        ("quamba", "weight_scale", 0.0, r"weight_scale lies between 0\.0 and 0\.0; a scale is"),
        ("quamba", "weight_scale", float("nan"), r"weight_scale lies between nan"),
        ("quamba", "output_scale", -1.0, r"output_scale lies between -1\.0"),
        ("quamba", "output_scale", 1e300, r"output_scale lies between inf"),
        ("quamba", "output_scale", tensor(0.1, 0.2), r"output_scale has shape \(2,\); expected"),
        ("quamba", "bias", torch.zeros(8), r"bias is torch\.float32 \(8,\); expected torch\.int8"),
        ("quamba", "bias", torch.zeros(9, dtype=torch.int8), r"bias is torch\.int8 \(9,\)"),
        ("quamba", "bias_scale", None, r"bias_scale is missing or None"),
        ("quamba", "weight", torch.zeros(8, 4), r"weight is torch\.float32 \(8, 4\)"),
        ("quamba", "weight", torch.zeros(8, 9, dtype=torch.int8), r"weight is torch\.int8"),
        ("quamba", "output_scale", True, "output_scale is missing or None"),
        ("quamba", "output_scale", None, "output_scale is missing or None"),
        ("quamba", "output_scale", 10**400, "output_scale lies between inf"),
        ("quamba", "input_scale", 1e-44, r"over the x slice; their product is 0\.0 in float32"),
        ("ungrouped", "wB_scale", 3e38, r"over the B slice; their product is \S+ in float32"),
        ("quamba", "input_scale", tensor(True), r"input_scale is torch\.bool"),
        ("ungrouped", "B_out_scales", tensor(1.0, 1.0, 1.0), r"B_out_scales has shape \(3,\)"),
        ("ungrouped", "wC_scale", None, r"conv1d\.wC_scale is missing or None"),
        ("grouped", "x_out_scales", torch.ones(1, 2, 2), r"x_out_scales has shape \(1, 2, 2\)"),
        ("grouped", "x_out_scales", torch.ones(2, 2, 3), "x_out_scales of shape"),
        ("grouped", "x_head_group_range", None, "x_head_group_range is missing or None"),
        ("grouped", "x_head_group_range", torch.tensor([[1, 3]] * 2), r"ends at \[3, 3\]; x has"),
        ("grouped", "x_head_group_range", torch.tensor([[5, 2]] * 2), "never fall"),
        ("grouped", "x_head_group_range", torch.tensor([[1.0, 2.0]] * 2), "must be integers"),
        (
            "grouped", "x_dim_group_range", torch.tensor([[[1, 2**31 - 1]] * 2] * 2),
            "dim_group_range at 2",
        ),
    ],
)  # fmt: skip
def test_a_stored_entry_that_cannot_be_used_is_named(layout, name, value, fault, tmp_path):
    with pytest.raises(CheckpointError, match=fault) as error:
        stored_checkpoint(tmp_path, layout, **{CONV + name: value})
    assert "pytorch_model.bin" in str(error.value) or str(tmp_path) in str(error.value)


def test_a_missing_layer_of_a_quantized_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no tensor backbone\.layers\.1\.mixer\.conv1d"):
        stored_checkpoint(tmp_path, "quamba", drop=CONV + "weight")
