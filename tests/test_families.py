"""Every family is read, run and captured, against what transformers gives its own convolution."""

import importlib
import json
import shutil

import pytest
import torch
from random_checkpoints import CONFIGS, MAMBA_LAYERS, rewrite, save_model
from safetensors.torch import load_file, save_file

from dashboard.calibration import calibrate, read_text, visit_conv_inputs
from dashboard.calibration.forward import run_forwards
from dashboard.checkpoints import CheckpointError, load_backbone, load_checkpoint

BATCHES, SEQ_LEN = 2, 19

each_family = pytest.mark.parametrize("family", CONFIGS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Each family's model on disk: family -> directory, model."""
    root = tmp_path_factory.mktemp("families")
    return {family: (root / family, save_model(family, root / family)) for family in CONFIGS}


def record_convolutions(monkeypatch, family: str) -> list[tuple[torch.Tensor, ...]]:
    """Note what transformers' own forward hands to its causal conv1d, and what comes back."""
    modeling = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    original, noted = modeling.causal_conv1d_fn, []

    def recorded(x, weight, bias=None, **options):
        y = original(x, weight, bias, **options)
        noted.append((x.clone(), weight, bias, y.clone()))
        return y

    monkeypatch.setattr(modeling, "causal_conv1d_fn", recorded)
    return noted


@each_family
def test_the_captured_conv_input_is_what_transformers_convolves(family, saved, monkeypatch):
    directory, model = saved[family]
    checkpoint = load_checkpoint(str(directory))
    assert checkpoint.family == family
    assert checkpoint.layers == MAMBA_LAYERS[family]
    text = read_text(checkpoint, batches=BATCHES, seq_len=SEQ_LEN)
    noted = record_convolutions(monkeypatch, family)
    with torch.no_grad():
        for batch in text.tokens:
            model.base_model(batch[None], use_cache=False)
    monkeypatch.undo()
    assert len(noted) == BATCHES * len(checkpoint.layers)

    backbone = load_backbone(checkpoint, "cpu")
    calibration = calibrate(checkpoint, backbone, text, keep=checkpoint.layers)
    assert tuple(entry.layer for entry in calibration.layers) == checkpoint.layers
    for i, layer in enumerate(checkpoint.layers):
        capture, conv = calibration.capture(layer), checkpoint.conv(layer)
        assert conv.layer == capture.layer == layer
        own = noted[i :: len(checkpoint.layers)]  # this layer's, batch after batch
        # One model, one forward, the same float32 weights: equal to the last bit.
        assert torch.equal(capture.x, torch.cat([x for x, _, _, _ in own]))
        assert torch.equal(conv.weight, own[0][1])
        assert torch.equal(conv.bias, own[0][2])
        y = torch.cat([y for _, _, _, y in own])
        for conv_slice, counted in zip(
            checkpoint.slices, calibration.layer(layer).slices, strict=True
        ):
            values = y[:, conv_slice.channels].half().float()
            assert counted.silu_output.total == values.numel()
            # nn.functional.conv1d may add the taps in another order: a last bit, then float16.
            assert counted.silu_output.max == pytest.approx(float(values.max()), rel=2e-3)
            assert counted.silu_output.min == pytest.approx(float(values.min()), rel=2e-3)


@each_family
def test_a_forward_leaves_the_conv_input_as_it_was(family, saved):
    """On a GPU it is counted when the forward is over."""
    checkpoint = load_checkpoint(str(saved[family][0]))
    text = read_text(checkpoint, batches=BATCHES, seq_len=SEQ_LEN)
    seen = []

    def visit(batches, layer, x):
        seen.append((x, x.clone()))

    def finish(batches):
        assert len(seen) == len(checkpoint.layers)
        assert all(torch.equal(x, before) for x, before in seen)
        seen.clear()

    backbone = load_backbone(checkpoint)  # on a GPU where there is one, by the kernels that it has
    run_forwards(checkpoint, backbone, text.tokens, checkpoint.layers, visit, finish=finish)


@each_family
def test_slices_heads_and_groups_are_those_of_the_model(family, saved):
    directory, model = saved[family]
    architecture = load_checkpoint(str(directory)).architecture
    mixer = next(m for m in model.modules() if hasattr(m, "conv1d"))
    widths = {conv_slice.name: conv_slice.width for conv_slice in architecture.slices}
    assert widths["x"] == mixer.intermediate_size
    if hasattr(mixer, "head_dim"):
        assert widths["B"] == widths["C"] == mixer.n_groups * mixer.ssm_state_size
        assert (architecture.head_dim, architecture.n_groups) == (mixer.head_dim, mixer.n_groups)
    else:
        assert list(widths) == ["x"]
        assert architecture.head_dim is architecture.n_groups is None
    assert architecture.conv_dim == mixer.conv1d.weight.shape[0]
    assert architecture.model_layers == model.config.num_hidden_layers


@each_family
def test_a_backbone_is_the_model_it_was_saved_from(family, saved):
    directory, model = saved[family]
    tokens = torch.arange(SEQ_LEN)[None]
    with torch.no_grad():
        expected = model.base_model(tokens, use_cache=False).last_hidden_state
        output = load_backbone(load_checkpoint(str(directory)), "cpu")(tokens, use_cache=False)
    assert torch.equal(output.last_hidden_state, expected)


@pytest.mark.parametrize("family", ["mamba2", "jamba", "zamba2", "nemotron_h"])
def test_names_without_a_prefix_load_as_those_with_one(family, saved, tmp_path):
    """As a backbone saved alone writes them."""
    directory, _ = saved[family]
    whole = load_checkpoint(str(directory))
    bare = tmp_path / "bare"
    shutil.copytree(directory, bare)
    state = load_file(directory / "model.safetensors")
    save_file(
        {
            name.removeprefix("backbone.").removeprefix("model."): tensor
            for name, tensor in state.items()
            if not name.startswith("lm_head")
        },
        bare / "model.safetensors",
    )
    loaded = load_checkpoint(str(bare))
    assert loaded.layers == whole.layers
    tokens = torch.arange(SEQ_LEN)[None]
    with torch.no_grad():
        expected = load_backbone(whole, "cpu")(tokens, use_cache=False).last_hidden_state
        given = load_backbone(loaded, "cpu")(tokens, use_cache=False).last_hidden_state
    assert torch.equal(given, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["mamba", "bamba"])
def test_half_precision_is_widened_before_the_forward(family, dtype, saved, tmp_path):
    directory, _ = saved[family]
    halved = tmp_path / "halved"
    shutil.copytree(directory, halved)
    state = {k: v.to(dtype) for k, v in load_file(directory / "model.safetensors").items()}
    save_file(state, halved / "model.safetensors")
    checkpoint = load_checkpoint(str(halved))
    layer = checkpoint.layers[-1]
    prefix = "model" if family == "bamba" else "backbone"
    stored = state[
        f"{prefix}.layers.{layer}.{'mamba' if prefix == 'model' else 'mixer'}.conv1d.weight"
    ]
    assert torch.equal(checkpoint.conv(layer).weight, stored[:, 0].float())
    backbone = load_backbone(checkpoint, "cpu")
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    text = read_text(checkpoint, batches=1, seq_len=SEQ_LEN)
    assert len(calibrate(checkpoint, backbone, text).layers) == len(checkpoint.layers)


@pytest.mark.parametrize("family", ["jamba", "nemotron_h"])
def test_shards_with_an_index_are_one_model(family, saved, tmp_path):
    directory, model = saved[family]
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    whole, sharded = load_checkpoint(str(directory)), load_checkpoint(str(tmp_path))
    assert sharded.layers == whole.layers
    for one, other in zip(whole.convs, sharded.convs, strict=True):
        assert torch.equal(one.weight, other.weight)
    tokens = torch.arange(SEQ_LEN)[None]
    with torch.no_grad():
        expected = model.base_model(tokens, use_cache=False).last_hidden_state
        hidden = load_backbone(sharded, "cpu")(tokens, use_cache=False).last_hidden_state
    assert torch.equal(hidden, expected)


def test_pickled_shards_with_an_index_are_one_model(saved, tmp_path):
    directory, _ = saved["bamba"]
    state = load_file(directory / "model.safetensors")
    shards = {name: f"pytorch_model-{i % 2 + 1:05}-of-00002.bin" for i, name in enumerate(state)}
    for shard in set(shards.values()):
        torch.save({n: t for n, t in state.items() if shards[n] == shard}, tmp_path / shard)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    shutil.copy(directory / "config.json", tmp_path)
    loaded = load_checkpoint(str(tmp_path))
    assert loaded.layers == MAMBA_LAYERS["bamba"]
    load_backbone(loaded, "cpu")


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_a_single_file_is_read_with_the_config_beside_it(suffix, saved, tmp_path):
    directory, _ = saved["mamba2"]
    state = load_file(directory / "model.safetensors")
    path = tmp_path / f"step-1000{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"config\.json does not exist"):
        load_checkpoint(str(path))
    shutil.copy(directory / "config.json", tmp_path)
    # Another checkpoint in the same directory is not what was asked for.
    torch.save({name: tensor + 1 for name, tensor in state.items()}, tmp_path / "pytorch_model.bin")
    loaded = load_checkpoint(str(path))
    assert loaded.name == path.name
    assert torch.equal(loaded.conv(1).weight, load_checkpoint(str(directory)).conv(1).weight)
    backbone = load_backbone(loaded, "cpu")
    assert torch.equal(backbone.layers[0].mixer.D, state["backbone.layers.0.mixer.D"])


def test_conv_weights_of_two_dimensions_are_those_of_three(saved, tmp_path):
    directory, _ = saved["bamba"]
    flat = tmp_path / "flat"
    shutil.copytree(directory, flat)
    state = load_file(directory / "model.safetensors")
    save_file(
        {k: v[:, 0].contiguous() if k.endswith("conv1d.weight") else v for k, v in state.items()},
        flat / "model.safetensors",
    )
    whole, squeezed = load_checkpoint(str(directory)), load_checkpoint(str(flat))
    for one, other in zip(whole.convs, squeezed.convs, strict=True):
        assert torch.equal(one.weight, other.weight)
    tokens = torch.arange(SEQ_LEN)[None]
    with torch.no_grad():
        assert torch.equal(
            load_backbone(whole, "cpu")(tokens).last_hidden_state,
            load_backbone(squeezed, "cpu")(tokens).last_hidden_state,
        )


def test_progress_counts_mamba_layers_and_names_the_models_own(saved):
    checkpoint = load_checkpoint(str(saved["nemotron_h"][0]))
    reported = []
    calibrate(
        checkpoint,
        load_backbone(checkpoint, "cpu"),
        read_text(checkpoint, batches=2, seq_len=5),
        on_progress=lambda progress: reported.append((str(progress), progress.share)),
    )
    assert reported == [
        ("batch 1 of 2, layer 0", 0.25),
        ("batch 1 of 2, layer 4", 0.5),
        ("batch 2 of 2, layer 0", 0.75),
        ("batch 2 of 2, layer 4", 1.0),
    ]


def test_hooks_leave_a_hybrid_as_it_was(saved):
    checkpoint = load_checkpoint(str(saved["zamba2"][0]))
    backbone = load_backbone(checkpoint, "cpu")

    def stop(_batch, _layer, _x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        visit_conv_inputs(checkpoint, backbone, torch.zeros(1, 4, dtype=torch.int64), [1, 3], stop)
    assert not any(module._forward_hooks for module in backbone.modules())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda s: s.pop("model.layers.2.mamba.conv1d.weight"),
            r"has no tensor model\.layers\.2\.mamba\.conv1d\.weight",
        ),
        (
            lambda s: s.update({"model.layers.9.mamba.A_log": torch.zeros(4)}),
            r"has a layer 9, but its config\.json says that there are 4 layers",
        ),
        (
            lambda s: s.update({"backbone.layers.0.mamba.A_log": torch.zeros(4)}),
            r"two mixers for layer 0",
        ),
        (
            lambda s: [s.pop(k) for k in list(s) if ".mamba." in k],
            r"has no tensor that ends in conv1d\.weight",
        ),
    ],
)
def test_a_hybrid_whose_mixers_do_not_fit_is_named(change, fault, saved, tmp_path):
    directory = tmp_path / "changed"
    shutil.copytree(saved["bamba"][0], directory)
    rewrite(directory, change)
    with pytest.raises(CheckpointError, match=fault):
        load_checkpoint(str(directory))


