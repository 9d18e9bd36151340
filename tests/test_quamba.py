"""Quantized checkpoints: what is stored is read as it is, and the sample is what it says."""

import json
from hashlib import sha256

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dashboard.calibration import calibrate, read_text
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


def calibrated(**options):
    """mamba2-small with every layer's conv input, on as much text as asked for."""
    checkpoint = load_checkpoint("mamba2-small")
    text = read_text(checkpoint, **options)
    return calibrate(checkpoint, load_backbone(checkpoint, "cpu"), text, keep=checkpoint.layers)


@pytest.fixture(scope="module")
def calibration():
    """As the sample's README says it was calibrated."""
    return calibrated()


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
        weight = capture.weight[order]
        v = F.conv1d(F.pad(x, (3, 0)), weight[:, None], capture.bias[order], groups=len(order))
        y = F.silu(v)
        for part in quantized.slices:
            signal = float((y[:, part.channels] ** 2).sum())
            noise = float(((y_hat - y)[:, part.channels] ** 2).sum())
            # Rounding x, weights and bias counts too: about 27 to 36 dB on these layers.
            assert 10 * np.log10(signal / noise) > 25


def check_scales(quantized, calibration) -> None:
    """Each stored scale is MinMax of its own channels, and its channels are neighbours."""
    for layer in quantized.layers:
        stored, capture = quantized.stored_layer(layer), calibration.capture(layer)
        order = order_of(stored, capture)
        x = capture.x[:, order]
        v = F.conv1d(
            F.pad(x, (3, 0)), capture.weight[order][:, None], capture.bias[order],
            groups=len(order),
        )  # fmt: skip
        amax = F.silu(v).abs().amax(dim=(0, 2)).numpy()
        assert not stored.alpha_used
        assert stored.mismatches == () and len(stored.copies) == 5
        for scales in stored.slices:
            own = scales.part.channels
            groups = range(scales.out_scales.size)
            by_hand = [amax[own][scales.out_group == g].max() / 127 for g in groups]
            # Sums of a convolution in another order.
            assert scales.out_scales.ravel() == pytest.approx(by_hand, rel=1e-4)
            assert scales.x_scale == pytest.approx(float(x[:, own].abs().max()) / 127, rel=1e-4)
            assert scales.scale_wx == pytest.approx(scales.x_scale * scales.w_scale, rel=1e-6)
        x_slice = stored.slices[0]
        assert x_slice.out_scales.shape == (1, 4, 4)
        # Each group is contiguous: a head's channels never return to a group they have left.
        for head in x_slice.out_group.reshape(-1, 32):
            assert (np.diff(head) >= 0).all()
        assert (np.diff(x_slice.out_group.reshape(-1, 32)[:, 0]) >= 0).all()


def test_each_of_the_samples_scales_is_minmax_of_its_own_channels(calibration):
    check_scales(load_checkpoint(SAMPLE), calibration)


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


def test_the_script_writes_such_a_checkpoint_for_any_text(tmp_path):
    quantizing.write(tmp_path / "again", batches=1, seq_len=64)
    found = load_checkpoint(str(tmp_path / "again"))
    assert found.config == load_checkpoint(SAMPLE).config
    check_scales(found, calibrated(batches=1, seq_len=64))


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
                "conv1d.input_scale": 0.02, "conv1d.weight_scale": 0.005,
                "conv1d.bias_scale": 0.004, "conv1d.output_scale": 0.03,
                "x_proj.input_scale": 0.03, "in_proj.output_scale": torch.tensor(0.02),
                "selective_scan.u_scale": torch.tensor([0.03]), "selective_scan.z_scale": None,
            }  # fmt: skip
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
            entries["scan.x_scales"] = torch.tensor([0.03])
            entries["scan.B_scale"] = torch.tensor([0.04, 0.05])
            entries["scan.dt_scale"] = 0.5
        if layout == "grouped":
            # Two SSD groups of 2 heads of 2 channels; 2 head groups, 2 channel groups.
            table = {
                "x_out_scales": torch.arange(1, 9).reshape(2, 2, 2) / 100,
                "x_head_group_range": torch.tensor([[1, 2], [1, 2]], dtype=torch.int32),
                "x_dim_group_range": torch.tensor([[[1, 2]] * 2] * 2, dtype=torch.int32),
            }
            entries |= {f"conv1d.{name}": value for name, value in table.items()}
            entries["scan.x_scales"] = table["x_out_scales"].clone()
        state |= {mixer + name: value for name, value in entries.items()}
    return state | changed


def stored_checkpoint(directory, layout: str, drop: str = "", **changed):
    state = stored_state(layout, **changed)
    state.pop(drop, None)
    torch.save(state, directory / "pytorch_model.bin")
    config = {"d_model": 4, "n_layer": 2, "vocab_size": 16}
    if layout != "quamba":
        config["ssm_cfg"] = {"layer": "Mamba2", "headdim": 2, "ngroups": 2, "d_state": 3}
    (directory / "config.json").write_text(json.dumps(config))
    return load_checkpoint(str(directory))


def test_quambas_plain_numbers_are_one_scale_for_every_channel(tmp_path):
    found = stored_checkpoint(tmp_path, "quamba")
    layer = found.stored_layer(1)
    assert layer.alpha_used and layer.head_group_range is None
    (x,) = layer.slices
    assert (x.name, x.x_scale, x.w_scale, x.b_scale) == (
        "x", *(float(np.float32(s)) for s in (0.02, 0.005, 0.004))
    )  # fmt: skip
    assert x.scale_out.dtype == np.float32 and x.scale_out.shape == (8,)
    assert np.array_equal(x.scale_out, np.full(8, 0.03, np.float32))
    assert [(copy.name, copy.copy, copy.agree) for copy in layer.copies] == [
        ("conv1d.input_scale", "in_proj.output_scale", True),
        ("conv1d.output_scale", "selective_scan.u_scale", True),
        ("conv1d.output_scale", "x_proj.input_scale", True),
    ]


def test_quamba2_without_groups_has_one_scale_for_x_and_one_an_ssd_group_for_b(tmp_path):
    layer = stored_checkpoint(tmp_path, "ungrouped").stored_layer(0)
    assert layer.alpha_used
    x, b, c = layer.slices
    assert (x.part.width, b.part.width, c.part.width) == (8, 6, 6)
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
    found = stored_checkpoint(tmp_path, "ungrouped", **{
        MIXER + "scan.x_scales": torch.tensor([0.0325]),
        MIXER + "scan.B_scale": torch.tensor([0.04]),
    })  # fmt: skip
    assert found.stored_layer(0).mismatches == ()
    b, x = found.stored_layer(1).mismatches
    assert (b.name, b.copy, b.largest_difference) == ("conv1d.B_out_scales", "scan.B_scale", None)
    assert (x.name, x.copy) == ("conv1d.x_out_scales", "scan.x_scales")
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
        ("quamba", "output_scale", True, "weight is INT8|is missing"),
        ("quamba", "output_scale", None, "weight is INT8, but neither x_out_scales nor"),
        ("quamba", "input_scale", tensor(True), r"input_scale is torch\.bool"),
        ("quamba", "x_out_scales", tensor(0.1), "is Quamba2's, but config.json describes"),
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
    with pytest.raises(CheckpointError, match=fault) as told:
        stored_checkpoint(tmp_path, layout, **{CONV + name: value})
    assert "pytorch_model.bin" in str(told.value) or str(tmp_path) in str(told.value)


def test_a_missing_layer_of_a_quantized_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no tensor backbone\.layers\.1\.mixer\.conv1d"):
        stored_checkpoint(tmp_path, "quamba", drop=CONV + "weight")