@each_family
def test_a_tensor_that_transformers_would_invent_is_missed(family, saved, tmp_path):
    directory = tmp_path / "changed"
    shutil.copytree(saved[family][0], directory)
    state = load_file(directory / "model.safetensors")
    name = next(name for name in sorted(state) if name.endswith("in_proj.weight"))
    rewrite(directory, lambda s: s.pop(name))
    # transformers renames some, so the tail of the name is what can be asked for
    tail = name.removeprefix("backbone.").removeprefix("model.")
    with pytest.raises(CheckpointError, match=f"of its tensors 1 are missing, as {tail}"):
        load_backbone(load_checkpoint(str(directory)), "cpu")


@pytest.mark.parametrize(
    ("family", "changed", "fault"),
    [
        ("bamba", {"hidden_act": "gelu"}, r"hidden_act is 'gelu'; the kernel computes SiLU"),
        ("nemotron_h", {"mamba_hidden_act": "relu"}, r"mamba_hidden_act is 'relu'"),
        ("zamba2", {"n_mamba_heads": 7}, r"n_mamba_heads is 7, which does not divide the 64"),
        ("falcon_h1", {"mamba_d_ssm": -3}, r"mamba_d_ssm is -3; it must be a positive integer"),
        ("granitemoehybrid", {"mamba_n_groups": 3}, r"shape \(96, 1, 4\); expected \(112, 1, W\)"),
    ],
)
def test_a_size_that_a_family_cannot_have_is_named(family, changed, fault, saved, tmp_path):
    directory = tmp_path / "changed"
    shutil.copytree(saved[family][0], directory)
    config = json.loads((directory / "config.json").read_text()) | changed
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=fault):
        load_checkpoint(str(directory))


def test_nemotrons_older_pattern_of_letters_is_counted(saved, tmp_path):
    directory = tmp_path / "older"
    shutil.copytree(saved["nemotron_h"][0], directory)
    config = json.loads((directory / "config.json").read_text())
    for name in ("layers_block_type", "layer_types", "num_hidden_layers"):
        config.pop(name, None)
    config["hybrid_override_pattern"] = "ME*-M"
    (directory / "config.json").write_text(json.dumps(config))
    loaded = load_checkpoint(str(directory))
    assert (loaded.layers, loaded.architecture.model_layers) == ((0, 4), 5)
    load_backbone(loaded, "cpu")
